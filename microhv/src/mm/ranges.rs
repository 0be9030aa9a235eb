//! Sets of physical address ranges.

/// Bytes `start..end` of physical address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
}

impl Range {
    /// The addresses from `start` on that are below `end`.
    pub const fn between(start: u64, end: u64) -> Self {
        Self { start, end }
    }

    /// `length` bytes from `start`; cut at the end of the address space.
    pub const fn new(start: u64, length: u64) -> Self {
        let end = start.saturating_add(length);
        Self { start, end }
    }

    /// Bytes in the range.
    pub const fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether there is nothing in it.
    pub const fn is_empty(&self) -> bool {
        self.end <= self.start
    }

    /// The whole pages in the range.
    pub const fn whole_pages(&self) -> Self {
        Self::between(self.start.saturating_add(0xfff) & !0xfff, self.end & !0xfff)
    }

    /// All pages that the range touches.
    pub const fn touched_pages(&self) -> Self {
        Self::between(self.start & !0xfff, self.end.saturating_add(0xfff) & !0xfff)
    }
}

/// Disjoint ranges in ascending order.
#[derive(Clone, Debug, Default)]
pub struct Ranges<const N: usize> {
    list: heapless::Vec<Range, N>,
}

impl<const N: usize> Ranges<N> {
    /// The ranges.
    pub fn list(&self) -> &[Range] {
        &self.list
    }

    /// Bytes in all ranges.
    pub fn bytes(&self) -> u64 {
        self.list.iter().map(Range::len).sum()
    }

    /// Whether all of `range` is in the set.
    pub fn covers(&self, range: Range) -> bool {
        let mut list = self.list.iter();
        range.is_empty() || list.any(|part| part.start <= range.start && range.end <= part.end)
    }

    /// Adds a range; what is there already is joined with it. False if there is no room.
    pub fn insert(&mut self, range: Range) -> bool {
        if range.is_empty() {
            return true;
        }
        let mut joined = range;
        self.list.retain(|old| {
            let apart = old.end < joined.start || joined.end < old.start;
            if !apart {
                joined.start = joined.start.min(old.start);
                joined.end = joined.end.max(old.end);
            }
            apart
        });
        let at = self.list.partition_point(|old| old.start < joined.start);
        self.list.insert(at, joined).is_ok()
    }

    /// Takes a range out of all of them. False if that needs more ranges than there is room for;
    /// then too much is taken out.
    pub fn remove(&mut self, range: Range) -> bool {
        let mut at = 0;
        let mut room = true;
        while let Some(old) = self.list.get(at).copied() {
            if old.end <= range.start || range.end <= old.start || range.is_empty() {
                at += 1;
                continue;
            }
            self.list.remove(at);
            let parts = [
                Range::between(old.start, range.start),
                Range::between(range.end, old.end),
            ];
            for part in parts {
                if !part.is_empty() {
                    room &= self.list.insert(at, part).is_ok();
                    at += 1;
                }
            }
        }
        room
    }

    /// Takes `bytes` out, aligned to `align` (a power of two), from the lowest place at or above
    /// `from` where they end at or below `limit`.
    pub fn take(&mut self, bytes: u64, align: u64, from: u64, limit: u64) -> Option<u64> {
        let start = self.list.iter().find_map(|range| {
            let start = range.start.max(from).checked_next_multiple_of(align)?;
            let end = start.checked_add(bytes)?;
            (end <= range.end.min(limit)).then_some(start)
        })?;
        self.remove(Range::new(start, bytes)).then_some(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(start: u64, end: u64) -> Range {
        Range { start, end }
    }

    #[test]
    fn taking_respects_alignment_and_limits() {
        let mut ranges = Ranges::<8>::default();
        ranges.insert(range(0x1800, 0x9000));
        ranges.insert(range(0x10000, 0x20000));
        assert_eq!(ranges.take(0x1000, 0x1000, 0, u64::MAX), Some(0x2000));
        assert_eq!(ranges.take(0x6001, 0x1000, 0, u64::MAX), Some(0x10000));
        assert_eq!(ranges.take(0x1000, 0x1000, 0x4000, 0x5000), Some(0x4000));
        assert_eq!(ranges.take(0x1000, 0x1000, 0x4000, 0x5000), None);
        assert_eq!(ranges.take(u64::MAX, 0x1000, 0, u64::MAX), None);
    }

    #[test]
    fn pages_are_rounded_in_and_out() {
        assert_eq!(range(1, 0x3001).whole_pages(), range(0x1000, 0x3000));
        assert_eq!(range(1, 0x3001).touched_pages(), range(0, 0x4000));
        assert!(range(1, 0xfff).whole_pages().is_empty());
    }

    proptest! {
        #[test]
        fn sets_behave_like_sets(steps in proptest::collection::vec((any::<bool>(), 0u64..64, 0u64..64), 0..40)) {
            let mut ranges = Ranges::<64>::default();
            let mut model = [false; 64];
            for (insert, a, b) in steps {
                let new = range(a.min(b), a.max(b));
                let ok = if insert { ranges.insert(new) } else { ranges.remove(new) };
                prop_assert!(ok);
                model[new.start as usize..new.end as usize].fill(insert);
                prop_assert_eq!(ranges.covers(new), insert || new.is_empty());
                let list = ranges.list();
                prop_assert!(list.iter().all(|r| !r.is_empty()));
                prop_assert!(list.windows(2).all(|w| w[0].end < w[1].start));
                for (byte, expected) in model.iter().enumerate() {
                    let byte = byte as u64;
                    prop_assert_eq!(list.iter().any(|r| r.start <= byte && byte < r.end), *expected);
                }
            }
        }
    }
}
