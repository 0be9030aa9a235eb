//! Takes over the machine's memory: page tables, frame table, allocator.
#![allow(unsafe_code, reason = "takes memory over")]

use super::{
    DIRECT_MAP, frame_table, frames, own, ranges::Range, ranges::Ranges, segments::Segments,
};
use crate::arch::paging::{self, Image};
use crate::boot::info::{BootError, BootInfo, MAX_RANGES};
use crate::types::{Mfn, PAGE_SIZE};
use core::sync::atomic::{AtomicU32, Ordering};

/// What the boot page tables show of physical memory.
const BOOT_LIMIT: u64 = 1 << 32;
/// Memory below this is left for what must be there, such as the page on which other CPUs start.
const LOW: u64 = 1 << 20;

/// Fills memory that nobody uses with zeros.
fn clear(range: Range) {
    let place = core::ptr::with_exposed_provenance_mut::<u8>((DIRECT_MAP + range.start) as usize);
    // SAFETY: the range was taken out of the free RAM, which the direct map shows.
    unsafe { core::ptr::write_bytes(place, 0, range.len() as usize) };
}

/// What was set up.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// Physical address of the page tables' root.
    pub root: u64,
    /// Physical address of a free page below 1 MiB.
    pub low_page: u64,
}

/// Takes over the memory that `info` describes.
///
/// # Errors
/// There is not enough.
pub fn init(info: &BootInfo) -> Result<Taken, BootError> {
    let image = Image::current();
    let mut free: Ranges<MAX_RANGES> = info.ram.clone();
    let mut room = free.remove(image.whole()) && free.remove(Range::between(0, 0x1000));
    for range in info.reserved.list() {
        room &= free.remove(*range);
    }
    if !room {
        return Err(BootError::MEMORY_MAP_TOO_LONG);
    }
    let page = PAGE_SIZE as u64;
    let low_page = free.take(page, page, 0, LOW).ok_or(BootError::NO_MEMORY)?;
    let root = paging::init(&image, info.ram.list(), info.firmware.list(), &mut || {
        let address = free.take(page, page, LOW, BOOT_LIMIT)?;
        clear(Range::new(address, page));
        Some(address)
    })
    .ok_or(BootError::NO_MEMORY)?;

    let mut segments = Segments::default();
    for range in info.ram.list() {
        if !segments.add(range.start / page, range.end / page) {
            return Err(BootError::MEMORY_MAP_TOO_LONG);
        }
    }
    let bytes = (segments.entries() as u64 * size_of::<AtomicU32>() as u64).next_multiple_of(page);
    let address = free
        .take(bytes, page, LOW, u64::MAX)
        .ok_or(BootError::NO_MEMORY)?;
    clear(Range::new(address, bytes));
    let place = core::ptr::with_exposed_provenance::<AtomicU32>((DIRECT_MAP + address) as usize);
    // SAFETY: taken out of the free RAM for this, zeroed, and never given back.
    let entries = unsafe { core::slice::from_raw_parts(place, segments.entries()) };
    own::IMAGE.store(image.whole().len(), Ordering::Relaxed);
    own::FRAME_TABLE.store(bytes, Ordering::Relaxed);

    let mut holes: Ranges<MAX_RANGES> = Ranges::default();
    for segment in segments.list() {
        holes.insert(Range::between(segment.first * page, segment.end * page));
    }
    for range in info.ram.list() {
        holes.remove(*range);
    }
    frames::init(segments, entries, info.ram.bytes() / page);
    for hole in holes.list() {
        for frame in hole.start / page..hole.end / page {
            frame_table::set_hole(Mfn(frame));
        }
    }
    for range in free.list() {
        frames::add(range.start / page, range.end / page);
    }
    Ok(Taken { root, low_page })
}
