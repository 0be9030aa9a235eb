//! Logs: lines with the time, collected in memory until they are written in one go.

mod date;
mod lines;
mod rate;
mod service;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

pub use date::{Date, Stamp};
pub use lines::Lines;
pub use rate::{BURST, Dropped, RATE, Rate, Verdict};
pub use service::domain_line;

/// A log that would become larger becomes `NAME.1`, and a new one begins; in bytes.
pub const SIZE_MAX: u64 = 1 << 20;
/// What waits to be written to one log at most, in bytes.
const PENDING_MAX: usize = 128 << 10;
/// With this much waiting, a log is written at once.
const PENDING_MUCH: usize = 32 << 10;
/// Longest part of a file name that comes from a guest's name.
const NAME_MAX: usize = 64;

/// One log's lines that are not written yet.
struct Log {
    rate: Rate,
    pending: Vec<u8>,
}

/// All logs, by path.
#[derive(Default)]
pub struct Logs {
    logs: BTreeMap<String, Log>,
    much: bool,
}

/// A moment: since the machine started, and since 1970, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moment {
    /// Since the machine started.
    pub now: u64,
    /// Since 1970.
    pub wall: u64,
}

impl Logs {
    /// Adds a line to the log at `path`, unless there are too many.
    pub fn line(&mut self, path: &str, text: &str, at: Moment) {
        let log = match self.logs.get_mut(path) {
            Some(log) => log,
            None => self.logs.entry(path.to_string()).or_insert(Log {
                rate: Rate::new(at.now),
                pending: Vec::new(),
            }),
        };
        let line = format!("{} {text}\n", Stamp(at.wall));
        if log.pending.len() + line.len() > PENDING_MAX {
            log.rate.drop_line(line.len() as u64);
            return;
        }
        if let Verdict::Take(dropped) = log.rate.ask(line.len(), at.now) {
            if let Some(dropped) = dropped {
                log.remark(dropped, at.wall);
            }
            log.pending.extend_from_slice(line.as_bytes());
            self.much |= log.pending.len() >= PENDING_MUCH;
        }
    }

    /// Whether so much waits that it should be written now.
    #[must_use]
    pub fn has_much(&self) -> bool {
        self.much
    }

    /// Takes what waits, log by log.
    pub fn take(&mut self, at: Moment) -> Vec<(String, Vec<u8>)> {
        self.much = false;
        let mut taken = Vec::new();
        self.logs.retain(|path, log| {
            if let Some(dropped) = log.rate.remark(at.now) {
                log.remark(dropped, at.wall);
            }
            if !log.pending.is_empty() {
                taken.push((path.clone(), core::mem::take(&mut log.pending)));
            }
            // Nothing is kept of a log that is quiet: a guest that is gone leaves nothing behind.
            !log.rate.is_idle(at.now)
        });
        taken
    }
}

impl Log {
    fn remark(&mut self, dropped: Dropped, wall: u64) {
        let Dropped { lines, bytes } = dropped;
        let line = format!(
            "{} ({lines} lines, {bytes} bytes, were dropped: more than {BURST} bytes at once or {RATE} a second)\n",
            Stamp(wall)
        );
        self.pending.extend_from_slice(line.as_bytes());
    }
}

/// Whether a log of `size` bytes gives way to a new one before `added` bytes are written.
#[must_use]
pub fn rotates(size: u64, added: usize) -> bool {
    size > 0 && size.saturating_add(added as u64) > SIZE_MAX
}

/// `name` as part of a file name: what could lead elsewhere, or is not allowed on FAT, becomes `_`.
#[must_use]
pub fn file_name(name: &str) -> String {
    name.chars()
        .take(NAME_MAX)
        .map(|c| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' | '+' => c,
            _ => '_',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn at(second: u64) -> Moment {
        Moment {
            now: second * SECOND,
            wall: (1_795_341_693 + second) * SECOND,
        }
    }

    #[test]
    fn lines_are_stamped_and_taken_together() {
        let mut logs = Logs::default();
        logs.line("a", "one", at(0));
        logs.line("b", "two", at(0));
        logs.line("a", "three", at(1));
        assert_eq!(
            logs.take(at(1)),
            [
                (
                    "a".to_string(),
                    b"2026-11-22 10:01:33.000 one\n2026-11-22 10:01:34.000 three\n".to_vec()
                ),
                ("b".to_string(), b"2026-11-22 10:01:33.000 two\n".to_vec())
            ]
        );
        assert_eq!(logs.take(at(2)), []);
        assert!(logs.logs.is_empty(), "nothing is kept of quiet logs");
    }

    #[test]
    fn a_flood_is_bounded_and_the_log_says_what_is_missing() {
        let mut logs = Logs::default();
        for _ in 0..10_000 {
            logs.line("f", &"x".repeat(1000), at(0));
        }
        assert!(logs.has_much());
        let taken = logs.take(at(0));
        assert!(taken[0].1.len() <= PENDING_MAX + 256);
        let text = String::from_utf8_lossy(&taken[0].1);
        let remark = text.lines().last().unwrap();
        assert!(
            remark.contains(" lines, ") && remark.contains("dropped"),
            "{remark}"
        );
        // The same flood goes on: now the rate is the limit.
        for _ in 0..10_000 {
            logs.line("f", &"x".repeat(1000), at(0));
            let _ = logs.take(at(0));
        }
        logs.line("f", "after", at(60));
        let taken = logs.take(at(60));
        let text = String::from_utf8_lossy(&taken[0].1);
        let mut lines = text.lines();
        let remark = lines.next().unwrap();
        assert!(
            remark.contains(" lines, ") && remark.contains("dropped"),
            "{remark}"
        );
        assert!(lines.next().unwrap().ends_with(" after"));
    }

    #[test]
    fn what_was_dropped_is_said_though_nothing_follows() {
        let mut logs = Logs::default();
        for _ in 0..500 {
            logs.line("f", &"x".repeat(1000), at(0));
        }
        let first = logs.take(at(0)).remove(0).1;
        for _ in 0..500 {
            logs.line("f", &"x".repeat(1000), at(0));
            logs.take(at(0));
        }
        assert!(String::from_utf8_lossy(&first).contains("dropped"));
        let text = logs.take(at(9)).remove(0).1;
        assert!(String::from_utf8_lossy(&text).contains("dropped"));
    }

    #[test]
    fn rotation_keeps_logs_below_the_limit() {
        assert!(
            !rotates(0, 2 << 20),
            "an empty log is no use as the old one"
        );
        assert!(!rotates(SIZE_MAX - 10, 10));
        assert!(rotates(SIZE_MAX - 10, 11));
        assert!(rotates(u64::MAX, 1));
    }

    proptest::proptest! {
        #[test]
        fn names_lead_nowhere_else(name: String) {
            let name = file_name(&name);
            proptest::prop_assert!(name.len() <= NAME_MAX);
            proptest::prop_assert!(!name.contains(['/', '\\', ':', '*', '\0', ' ']));
        }
    }
}
