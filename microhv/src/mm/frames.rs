//! The machine's frame allocator.

use super::buddy::{Backing, Buddy};
use super::{frame_table, phys, segments::Segments};
use crate::types::Mfn;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use spin::Mutex;

static BUDDY: Mutex<Buddy> = Mutex::new(Buddy::new());
static TOTAL: AtomicU64 = AtomicU64::new(0);

/// Links in the free frames themselves, orders in the frame table.
struct Machine;

impl Backing for Machine {
    fn free_order(&self, frame: u64) -> Option<u32> {
        frame_table::free_order(Mfn(frame))
    }
    fn set_free_order(&mut self, frame: u64, order: Option<u32>) {
        frame_table::set_free_order(Mfn(frame), order);
    }
    fn links(&self, frame: u64) -> (u64, u64) {
        let mfn = Mfn(frame);
        (phys::read_u64(mfn, 0), phys::read_u64(mfn, 8))
    }
    fn set_links(&mut self, frame: u64, links: (u64, u64)) {
        phys::write_u64(Mfn(frame), 0, links.0);
        phys::write_u64(Mfn(frame), 8, links.1);
    }
}

/// Installs the frame table; `total` is the RAM of the machine, in frames. No frame is free yet.
pub(crate) fn init(segments: Segments, entries: &'static [AtomicU32], total: u64) {
    frame_table::init(segments, entries);
    TOTAL.store(total, Ordering::Relaxed);
}

/// Gives the frames `first..end` to the allocator. Frame 0 stays out: a null pointer is never a
/// frame.
pub(crate) fn add(first: u64, end: u64) {
    BUDDY.lock().add(&mut Machine, first.max(1), end);
}

/// Takes `2^order` frames, naturally aligned. What they contain is undefined: it may be another
/// domain's data.
#[must_use]
pub fn alloc(order: u32) -> Option<Mfn> {
    #[cfg(test)]
    host_init();
    if order > super::buddy::MAX_ORDER {
        return None;
    }
    BUDDY.lock().alloc(&mut Machine, order).map(Mfn)
}

/// Takes `2^order` frames, naturally aligned, filled with zeros.
#[must_use]
pub fn alloc_zeroed(order: u32) -> Option<Mfn> {
    alloc_filled(order, 0)
}

/// As [`alloc`], filled with `word`.
#[must_use]
pub fn alloc_filled(order: u32, word: u64) -> Option<Mfn> {
    let first = alloc(order)?;
    for frame in first.0..first.0 + (1 << order) {
        phys::fill(Mfn(frame), word);
    }
    Some(first)
}

/// Gives back `2^order` frames that [`alloc`] gave, whole or in parts. Nobody may hold them.
pub fn free(mfn: Mfn, order: u32) {
    BUDDY.lock().free(&mut Machine, mfn.0, order);
}

/// Frames that are free now.
pub fn free_frames() -> u64 {
    BUDDY.lock().free_frames()
}

/// Frames of RAM in the machine.
pub fn total_frames() -> u64 {
    TOTAL.load(Ordering::Relaxed)
}

/// On the host the machine's memory is an arena, set up at first use.
#[cfg(test)]
pub(super) fn host_init() {
    use core::sync::atomic::AtomicBool;
    const FRAMES: usize = phys::ARENA_FRAMES;
    static READY: AtomicBool = AtomicBool::new(false);
    static LOCK: Mutex<bool> = Mutex::new(false);
    static ENTRIES: [AtomicU32; FRAMES] = [const { AtomicU32::new(0) }; FRAMES];
    if READY.load(Ordering::Acquire) {
        return;
    }
    let mut done = LOCK.lock();
    if *done {
        return;
    }
    *done = true;
    let end = phys::ARENA_FIRST + FRAMES as u64;
    let mut segments = Segments::default();
    segments.add(phys::ARENA_FIRST, end);
    init(segments, &ENTRIES, FRAMES as u64);
    READY.store(true, Ordering::Release);
    add(phys::ARENA_FIRST, end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_aligned_and_can_come_back_in_parts() {
        let mfn = alloc(4).unwrap();
        assert_eq!(mfn.0 % 16, 0);
        for frame in 0..16 {
            free(Mfn(mfn.0 + frame), 0);
        }
        assert!(alloc(19).is_none());
        let zeroed = alloc_zeroed(2).unwrap();
        assert!((0..4).all(|i| phys::read_u64(Mfn(zeroed.0 + i), 0) == 0));
        free(zeroed, 2);
    }
}
