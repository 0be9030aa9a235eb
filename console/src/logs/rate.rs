//! How much may be said.

/// Bytes that may come at once.
pub const BURST: u64 = 256 << 10;
/// Bytes a second in the long run.
pub const RATE: u64 = 16 << 10;
/// After the burst is used up nothing is taken until this many bytes may come again: one remark a second about what was
/// dropped, not one a line.
const RESUME: u64 = RATE;
const SECOND: u64 = 1_000_000_000;

/// A bucket that fills with time.
#[derive(Clone, Debug)]
pub struct Rate {
    /// Bytes that may come now.
    left: u64,
    /// When `left` was right, in nanoseconds.
    at: u64,
    closed: bool,
    dropped: Dropped,
}

/// What was not taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Lines.
    pub lines: u64,
    /// Bytes in them.
    pub bytes: u64,
}

/// Whether a line may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may, and this was dropped before it.
    Take(Option<Dropped>),
    /// It is dropped.
    Drop,
}

impl Rate {
    /// A full bucket.
    #[must_use]
    pub fn new(now: u64) -> Self {
        Self {
            left: BURST,
            at: now,
            closed: false,
            dropped: Dropped::default(),
        }
    }

    fn fill(&mut self, now: u64) {
        let gained =
            u128::from(now.saturating_sub(self.at)) * u128::from(RATE) / u128::from(SECOND);
        if gained > 0 {
            self.left = BURST.min(
                self.left
                    .saturating_add(u64::try_from(gained).unwrap_or(BURST)),
            );
            self.at = now;
        }
        if self.left >= RESUME {
            self.closed = false;
        }
    }

    /// Asks for a line of `bytes` bytes.
    pub fn ask(&mut self, bytes: usize, now: u64) -> Verdict {
        let bytes = bytes as u64;
        self.fill(now);
        if self.closed || bytes > self.left {
            self.closed = true;
            self.drop_line(bytes);
            return Verdict::Drop;
        }
        self.left -= bytes;
        let dropped = core::mem::take(&mut self.dropped);
        Verdict::Take((dropped.lines > 0).then_some(dropped))
    }

    /// Counts a line that is dropped for another reason.
    pub fn drop_line(&mut self, bytes: u64) {
        self.dropped.lines += 1;
        self.dropped.bytes = self.dropped.bytes.saturating_add(bytes);
    }

    /// What was dropped, if the next line would be taken.
    pub fn remark(&mut self, now: u64) -> Option<Dropped> {
        self.fill(now);
        if self.closed || self.dropped.lines == 0 {
            return None;
        }
        Some(core::mem::take(&mut self.dropped))
    }

    /// Whether it is as good as new.
    pub fn is_idle(&mut self, now: u64) -> bool {
        self.fill(now);
        self.left == BURST && self.dropped.lines == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_a_flood_does_not() {
        let mut rate = Rate::new(0);
        for _ in 0..BURST / 64 {
            assert_eq!(rate.ask(64, 0), Verdict::Take(None));
        }
        for _ in 0..10 {
            assert_eq!(rate.ask(64, 0), Verdict::Drop);
        }
        assert_eq!(rate.ask(64, SECOND / 2), Verdict::Drop);
        let dropped = Dropped {
            lines: 11,
            bytes: 11 * 64,
        };
        assert_eq!(rate.remark(SECOND / 2), None);
        assert_eq!(rate.ask(64, SECOND + 1), Verdict::Take(Some(dropped)));
        assert_eq!(rate.ask(64, SECOND + 1), Verdict::Take(None));
        assert!(!rate.is_idle(SECOND + 1) && rate.is_idle(60 * SECOND));
    }

    proptest::proptest! {
        /// However lines come, no more than the burst and the rate since the beginning passes, and none is forgotten.
        #[test]
        fn never_more_than_allowed(lines: Vec<(u16, u32)>) {
            let (mut rate, mut now, mut passed, mut told) = (Rate::new(0), 0_u64, 0, 0);
            for &(bytes, later) in &lines {
                now += u64::from(later);
                if let Verdict::Take(dropped) = rate.ask(bytes.into(), now) {
                    passed += u64::from(bytes);
                    told += 1 + dropped.map_or(0, |dropped| dropped.lines);
                }
            }
            told += rate.remark(now + 60 * SECOND).map_or(0, |dropped| dropped.lines);
            proptest::prop_assert!(passed <= BURST + now / SECOND * RATE + RATE);
            proptest::prop_assert_eq!(told, lines.len() as u64);
        }
    }
}
