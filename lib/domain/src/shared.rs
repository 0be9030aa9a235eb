//! Memory that somebody else may change at any moment: another domain, the hypervisor or a device.
//!
//! [`SharedMemory`] never hands out a plain reference into such memory. Values are copied out once and then belong to
//! the caller; 32- and 64-bit words can be used as atomics.
#![expect(
    unsafe_code,
    reason = "raw access to memory that others change; the only module that does it"
)]

use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};
use xen_abi::Errno;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// An access that would leave the memory, or an atomic one that is not aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfBounds;

impl From<OutOfBounds> for Errno {
    fn from(_: OutOfBounds) -> Errno {
        Errno::EFAULT
    }
}

impl fmt::Display for OutOfBounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("access outside shared memory")
    }
}

/// A view of shared memory, at least 8-byte aligned. It does not own the memory: whoever does (a
/// [`crate::memory::PageRange`], a [`crate::grant::MappedRange`]) lends it as `&SharedMemory`.
pub struct SharedMemory {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: every access is atomic, or a copy made in assembly, which is defined whatever others do meanwhile.
unsafe impl Send for SharedMemory {}
// SAFETY: as above.
unsafe impl Sync for SharedMemory {}

impl AsRef<SharedMemory> for SharedMemory {
    fn as_ref(&self) -> &SharedMemory {
        self
    }
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedMemory({:p}, {} bytes)", self.base, self.len)
    }
}

macro_rules! atomics {
    ($( $name:ident: $atomic:ty; )*) => { $(
        /// The word at `offset` as an atomic. Fails if it is not naturally aligned or not inside.
        pub fn $name(&self, offset: usize) -> Result<&$atomic, OutOfBounds> {
            if !offset.is_multiple_of(align_of::<$atomic>()) {
                return Err(OutOfBounds);
            }
            let pointer = self.at(offset, size_of::<$atomic>())?;
            // SAFETY: inside the memory, which outlives `self`; aligned because the base is 8-byte aligned
            // and `offset` a multiple of the alignment; only atomics and opaque copies access it.
            Ok(unsafe { pointer.cast::<$atomic>().as_ref() })
        }
    )* };
}

