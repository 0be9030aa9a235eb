//! The window to physical memory.
//!
//! Every access to a frame that a guest or a device may write at the same time goes through here:
//! copies made by string instructions that the compiler cannot see into, so nothing is read twice,
//! and atomics. A frame number that names no RAM is refused: reads give all ones, writes are
//! dropped, a reference is a panic (no guest can name a frame that its p2m does not hold).
#![allow(unsafe_code, reason = "the window to memory")]

use crate::mm::frame_table;
use crate::types::{Mfn, PAGE_SIZE};
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

#[cfg(test)]
pub use host::{ARENA_FIRST, ARENA_FRAMES};

/// The address at which the hypervisor sees the frame's first byte, if it is RAM.
pub fn pointer(mfn: Mfn) -> Option<*mut u8> {
    frame_table::covers(mfn).then(|| window(mfn))
}

#[cfg(target_os = "none")]
pub(super) fn window(mfn: Mfn) -> *mut u8 {
    core::ptr::with_exposed_provenance_mut((super::DIRECT_MAP + mfn.address()) as usize)
}

#[cfg(test)]
pub(super) fn window(mfn: Mfn) -> *mut u8 {
    host::window(mfn)
}

/// The frame behind an address in the window.
#[cfg(target_os = "none")]
pub(super) fn frame_of(place: *const u8) -> Mfn {
    Mfn::containing(place.addr() as u64 - super::DIRECT_MAP)
}

#[cfg(test)]
pub(super) fn frame_of(place: *const u8) -> Mfn {
    let base = host::window(Mfn(ARENA_FIRST));
    Mfn(ARENA_FIRST + ((place.addr() - base.addr()) / PAGE_SIZE) as u64)
}

/// Copies `len` bytes; reads and writes each byte exactly once.
///
/// # Safety
/// `source` must be readable and `target` writable for `len` bytes.
unsafe fn copy_bytes(target: *mut u8, source: *const u8, len: usize) {
    // SAFETY: the caller vouches for both ranges; the direction flag is clear by the ABI.
    unsafe {
        core::arch::asm!(
            "rep movsq",
            "mov ecx, {tail:e}",
            "rep movsb",
            tail = in(reg) len & 7,
            inout("rcx") len / 8 => _,
            inout("rdi") target => _,
            inout("rsi") source => _,
            options(nostack, preserves_flags),
        );
    }
}

/// The part of `offset..offset + len` that lies in one frame.
fn clamp(offset: usize, len: usize) -> (usize, usize) {
    debug_assert!(offset <= PAGE_SIZE && len <= PAGE_SIZE - offset);
    let offset = offset.min(PAGE_SIZE);
    (offset, len.min(PAGE_SIZE - offset))
}

/// Reads `buf.len()` bytes at `offset` in the frame. What would lie past the frame's end reads as
/// all ones.
pub fn read(mfn: Mfn, offset: usize, buf: &mut [u8]) {
    let (offset, len) = clamp(offset, buf.len());
    let Some(base) = pointer(mfn) else {
        buf.fill(0xff);
        return;
    };
    // SAFETY: the frame is RAM in the direct map and `clamp` keeps the range within it; `buf` is ours.
    unsafe { copy_bytes(buf.as_mut_ptr(), base.add(offset), len) };
    if len < buf.len() {
        buf[len..].fill(0xff);
    }
}

/// Writes `data` at `offset` in the frame. What would lie past the frame's end is dropped.
pub fn write(mfn: Mfn, offset: usize, data: &[u8]) {
    let (offset, len) = clamp(offset, data.len());
    if let Some(base) = pointer(mfn) {
        // SAFETY: as in `read`.
        unsafe { copy_bytes(base.add(offset), data.as_ptr(), len) };
    }
}

/// Fills the frame with `word`.
pub fn fill(mfn: Mfn, word: u64) {
    if let Some(base) = pointer(mfn) {
        // SAFETY: the frame is RAM in the direct map, and a frame long.
        unsafe {
            core::arch::asm!(
                "rep stosq",
                inout("rcx") PAGE_SIZE / 8 => _,
                inout("rdi") base => _,
                in("rax") word,
                options(nostack, preserves_flags),
            );
        }
    }
}

/// Copies `len` bytes from one frame to another (or within one: ascending order).
pub fn copy(dst: Mfn, dst_off: usize, src: Mfn, src_off: usize, len: usize) {
    let (dst_off, len) = clamp(dst_off, len);
    let (src_off, len) = clamp(src_off, len);
    if let (Some(target), Some(source)) = (pointer(dst), pointer(src)) {
        // SAFETY: both frames are RAM in the direct map and `clamp` keeps the ranges within them.
        unsafe { copy_bytes(target.add(dst_off), source.add(src_off), len) };
    }
}

/// The place of an atomic of `size` bytes; panics if it is not aligned, not within the frame, or
/// the frame is no RAM.
fn atomic(mfn: Mfn, offset: usize, size: usize) -> *mut u8 {
    assert!(
        offset.is_multiple_of(size) && offset < PAGE_SIZE,
        "atomic at {offset:#x}"
    );
    match pointer(mfn) {
        // SAFETY: `offset` lies within the frame.
        Some(base) => unsafe { base.add(offset) },
        None => panic!("frame {:#x} is no RAM", mfn.0),
    }
}

