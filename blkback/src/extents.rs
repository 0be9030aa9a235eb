//! From a frontend's disk to the sectors of ours: one range for a partition, several for a file of Domain-0's.
//!
//! Nothing here knows what a file system is: Domain-0 says which ranges make up the disk. Whatever it says and whatever a
//! frontend asks for, no sector outside the ranges is ever named.

use alloc::vec::Vec;

/// Ranges that one disk may be made of.
pub const MAX_EXTENTS: usize = 1024;

/// A range of sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First sector.
    pub start: u64,
    /// Sectors of 512 bytes.
    pub sectors: u64,
}

impl Extent {
    /// Has it sectors in common with the other?
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let end = |extent: &Self| extent.start.saturating_add(extent.sectors);
        self.sectors > 0 && other.sectors > 0 && self.start < end(other) && other.start < end(self)
    }
}

/// A range, and the sector of the frontend's disk that it begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: u64,
    extent: Extent,
}

/// The ranges that make up a frontend's disk, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extents {
    runs: Vec<Run>,
    sectors: u64,
    /// The frontend may only read.
    pub read_only: bool,
    /// The frontend may give sectors back to the disk.
    pub discard: bool,
    /// What it gives back becomes zeros.
    pub zeroes: bool,
}

impl From<Extent> for Extents {
    fn from(extent: Extent) -> Self {
        Self {
            runs: Vec::from([Run { first: 0, extent }]),
            sectors: extent.sectors,
            read_only: false,
            discard: true,
            zeroes: false,
        }
    }
}