impl SharedMemory {
    /// A view of `len` bytes at `base`.
    ///
    /// # Safety
    /// The memory is mapped readable and writable (or never written through this view), at least 8-byte aligned, stays so while the
    /// view exists, and is accessed by this domain only through `SharedMemory`.
    pub const unsafe fn new(base: NonNull<u8>, len: usize) -> Self {
        SharedMemory { base, len }
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing to access.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where it starts in this domain's address space; equal to its guest physical address.
    pub fn address(&self) -> u64 {
        self.base.as_ptr() as u64
    }

    fn at(&self, offset: usize, len: usize) -> Result<NonNull<u8>, OutOfBounds> {
        let end = offset.checked_add(len).ok_or(OutOfBounds)?;
        if end > self.len {
            return Err(OutOfBounds);
        }
        // SAFETY: `offset` is inside (or one past the end of) the memory.
        Ok(unsafe { self.base.add(offset) })
    }

    atomics! {
        atomic_u8: AtomicU8;
        atomic_u16: AtomicU16;
        atomic_u32: AtomicU32;
        atomic_u64: AtomicU64;
    }

    /// Copies a value out. The copy may mix bytes of before and after a concurrent change, like any read of shared
    /// memory; check it, then use it.
    pub fn read<T: FromBytes>(&self, offset: usize) -> Result<T, OutOfBounds> {
        let source = self.at(offset, size_of::<T>())?;
        let mut value = T::new_zeroed();
        // SAFETY: `source` has `size_of::<T>()` readable bytes; `value` is ours, and any bytes are a `T`.
        unsafe { copy(source.as_ptr(), (&raw mut value).cast(), size_of::<T>()) };
        Ok(value)
    }

    /// Copies a value in.
    pub fn write<T: IntoBytes + Immutable>(
        &self,
        offset: usize,
        value: &T,
    ) -> Result<(), OutOfBounds> {
        self.write_bytes(offset, value.as_bytes())
    }

    /// Fills `out` from `offset` on.
    pub fn read_bytes(&self, offset: usize, out: &mut [u8]) -> Result<(), OutOfBounds> {
        let source = self.at(offset, out.len())?;
        // SAFETY: as many readable bytes as `out` has; `out` is ours alone.
        unsafe { copy(source.as_ptr(), out.as_mut_ptr(), out.len()) };
        Ok(())
    }

    /// Copies `bytes` to `offset`.
    pub fn write_bytes(&self, offset: usize, bytes: &[u8]) -> Result<(), OutOfBounds> {
        let target = self.at(offset, bytes.len())?;
        // SAFETY: as many writable bytes as `bytes` has.
        unsafe { copy(bytes.as_ptr(), target.as_ptr(), bytes.len()) };
        Ok(())
    }

    /// Copies `len` bytes from `source` (another view) to this one.
    pub fn copy_from(
        &self,
        offset: usize,
        source: &SharedMemory,
        source_offset: usize,
        len: usize,
    ) -> Result<(), OutOfBounds> {
        let from = source.at(source_offset, len)?;
        let to = self.at(offset, len)?;
        // SAFETY: both ranges are inside their memories; overlap only repeats bytes.
        unsafe { copy(from.as_ptr(), to.as_ptr(), len) };
        Ok(())
    }

    /// Sets `len` bytes from `offset` on to `byte`.
    pub fn fill(&self, offset: usize, len: usize, byte: u8) -> Result<(), OutOfBounds> {
        let target = self.at(offset, len)?;
        // SAFETY: `len` writable bytes at the target; the string instruction clobbers what is declared.
        unsafe {
            core::arch::asm!(
                "rep stosb",
                inout("rcx") len => _, inout("rdi") target.as_ptr() => _, in("al") byte,
                options(nostack, preserves_flags),
            );
        }
        Ok(())
    }
}

/// Copies in assembly: to the compiler the memory is touched by code it cannot see, so concurrent changes by others
/// are no data race in Rust's sense. Eight bytes an instruction iteration, then the rest.
///
/// # Safety
/// `len` readable bytes at `from`, `len` writable bytes at `to`.
unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller's promise; DF is clear by the ABI.
    unsafe {
        core::arch::asm!(
            "rep movsq",
            "mov rcx, {rest}",
            "rep movsb",
            rest = in(reg) len & 7,
            inout("rcx") len / 8 => _, inout("rsi") from => _, inout("rdi") to => _,
            options(nostack, preserves_flags),
        );
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use core::sync::atomic::Ordering;

    /// Memory for tests, never freed.
    pub(crate) fn leaked(len: usize) -> SharedMemory {
        let words = std::vec![0_u64; len.div_ceil(8)].leak();
        // SAFETY: leaked, so it lives for ever, and only the view uses it.
        unsafe { SharedMemory::new(NonNull::new(words.as_mut_ptr().cast()).unwrap(), len) }
    }

    #[test]
    fn values_come_back_as_written() {
        let memory = leaked(64);
        memory.write(3, &0x1122_3344_5566_7788_u64).unwrap();
        assert_eq!(memory.read::<u64>(3), Ok(0x1122_3344_5566_7788));
        assert_eq!(memory.read::<u8>(3), Ok(0x88));
        memory.write_bytes(10, b"hello, shared world").unwrap();
        let mut out = [0; 19];
        memory.read_bytes(10, &mut out).unwrap();
        assert_eq!(&out, b"hello, shared world");
        memory.fill(0, 64, 0xee).unwrap();
        assert_eq!(memory.read::<u32>(60), Ok(0xeeee_eeee));
    }

    #[test]
    fn nothing_outside_is_reached() {
        let memory = leaked(16);
        assert_eq!(memory.read::<u32>(13), Err(OutOfBounds));
        assert_eq!(memory.read::<u32>(usize::MAX), Err(OutOfBounds));
        assert_eq!(memory.write_bytes(16, &[1]), Err(OutOfBounds));
        assert_eq!(memory.write_bytes(16, &[]), Ok(()));
        assert!(memory.atomic_u32(2).is_err(), "unaligned");
        assert!(memory.atomic_u64(16).is_err());
        memory.atomic_u64(8).unwrap().store(7, Ordering::Relaxed);
        assert_eq!(memory.read::<u64>(8), Ok(7));
    }
}
