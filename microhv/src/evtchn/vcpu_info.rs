//! Where a vCPU's `vcpu_info` lies, and bits in pages shared with a guest.

use core::sync::atomic::Ordering;

use crate::mm::FrameRef;
use crate::types::PAGE_SIZE;

/// Bytes of `struct vcpu_info`, both widths.
pub const VCPU_INFO_SIZE: usize = 64;
/// `vcpu_info.evtchn_upcall_pending`.
const UPCALL_PENDING: usize = 0;
/// `vcpu_info.evtchn_upcall_mask`.
const UPCALL_MASK: usize = 1;
/// `vcpu_info.time`, both widths.
const TIME: usize = 32;

/// The word size by which a domain reads `shared_info` and `vcpu_info` (Xen: `has_32bit_shinfo`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 1024 ports on 2-level.
    Bits32,
    /// 4096 ports on 2-level.
    Bits64,
}

impl Width {
    /// Ports per bit of `evtchn_pending_sel`, and bits in it.
    pub const fn word_bits(self) -> u32 {
        match self {
            Self::Bits32 => 32,
            Self::Bits64 => 64,
        }
    }

    /// Ports of the 2-level scheme.
    pub const fn ports(self) -> u32 {
        self.word_bits() * self.word_bits()
    }

    /// Byte offset of `evtchn_pending_sel` in `vcpu_info`.
    const fn selector(self) -> usize {
        match self {
            Self::Bits32 => 4,
            Self::Bits64 => 8,
        }
    }

    /// Byte offset of `evtchn_pending` in `shared_info`: after the 32 legacy `vcpu_info`s.
    pub const fn pending(self) -> usize {
        VCPU_INFO_SIZE * xen_abi::xen::XEN_LEGACY_MAX_VCPUS
    }

    /// Byte offset of `evtchn_mask` in `shared_info`.
    pub const fn mask(self) -> usize {
        self.pending() + (self.ports() / 8) as usize
    }
}

/// One vCPU's `vcpu_info`, wherever the guest wants it.
#[derive(Clone)]
pub struct VcpuInfoRef {
    frame: FrameRef,
    offset: usize,
}

impl VcpuInfoRef {
    /// A `vcpu_info` at `offset` bytes in `frame`; none if it does not fit there or is not aligned to eight bytes.
    #[must_use]
    pub fn new(frame: FrameRef, offset: usize) -> Option<Self> {
        (offset <= PAGE_SIZE - VCPU_INFO_SIZE && offset.is_multiple_of(8))
            .then_some(Self { frame, offset })
    }

    /// Is an upcall due, and not masked by the guest?
    #[must_use]
    pub fn upcall_due(&self) -> bool {
        self.upcall_pending() && !self.upcall_masked()
    }

    /// `evtchn_upcall_pending`: some event has come that the vCPU has not begun to handle.
    #[must_use]
    pub fn upcall_pending(&self) -> bool {
        self.frame
            .atomic_u8(self.offset + UPCALL_PENDING)
            .load(Ordering::SeqCst)
            != 0
    }

    /// `evtchn_upcall_mask`: the guest wants no upcall now.
    #[must_use]
    pub fn upcall_masked(&self) -> bool {
        self.frame
            .atomic_u8(self.offset + UPCALL_MASK)
            .load(Ordering::SeqCst)
            != 0
    }

    /// Clears `evtchn_upcall_mask`, as a blocking vCPU asks for.
    pub fn unmask_upcall(&self) {
        self.frame
            .atomic_u8(self.offset + UPCALL_MASK)
            .store(0, Ordering::SeqCst);
    }

    /// Sets `evtchn_upcall_pending`; true if it was clear.
    pub fn mark_pending(&self) -> bool {
        self.frame
            .atomic_u8(self.offset + UPCALL_PENDING)
            .swap(1, Ordering::SeqCst)
            == 0
    }

    /// Sets bit `bit` of `evtchn_pending_sel`; true if it was clear.
    pub(super) fn select(&self, width: Width, bit: u32) -> bool {
        set_bit(&self.frame, self.offset + width.selector(), bit)
    }

    /// The frame and the byte offset of `vcpu_info.time`.
    #[must_use]
    pub fn time(&self) -> (&FrameRef, usize) {
        (&self.frame, self.offset + TIME)
    }

    /// Takes over the contents of `old`, with everything selected and the upcall pending, so that a guest that moves
    /// its `vcpu_info` looks at every port once.
    pub(super) fn succeed(&self, old: &Self, width: Width) -> bool {
        let mut bytes = [0; VCPU_INFO_SIZE];
        old.frame.read(old.offset, &mut bytes);
        bytes[UPCALL_PENDING] = 0;
        let selector = width.selector();
        bytes[selector..selector + width.word_bits() as usize / 8].fill(0xff);
        self.frame.write(self.offset, &bytes);
        self.mark_pending()
    }
}

/// The 32-bit word and mask of bit `bit` of the bitmap at `base`.
const fn place(base: usize, bit: u32) -> (usize, u32) {
    (base + (bit / 32 * 4) as usize, 1 << (bit % 32))
}

/// Sets a bit; true if it was clear.
pub fn set_bit(frame: &FrameRef, base: usize, bit: u32) -> bool {
    let (word, mask) = place(base, bit);
    frame.atomic_u32(word).fetch_or(mask, Ordering::SeqCst) & mask == 0
}

/// Clears a bit; true if it was set.
pub fn clear_bit(frame: &FrameRef, base: usize, bit: u32) -> bool {
    let (word, mask) = place(base, bit);
    frame.atomic_u32(word).fetch_and(!mask, Ordering::SeqCst) & mask != 0
}

/// Is the bit set?
pub fn test_bit(frame: &FrameRef, base: usize, bit: u32) -> bool {
    let (word, mask) = place(base, bit);
    frame.atomic_u32(word).load(Ordering::SeqCst) & mask != 0
}