/// Entry `offset / 8` of a table in the hypervisor's own frame, without asking the frame table each time.
///
/// # Safety
/// `mfn` came from [`crate::mm::frames::alloc`] and has not been freed.
pub unsafe fn table_entry(mfn: Mfn, offset: usize) -> &'static AtomicU64 {
    debug_assert!(frame_table::covers(mfn));
    let place = window(mfn).wrapping_add(offset & (PAGE_SIZE - 8));
    // SAFETY: the allocator gives out RAM of the direct map only; the mask keeps the place aligned and in the frame.
    unsafe { &*place.cast::<AtomicU64>() }
}

macro_rules! atomics {
    ($($name:ident $read:ident $write:ident $atomic:ty, $plain:ty;)*) => {$(
        /// The aligned number at `offset` in the frame, to be used atomically. The caller holds
        /// the frame for as long as it uses the reference.
        ///
        /// # Panics
        /// If `offset` is not aligned or not within the frame, or the frame is no RAM.
        pub fn $name(mfn: Mfn, offset: usize) -> &'static $atomic {
            let place = atomic(mfn, offset, size_of::<$plain>());
            // SAFETY: aligned, within a frame of the direct map, which is never unmapped; all
            // access to guest frames is by atomics or by opaque string instructions.
            unsafe { &*place.cast::<$atomic>() }
        }

        /// Reads the aligned number at `offset` once (relaxed).
        #[allow(dead_code, reason = "not of every size")]
        ///
        /// # Panics
        /// As for the atomic of the same size.
        pub fn $read(mfn: Mfn, offset: usize) -> $plain {
            $name(mfn, offset).load(Ordering::Relaxed)
        }

        /// Writes the aligned number at `offset` once (relaxed).
        ///
        /// # Panics
        /// As for the atomic of the same size.
        pub fn $write(mfn: Mfn, offset: usize, value: $plain) {
            $name(mfn, offset).store(value, Ordering::Relaxed);
        }
    )*};
}

atomics! {
    atomic_u8 read_u8 write_u8 AtomicU8, u8;
    atomic_u32 read_u32 write_u32 AtomicU32, u32;
    atomic_u64 read_u64 write_u64 AtomicU64, u64;
}

/// On the host, physical memory is an arena in the test's own memory.
#[cfg(test)]
mod host {
    use crate::types::{Mfn, PAGE_SIZE};
    use core::cell::UnsafeCell;

    /// The arena's first frame number.
    pub const ARENA_FIRST: u64 = 0x100;
    /// Frames in the arena: 256 MiB, of which the host commits what is touched.
    pub const ARENA_FRAMES: usize = 65_536;

    // Aligned to the largest block that tests use as one (2 MiB).
    #[repr(C, align(2097152))]
    struct Arena(UnsafeCell<[u8; ARENA_FRAMES * PAGE_SIZE]>);
    // SAFETY: all access is through `phys`, which treats the bytes as shared memory.
    unsafe impl Sync for Arena {}

    static ARENA: Arena = Arena(UnsafeCell::new([0; ARENA_FRAMES * PAGE_SIZE]));

    pub fn window(mfn: Mfn) -> *mut u8 {
        ARENA
            .0
            .get()
            .cast::<u8>()
            .wrapping_add((mfn.0 - ARENA_FIRST) as usize * PAGE_SIZE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mm::frames;

    #[test]
    fn what_is_written_is_read() {
        let mfn = frames::alloc_zeroed(0).unwrap();
        write(mfn, 3, b"hypervisor");
        let mut buf = [0xaa; 12];
        read(mfn, 2, &mut buf);
        assert_eq!(&buf, b"\0hypervisor\0");
        write_u32(mfn, 4092, 0x1234_5678);
        assert_eq!(read_u64(mfn, 4088), 0x1234_5678_0000_0000);
        let other = frames::alloc_zeroed(0).unwrap();
        copy(other, 100, mfn, 3, 10);
        read(other, 99, &mut buf);
        assert_eq!(&buf, b"\0hypervisor\0");
        frames::free(mfn, 0);
        frames::free(other, 0);
    }

    #[test]
    fn a_frame_that_is_no_ram_is_refused() {
        let mut buf = [0; 4];
        read(Mfn(0xffff_ffff), 0, &mut buf);
        assert_eq!(buf, [0xff; 4]);
        write(Mfn(u64::MAX), 0, &buf);
        assert!(std::panic::catch_unwind(|| atomic_u64(Mfn(0xffff_ffff), 0)).is_err());
        assert!(std::panic::catch_unwind(|| atomic_u64(Mfn(ARENA_FIRST), 4)).is_err());
        assert!(std::panic::catch_unwind(|| atomic_u32(Mfn(ARENA_FIRST), 4096)).is_err());
    }
}
