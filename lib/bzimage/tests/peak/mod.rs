//! An allocator that remembers how much was taken at once, and has no more than it may.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static TAKEN: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

struct Counting;

// SAFETY: everything is passed on to the system's allocator as it comes; the counters have no part in it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let taken = TAKEN.fetch_add(layout.size(), Relaxed) + layout.size();
        if taken > LIMIT.load(Relaxed) {
            TAKEN.fetch_sub(layout.size(), Relaxed);
            return std::ptr::null_mut();
        }
        PEAK.fetch_max(taken, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        TAKEN.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The most that `work` had taken at once, in bytes; old and new place of what grows count both. It gets no more than `limit`.
/// For one thread at a time.
pub fn peak_of<T>(limit: usize, work: impl FnOnce() -> T) -> (usize, T) {
    let before = TAKEN.load(Relaxed);
    PEAK.store(before, Relaxed);
    LIMIT.store(before.saturating_add(limit), Relaxed);
    let result = work();
    LIMIT.store(usize::MAX, Relaxed);
    (PEAK.load(Relaxed) - before, result)
}
