//! Numbers that must not be confused with one another.

/// Bytes in a page frame.
pub const PAGE_SIZE: usize = 4096;
/// log2 of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;

/// A domain's number, as in Xen's `domid_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomId(pub u16);

/// A frame number of the machine (Xen: mfn).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mfn(pub u64);

/// A frame number in a guest's physical address space (Xen: gfn).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gfn(pub u64);

impl DomId {
    /// The domain that `caller` means by a number in a hypercall.
    pub const fn named(number: u16, caller: Self) -> Self {
        match number {
            xen_abi::DOMID_SELF => caller,
            _ => Self(number),
        }
    }
}

impl core::fmt::Display for DomId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "d{}", self.0)
    }
}

macro_rules! frame_number {
    ($($t:ident)*) => {$(
        impl $t {
            /// The address of the frame's first byte.
            pub const fn address(self) -> u64 {
                self.0 << PAGE_SHIFT
            }

            /// The frame that holds `address`.
            pub const fn containing(address: u64) -> Self {
                Self(address >> PAGE_SHIFT)
            }
        }
    )*};
}

frame_number!(Mfn Gfn);
