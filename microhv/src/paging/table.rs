//! The walk: map, unmap, look up, take apart.
//!
//! Tables are freed only when the whole table is dropped, never while a CPU or device may still hold a
//! cached pointer to one.
#![expect(
    unsafe_code,
    reason = "table entries are reached without asking the frame table each time"
)]

use super::{Access, Entry, Error, Format, Mapping, MemoryType};
use crate::mm::{frames, phys};
use crate::types::{Gfn, Mfn};
use core::sync::atomic::{AtomicU64, Ordering};

/// log2 of the entries in a table.
const BITS: u32 = 9;
/// Entries in a table.
const ENTRIES: u64 = 1 << BITS;

/// A radix table with its own frames.
pub struct Table {
    root: Mfn,
    format: &'static dyn Format,
    /// Frames taken besides the root,
    pub made: u64,
    /// and how many they may be: then memory is out.
    pub limit: u64,
}

/// The entry that translates `gfn` in a table at `level`, as an offset in bytes.
fn offset(gfn: u64, level: u32) -> usize {
    ((gfn >> (BITS * (level - 1)) & (ENTRIES - 1)) * 8) as usize
}

/// The entry `offset` bytes into `table`, a frame of a [`Table`].
fn slot(table: Mfn, offset: usize) -> &'static AtomicU64 {
    // SAFETY: `new` or `insert_table` allocated the frame, as all that entries lead to; they are freed with the whole table.
    unsafe { phys::table_entry(table, offset) }
}

/// Frames covered by an entry at `level`, as log2.
const fn order_of(level: u32) -> u32 {
    BITS * (level - 1)
}

impl Table {
    /// An empty table. `None`: out of memory.
    pub fn new(format: &'static dyn Format) -> Option<Self> {
        let root = frames::alloc_zeroed(0)?;
        for index in 0..ENTRIES as usize {
            slot(root, index * 8).store(format.absent(), Ordering::Relaxed);
            format.written(root, index * 8);
        }
        Some(Self {
            root,
            format,
            made: 0,
            limit: u64::MAX,
        })
    }

    /// The root table's frame.
    pub fn root(&self) -> Mfn {
        self.root
    }

    /// The first frame number that the table cannot translate.
    pub fn end(&self) -> Gfn {
        Gfn(1 << (BITS * self.format.levels()))
    }

    fn check(&self, gfn: Gfn, mfn: Mfn, order: u32) -> Result<u32, Error> {
        let level = match order {
            0 => 1,
            9 => 2,
            18 => 3,
            _ => return Err(Error::BadRange),
        };
        let size = 1u64 << order;
        if !gfn.0.is_multiple_of(size)
            || !mfn.0.is_multiple_of(size)
            || gfn.0 >= self.end().0
            || mfn.0 >> 40 != 0
        {
            return Err(Error::BadRange);
        }
        Ok(level)
    }

    fn read(&self, table: Mfn, gfn: u64, level: u32) -> Entry {
        self.format.decode(
            slot(table, offset(gfn, level)).load(Ordering::Relaxed),
            level,
        )
    }

    fn replace(&self, table: Mfn, gfn: u64, level: u32, entry: u64) -> Entry {
        let place = offset(gfn, level);
        let old = slot(table, place).swap(entry, Ordering::AcqRel);
        self.format.written(table, place);
        self.format.decode(old, level)
    }

    /// The table at `level` on the way to `gfn`, made where it is missing; a larger leaf is split.
    fn descend(&mut self, gfn: u64, level: u32) -> Result<Mfn, Error> {
        let mut table = self.root;
        let mut at = self.format.levels();
        while at > level {
            table = match self.read(table, gfn, at) {
                Entry::Table(next) => next,
                Entry::Absent => self.insert_table(table, gfn, at, None)?,
                Entry::Leaf(mapping) => self.insert_table(table, gfn, at, Some(mapping))?,
            };
            at -= 1;
        }
        Ok(table)
    }