impl Extents {
    /// The ranges that `lists` name, each list `START+COUNT,START+COUNT...`, with sectors counted from the beginning of
    /// `within`.
    ///
    /// # Errors
    /// What is wrong: no numbers, a range that is empty or not inside `within`, none, or more than [`MAX_EXTENTS`].
    pub fn parse<'a>(
        lists: impl IntoIterator<Item = &'a str>,
        within: Extent,
    ) -> Result<Self, &'static str> {
        let mut runs = Vec::new();
        let mut sectors = 0_u64;
        for part in lists.into_iter().flat_map(|list| list.split(',')) {
            let (start, count) = part.split_once('+').ok_or("a range without length")?;
            let number = |text: &str| text.parse::<u64>().map_err(|_| "a range without numbers");
            let (start, count) = (number(start)?, number(count)?);
            let end = start.checked_add(count).ok_or("a range beyond the end")?;
            if count == 0 || end > within.sectors {
                return Err("a range beyond the end");
            }
            if runs.len() >= MAX_EXTENTS {
                return Err("too many ranges");
            }
            let extent = Extent {
                start: within
                    .start
                    .checked_add(start)
                    .ok_or("a range beyond the end")?,
                sectors: count,
            };
            runs.push(Run {
                first: sectors,
                extent,
            });
            sectors = sectors.checked_add(count).ok_or("too many sectors")?;
        }
        if runs.is_empty() {
            return Err("no ranges");
        }
        Ok(Self {
            runs,
            sectors,
            read_only: false,
            discard: false,
            zeroes: false,
        })
    }

    /// Sectors of the frontend's disk.
    #[must_use]
    pub fn sectors(&self) -> u64 {
        self.sectors
    }

    /// Does the frontend's disk have these sectors?
    #[must_use]
    pub fn holds(&self, sector: u64, count: u64) -> bool {
        sector
            .checked_add(count)
            .is_some_and(|end| end <= self.sectors)
    }

    /// Where `count` sectors of the frontend's disk from `sector` on are, in order. What is behind its end is nowhere.
    pub fn ranges(&self, sector: u64, count: u64) -> impl Iterator<Item = Extent> + '_ {
        // The last run that begins at or before the sector.
        let begin = self.runs.partition_point(|run| run.first <= sector);
        let runs = self.runs.get(begin.saturating_sub(1)..).unwrap_or(&[]);
        let mut left = count.min(self.sectors.saturating_sub(sector));
        runs.iter().map_while(move |run| {
            let skip = sector.saturating_sub(run.first);
            let sectors = run.extent.sectors.saturating_sub(skip).min(left);
            left -= sectors;
            let start = run.extent.start.saturating_add(skip);
            (sectors > 0).then_some(Extent { start, sectors })
        })
    }

    /// Has it sectors in common with the other?
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.runs.iter().any(|run| {
            let others = other.runs.iter();
            others
                .map(|other| other.extent)
                .any(|other| run.extent.overlaps(&other))
        })
    }

    /// The first sector of the first range.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.runs.first().map_or(0, |run| run.extent.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WITHIN: Extent = Extent {
        start: 1000,
        sectors: 500,
    };

    #[test]
    fn ranges_are_read_and_bad_ones_named() {
        let extents = Extents::parse(["0+10,20+1", "499+1"], WITHIN).unwrap();
        assert_eq!((extents.sectors(), extents.start()), (12, 1000));
        let found: Vec<_> = extents.ranges(8, 4).collect();
        let extent = |start, sectors| Extent { start, sectors };
        assert_eq!(found, [extent(1008, 2), extent(1020, 1), extent(1499, 1)]);
        for (text, error) in [
            ("", "a range without length"),
            ("5", "a range without length"),
            ("5+1,", "a range without length"),
            ("a+1", "a range without numbers"),
            ("1+-1", "a range without numbers"),
            ("1+0", "a range beyond the end"),
            ("499+2", "a range beyond the end"),
            ("18446744073709551615+1", "a range beyond the end"),
        ] {
            assert_eq!(Extents::parse([text], WITHIN), Err(error), "{text:?}");
        }
        assert_eq!(Extents::parse([], WITHIN), Err("no ranges"));
        let many = "1+1,".repeat(MAX_EXTENTS) + "1+1";
        assert_eq!(
            Extents::parse([many.as_str()], WITHIN),
            Err("too many ranges")
        );
    }

    #[test]
    fn sectors_in_common_are_found_in_any_range() {
        let one = Extents::parse(["0+10,50+10"], WITHIN).unwrap();
        for (text, common) in [
            ("10+40", false),
            ("10+41", true),
            ("60+1,59+1", true),
            ("200+1", false),
        ] {
            let other = Extents::parse([text], WITHIN).unwrap();
            assert_eq!(one.overlaps(&other), common, "{text}");
            assert_eq!(other.overlaps(&one), common, "{text}");
        }
    }

    proptest! {
        /// Whatever the ranges are and whatever is asked for: the sectors are those of the ranges, in their order.
        #[test]
        fn never_outside_the_extents(
            ranges in prop::collection::vec((0..600u64, 0..40u64), 0..20),
            asked in prop::collection::vec((
                prop_oneof![0..900u64, any::<u64>()],
                prop_oneof![0..900u64, any::<u64>()],
            ), 20),
        ) {
            let text: Vec<_> = ranges.iter().map(|(start, count)| format!("{start}+{count}")).collect();
            let text = text.join(",");
            let good = !ranges.is_empty()
                && ranges.iter().all(|(start, count)| *count > 0 && start + count <= WITHIN.sectors);
            let parsed = Extents::parse([text.as_str()], WITHIN);
            prop_assert_eq!(parsed.is_ok(), good);
            let Ok(extents) = parsed else { return Ok(()) };
            // The disk, sector by sector.
            let all: Vec<u64> = ranges
                .iter()
                .flat_map(|(start, count)| WITHIN.start + start..WITHIN.start + start + count)
                .collect();
            prop_assert_eq!(extents.sectors(), all.len() as u64);
            for (sector, count) in asked {
                let holds = sector.checked_add(count).is_some_and(|end| end <= all.len() as u64);
                prop_assert_eq!(extents.holds(sector, count), holds);
                let found: Vec<u64> = extents
                    .ranges(sector, count)
                    .flat_map(|extent| extent.start..extent.start + extent.sectors)
                    .collect();
                let first = usize::try_from(sector).unwrap_or(usize::MAX).min(all.len());
                let last = first.saturating_add(usize::try_from(count).unwrap_or(usize::MAX)).min(all.len());
                prop_assert_eq!(&found, &all[first..last]);
            }
        }

        /// Any text: an answer, and nothing outside.
        #[test]
        fn any_text_is_survived(text in "[0-9+,]{0,60}|.{0,20}", sector: u64, count: u64) {
            if let Ok(extents) = Extents::parse([text.as_str()], WITHIN) {
                for extent in extents.ranges(sector, count) {
                    prop_assert!(extent.sectors > 0 && extent.start >= 1000);
                    prop_assert!(extent.start + extent.sectors <= 1500);
                }
            }
        }
    }
}
