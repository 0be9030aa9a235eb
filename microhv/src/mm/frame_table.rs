//! Who owns each frame of RAM, and how many hold it.
//!
//! Four bytes a frame. A frame is either free (in the allocator), the hypervisor's own, or
//! assigned to a domain with a count of holders: the domain's p2m, grant mappings, rings.
//! Whoever lets go last gives the frame back to the allocator.

use super::{frames, phys, segments::Segments};
use crate::types::{DomId, Mfn};
use core::num::NonZeroU64;
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// Set in the entry of an assigned frame; then bits 16..31 are the owner, bits 0..16 the count.
const ASSIGNED: u32 = 1 << 31;
/// Set in the entry of the first frame of a free block; then bits 0..8 are the order.
const FREE: u32 = 1 << 30;
/// The entry of a frame that is no RAM: the table describes small holes too.
const HOLE: u32 = 1 << 29;
const COUNT: u32 = 0xffff;
/// A count that got here stays here: the frame is lost rather than freed while it is held.
const SATURATED: u32 = COUNT;

struct Table {
    segments: Segments,
    entries: &'static [AtomicU32],
}

static TABLE: spin::Once<Table> = spin::Once::new();

/// Installs the table: one entry (zero) for each frame of `segments`.
pub(super) fn init(segments: Segments, entries: &'static [AtomicU32]) {
    assert_eq!(segments.entries(), entries.len());
    TABLE.call_once(|| Table { segments, entries });
}

fn entry(mfn: Mfn) -> Option<&'static AtomicU32> {
    #[cfg(test)]
    super::frames::host_init();
    let table = TABLE.get()?;
    table.entries.get(table.segments.index(mfn)?)
}

/// Whether the frame is RAM that the hypervisor's direct map shows.
pub fn covers(mfn: Mfn) -> bool {
    entry(mfn).is_some_and(|entry| entry.load(Ordering::Relaxed) != HOLE)
}

/// Notes that the frame is no RAM.
pub(super) fn set_hole(mfn: Mfn) {
    if let Some(entry) = entry(mfn) {
        entry.store(HOLE, Ordering::Relaxed);
    }
}

pub(super) fn free_order(mfn: Mfn) -> Option<u32> {
    let value = entry(mfn)?.load(Ordering::Relaxed);
    (value & (ASSIGNED | FREE) == FREE).then_some(value & 0xff)
}

pub(super) fn set_free_order(mfn: Mfn, order: Option<u32>) {
    if let Some(entry) = entry(mfn) {
        entry.store(order.map_or(0, |order| FREE | order), Ordering::Relaxed);
    }
}

/// Hands `2^order` frames, allocated or reserved, to `owner`. Each gets a count of one, which its
/// holder (the p2m) adopts with [`FrameRef::from_raw`].
pub fn assign(mfn: Mfn, order: u32, owner: DomId) {
    for frame in mfn.0..mfn.0 + (1 << order) {
        if let Some(entry) = entry(Mfn(frame)) {
            let value = ASSIGNED | u32::from(owner.0 & 0x7fff) << 16 | 1;
            // Release: whoever sees the frame assigned sees what was put in it before.
            let before = entry.swap(value, Ordering::Release);
            debug_assert_eq!(before, 0, "frame {frame:#x} assigned twice or free");
        }
    }
}

/// Takes one more hold on the frame, if it is assigned to a domain. `None` also if the frame has
/// as many holders as can be counted (65,534).
pub fn get(mfn: Mfn) -> Option<FrameRef> {
    let number = NonZeroU64::new(mfn.0)?;
    entry(mfn)?
        .fetch_update(Ordering::Acquire, Ordering::Relaxed, |value| {
            let held = value & ASSIGNED != 0 && (1..SATURATED - 1).contains(&(value & COUNT));
            held.then_some(value + 1)
        })
        .ok()
        .map(|_| FrameRef(number))
}

/// Does the frame belong to a domain, so that somebody holds it?
pub fn is_assigned(mfn: Mfn) -> bool {
    let value = entry(mfn).map_or(0, |entry| entry.load(Ordering::Acquire));
    value & ASSIGNED != 0 && value & COUNT != 0
}

/// A counted hold on a frame that belongs to a domain: it is not given to anybody else while this
/// lives.
#[derive(Debug, PartialEq, Eq)]
pub struct FrameRef(NonZeroU64);

impl FrameRef {
    /// A zeroed frame of `owner`'s, held once. None: memory is out.
    pub fn new_zeroed(owner: DomId) -> Option<Self> {
        let mfn = frames::alloc_zeroed(0)?;
        assign(mfn, 0, owner);
        Some(Self::from_raw(mfn))
    }

    /// The frame's number.
    pub const fn mfn(&self) -> Mfn {
        Mfn(self.0.get())
    }