    /// Puts a new table into an entry at `level`; it maps what `split` mapped.
    fn insert_table(
        &mut self,
        table: Mfn,
        gfn: u64,
        level: u32,
        split: Option<Mapping>,
    ) -> Result<Mfn, Error> {
        if self.made >= self.limit {
            return Err(Error::NoMemory);
        }
        let new = frames::alloc_zeroed(0).ok_or(Error::NoMemory)?;
        self.made += 1;
        let order = order_of(level - 1);
        for index in 0..ENTRIES {
            let entry = match split {
                Some(whole) => self.format.leaf(&Mapping {
                    mfn: Mfn(whole.mfn.0 + (index << order)),
                    order,
                    ..whole
                }),
                None => self.format.absent(),
            };
            slot(new, index as usize * 8).store(entry, Ordering::Relaxed);
            self.format.written(new, index as usize * 8);
        }
        self.replace(table, gfn, level, self.format.table(new, level - 1));
        Ok(new)
    }

    /// Maps 2^`order` frames at `gfn` and returns what one leaf of that size mapped there before.
    ///
    /// # Errors
    /// [`Error::Occupied`] if smaller pages are mapped in the range, [`Error::NoMemory`]: nothing is mapped then that was not.
    pub fn map(
        &mut self,
        gfn: Gfn,
        mfn: Mfn,
        order: u32,
        access: Access,
        memory: MemoryType,
    ) -> Result<Option<Mapping>, Error> {
        let level = self.check(gfn, mfn, order)?;
        if level <= self.format.leaf_levels() {
            let table = self.descend(gfn.0, level)?;
            let leaf = self.format.leaf(&Mapping {
                mfn,
                order,
                access,
                memory,
            });
            if !matches!(self.read(table, gfn.0, level), Entry::Table(_)) {
                return Ok(match self.replace(table, gfn.0, level, leaf) {
                    Entry::Leaf(old) => Some(old),
                    Entry::Absent | Entry::Table(_) => None,
                });
            }
        }
        if self.next(gfn.0, gfn.0 + (1 << order)).is_some() {
            return Err(Error::Occupied);
        }
        // Either the hardware has no page that large, or an empty table is in the way, which stays
        // because a CPU may have a pointer to it in its cache.
        let lower = order - BITS;
        let steps = || (0..ENTRIES).map(move |index| index << lower);
        // All tables first: what one CPU has seen of a page could not be taken back when memory is out.
        for step in steps() {
            self.descend(gfn.0 + step, self.format.leaf_levels().min(level - 1))?;
        }
        for step in steps() {
            self.map(Gfn(gfn.0 + step), Mfn(mfn.0 + step), lower, access, memory)?;
        }
        Ok(None)
    }

    /// Unmaps 2^`order` frames at `gfn`, splitting a larger page, and returns what was mapped.
    ///
    /// # Errors
    /// [`Error::Occupied`] if smaller pages are mapped in the range: nothing is changed then.
    pub fn unmap(&mut self, gfn: Gfn, order: u32) -> Result<Option<Mapping>, Error> {
        let level = self.check(gfn, Mfn(0), order)?;
        if self.lookup(gfn).is_none_or(|found| found.order < order) {
            // Nothing but smaller pages can be there, and a single page has none.
            return match order {
                0 => Ok(None),
                _ => self
                    .next(gfn.0, gfn.0 + (1 << order))
                    .map_or(Ok(None), |_| Err(Error::Occupied)),
            };
        }
        let table = self.descend(gfn.0, level)?;
        Ok(
            match self.replace(table, gfn.0, level, self.format.absent()) {
                Entry::Leaf(old) => Some(old),
                Entry::Absent | Entry::Table(_) => None,
            },
        )
    }

