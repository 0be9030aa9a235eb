//! The stretches of physical address space that the frame table describes.
//!
//! RAM comes with holes. Small ones are not worth a segment; big ones (the PCI hole of a machine
//! with more than 2 GiB) would cost 4 bytes of table for every frame that does not exist.

use crate::types::Mfn;

/// Holes below this many frames stay inside a segment: 16,384 frames cost 64 KiB of table.
const HOLE: u64 = 16_384;
/// Stretches at most; further RAM is ignored.
pub const MAX_SEGMENTS: usize = 16;

/// One stretch: frames `first..end`, whose entries begin at `index` in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First frame.
    pub first: u64,
    /// One past the last frame.
    pub end: u64,
    /// The table index of `first`.
    pub index: usize,
}

/// All stretches, in ascending order.
#[derive(Clone, Debug, Default)]
pub struct Segments {
    list: heapless::Vec<Segment, MAX_SEGMENTS>,
}

impl Segments {
    /// Adds RAM `first..end` (frames). Ranges must come in ascending order; an overlap with what
    /// is there already is merged. Returns false if there is no room for another stretch.
    pub fn add(&mut self, first: u64, end: u64) -> bool {
        if first >= end {
            return true;
        }
        if let Some(last) = self.list.last_mut()
            && first < last.end.saturating_add(HOLE)
        {
            last.end = last.end.max(end);
            return true;
        }
        let index = self.entries();
        self.list.push(Segment { first, end, index }).is_ok()
    }

    /// How many table entries describe all stretches.
    pub fn entries(&self) -> usize {
        self.list
            .last()
            .map_or(0, |last| last.index + (last.end - last.first) as usize)
    }

    /// The table index of a frame.
    pub fn index(&self, mfn: Mfn) -> Option<usize> {
        self.list
            .iter()
            .find(|s| mfn.0 >= s.first && mfn.0 < s.end)
            .map(|s| s.index + (mfn.0 - s.first) as usize)
    }

    /// The stretches.
    pub fn list(&self) -> &[Segment] {
        &self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_holes_are_merged_and_big_ones_are_not() {
        let mut segments = Segments::default();
        assert!(segments.add(0, 0x9f));
        assert!(segments.add(0x100, 0x80000));
        assert!(segments.add(0x10_0000, 0x18_0000));
        assert_eq!(segments.list().len(), 2);
        assert_eq!(segments.entries(), 0x10_0000);
        assert_eq!(segments.index(Mfn(0xa0)), Some(0xa0));
        assert_eq!(segments.index(Mfn(0x8_0000)), None);
        assert_eq!(segments.index(Mfn(0x10_0000)), Some(0x8_0000));
        assert_eq!(segments.index(Mfn(0x18_0000)), None);
    }

    #[test]
    fn an_empty_range_is_no_segment() {
        let mut segments = Segments::default();
        assert!(segments.add(5, 5));
        assert!(segments.list().is_empty());
        assert_eq!(segments.entries(), 0);
    }
}