    /// The domain to which the frame was assigned.
    pub fn owner(&self) -> DomId {
        let value = entry(self.mfn()).map_or(0, |entry| entry.load(Ordering::Relaxed));
        DomId((value >> 16 & 0x7fff) as u16)
    }

    /// How many hold the frame now; others may change it at any time.
    pub fn holders(&self) -> u32 {
        entry(self.mfn()).map_or(0, |entry| entry.load(Ordering::Relaxed) & COUNT)
    }

    /// Gives the hold away as a number, to be adopted again with [`Self::from_raw`].
    #[must_use]
    pub fn into_raw(self) -> Mfn {
        let mfn = self.mfn();
        core::mem::forget(self);
        mfn
    }

    /// Adopts one hold that [`assign`] or [`Self::into_raw`] left.
    ///
    /// # Panics
    /// If the frame is not assigned: the hold does not exist.
    #[must_use]
    pub fn from_raw(mfn: Mfn) -> Self {
        Self::if_held(mfn).unwrap_or_else(|| panic!("frame {:#x} has no holder", mfn.0))
    }

    /// The same for what a page table maps, which may also be no frame that can be held: device memory.
    #[must_use]
    pub fn if_held(mfn: Mfn) -> Option<Self> {
        NonZeroU64::new(mfn.0)
            .filter(|_| is_assigned(mfn))
            .map(Self)
    }

    /// See [`phys::read`].
    pub fn read(&self, offset: usize, buf: &mut [u8]) {
        phys::read(self.mfn(), offset, buf);
    }

    /// See [`phys::write`].
    pub fn write(&self, offset: usize, data: &[u8]) {
        phys::write(self.mfn(), offset, data);
    }

    /// See [`phys::atomic_u8`].
    pub fn atomic_u8(&self, offset: usize) -> &AtomicU8 {
        phys::atomic_u8(self.mfn(), offset)
    }

    /// See [`phys::atomic_u32`].
    pub fn atomic_u32(&self, offset: usize) -> &AtomicU32 {
        phys::atomic_u32(self.mfn(), offset)
    }
}

#[cfg(test)]
impl FrameRef {
    /// See [`phys::fill`].
    pub fn zero(&self) {
        phys::fill(self.mfn(), 0);
    }

    /// See [`phys::atomic_u64`].
    pub fn atomic_u64(&self, offset: usize) -> &core::sync::atomic::AtomicU64 {
        phys::atomic_u64(self.mfn(), offset)
    }
}

impl Clone for FrameRef {
    /// One more hold. At the largest count the frame is lost for good instead (a guest cannot get
    /// there: what it can ask for goes through [`get`], which refuses first).
    fn clone(&self) -> Self {
        if let Some(entry) = entry(self.mfn()) {
            let _ = entry.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |value| {
                (value & COUNT != SATURATED).then_some(value + 1)
            });
        }
        Self(self.0)
    }
}

impl Drop for FrameRef {
    fn drop(&mut self) {
        let Some(entry) = entry(self.mfn()) else {
            return;
        };
        // Release: our accesses come before the frame's next life. Acquire in the last holder.
        let before = entry.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |value| {
            match value & COUNT {
                0 | SATURATED => None,
                1 => Some(0),
                _ => Some(value - 1),
            }
        });
        if before.is_ok_and(|value| value & COUNT == 1) {
            frames::free(self.mfn(), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_holder_frees_the_frame() {
        let mfn = frames::alloc(0).unwrap();
        assert!(get(mfn).is_none());
        assign(mfn, 0, DomId(7));
        let first = FrameRef::from_raw(mfn);
        let second = get(mfn).unwrap();
        let third = second.clone();
        assert_eq!((first.owner(), first.holders()), (DomId(7), 3));
        drop(first);
        drop(second);
        let raw = third.into_raw();
        assert_eq!(raw, mfn);
        let last = FrameRef::from_raw(raw);
        assert_eq!(last.holders(), 1);
        drop(last);
        assert!(std::panic::catch_unwind(|| FrameRef::from_raw(mfn)).is_err());
    }

    #[test]
    fn counting_stops_before_it_overflows() {
        let mfn = frames::alloc(0).unwrap();
        assign(mfn, 0, DomId(1));
        let holds: Vec<_> = std::iter::from_fn(|| get(mfn)).collect();
        assert_eq!(holds.len(), 65_533);
        assert!(get(mfn).is_none());
        let one = holds[0].clone();
        let saturated = one.clone();
        assert_eq!(saturated.holders(), SATURATED);
        drop((holds, one, saturated));
        // Lost, not freed.
        assert_eq!(FrameRef::from_raw(mfn).holders(), SATURATED);
    }

    #[test]
    fn free_and_unknown_frames_cannot_be_held() {
        assert!(get(Mfn(0)).is_none());
        assert!(get(Mfn(u64::MAX >> 12)).is_none());
    }
}