    /// The leaf that translates `gfn`: its `mfn` is the one of `gfn` itself, `order` that of the whole leaf.
    pub fn lookup(&self, gfn: Gfn) -> Option<Mapping> {
        if gfn.0 >= self.end().0 {
            return None;
        }
        let mut table = self.root;
        for level in (1..=self.format.levels()).rev() {
            match self.read(table, gfn.0, level) {
                Entry::Absent => return None,
                Entry::Table(next) => table = next,
                Entry::Leaf(leaf) => {
                    let inside = gfn.0 & ((1 << leaf.order) - 1);
                    return Some(Mapping {
                        mfn: Mfn(leaf.mfn.0 + inside),
                        ..leaf
                    });
                }
            }
        }
        None
    }

    /// Takes what is at `gfn` apart until code can run there, however the format feels about large leaves. False: it may not.
    ///
    /// Nothing need be flushed: rights only grow, and a CPU forgets by itself what stopped it.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn run_at(&mut self, gfn: Gfn) -> Result<bool, Error> {
        let may = self
            .lookup(gfn)
            .is_some_and(|found| found.access.contains(Access::EXECUTE));
        if may {
            self.descend(gfn.0, 1)?;
        }
        Ok(may)
    }

    /// The first leaf that ends above frame `from` and starts below frame `end`.
    pub fn next(&self, from: u64, end: u64) -> Option<(Gfn, Mapping)> {
        let mut looks = u64::MAX;
        self.seek(&mut Gfn(from), end, &mut looks)
    }

    /// The same from `cursor` on, which moves to where it ends, in at most `looks` looks at a place, which are counted down.
    fn seek(&self, cursor: &mut Gfn, end: u64, looks: &mut u64) -> Option<(Gfn, Mapping)> {
        let gfn = &mut cursor.0;
        while *gfn < end.min(self.end().0) && *looks > 0 {
            *looks -= 1;
            let mut table = self.root;
            let mut level = self.format.levels();
            loop {
                match self.read(table, *gfn, level) {
                    Entry::Table(next) => {
                        table = next;
                        level -= 1;
                    }
                    Entry::Leaf(leaf) => {
                        return Some((Gfn(*gfn >> leaf.order << leaf.order), leaf));
                    }
                    Entry::Absent => break,
                }
            }
            *gfn = ((*gfn >> order_of(level)) + 1) << order_of(level);
        }
        None
    }

    /// Unmaps and returns the first leaf at or above `cursor`, and moves `cursor` past it. To take a table
    /// apart in bounded steps, start at `Gfn(0)`. None with `looks` at zero: empty tables took them all, and it goes on there.
    pub fn take_next(&mut self, cursor: &mut Gfn, looks: &mut u64) -> Option<(Gfn, Mapping)> {
        let (gfn, leaf) = self.seek(cursor, u64::MAX, looks)?;
        *cursor = Gfn(gfn.0 + (1 << leaf.order));
        // The leaf's own table exists, so this neither allocates nor splits.
        let table = self.descend(gfn.0, leaf.order / BITS + 1).ok()?;
        self.replace(table, gfn.0, leaf.order / BITS + 1, self.format.absent());
        Some((gfn, leaf))
    }

    fn free(&self, table: Mfn, level: u32) {
        // The lowest ones lead to no table: they need not be read, and they are nearly all.
        let entries = if level > 1 { ENTRIES } else { 0 };
        for index in 0..entries as usize {
            if let Entry::Table(lower) = self
                .format
                .decode(slot(table, index * 8).load(Ordering::Relaxed), level)
            {
                self.free(lower, level - 1);
            }
        }
        frames::free(table, 0);
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.free(self.root, self.format.levels());
    }
}

#[cfg(test)]
impl Table {
    /// Frames the table itself uses.
    pub fn frames(&self) -> u64 {
        self.count(self.root, self.format.levels())
    }

    fn count(&self, table: Mfn, level: u32) -> u64 {
        let below = (0..ENTRIES as usize).map(|index| {
            let entry = slot(table, index * 8).load(Ordering::Relaxed);
            match self.format.decode(entry, level) {
                Entry::Table(lower) => self.count(lower, level - 1),
                Entry::Absent | Entry::Leaf(_) => 0,
            }
        });
        1 + below.sum::<u64>()
    }
}
