//! Plays scenarios and says how it went.

use std::fs;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, anyhow};

use crate::images::Images;
use crate::scenario::{Emulator, Scenario, Stage};

/// Lines of a console that a failure shows.
const TAIL: usize = 40;

/// How many went well and how many did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// Stories that turned out true.
    pub passed: usize,
    /// The others.
    pub failed: usize,
}

impl Score {
    /// Runs `check`, prints one line with its time, and counts it.
    pub fn count(&mut self, name: &str, check: impl FnOnce() -> Result<()>) -> bool {
        print!("{name:<64} ");
        // Nothing to do about a closed standard output; the score is still right.
        let _ = std::io::stdout().flush();
        let start = Instant::now();
        // One broken scenario must not hide the others.
        let result =
            catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|_| Err(anyhow!("panicked")));
        let seconds = start.elapsed().as_secs_f32();
        match &result {
            Ok(()) => {
                self.passed += 1;
                println!("ok     {seconds:7.1} s");
            }
            Err(error) => {
                self.failed += 1;
                println!(
                    "FAILED {seconds:7.1} s\n  {}",
                    format!("{error:#}").replace('\n', "\n  ")
                );
            }
        }
        result.is_ok()
    }

    /// Plays `scenario` in a folder of its own below `folder`.
    pub fn play(
        &mut self,
        scenario: &Scenario,
        images: &Images,
        emulator: &Emulator,
        folder: &Path,
    ) -> bool {
        let folder = folder.join(
            scenario
                .name
                .replace(|c: char| !c.is_ascii_alphanumeric(), "-"),
        );
        let mut logs: Vec<PathBuf> = Vec::new();
        let passed = self.count(scenario.name, || {
            let stage = Stage::new(images, emulator.clone(), folder.clone())?;
            let result = (scenario.play)(&stage);
            logs = stage.logs();
            result
        });
        if passed {
            // Gigabytes would pile up; the logs of failures stay.
            let _ = fs::remove_dir_all(&folder);
        } else if let Some(log) = logs.last() {
            show_tail(log);
        }
        passed
    }
}

impl std::fmt::Display for Score {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// Prints the end of the console's log, which may hold any bytes.
fn show_tail(log: &Path) {
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).replace(|c: char| c.is_control() && c != '\n', "");
    let lines: Vec<&str> = text.lines().collect();
    println!(
        "  the console's last lines; all of it is in {}",
        log.display()
    );
    for line in &lines[lines.len().saturating_sub(TAIL)..] {
        println!("  | {line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_counts_as_a_failure_and_the_rest_goes_on() {
        let mut score = Score::default();
        assert!(!score.count("panics", || panic!("on purpose")));
        assert!(!score.count("fails", || Err(anyhow!("on purpose"))));
        assert!(score.count("passes", || Ok(())));
        assert_eq!(score.to_string(), "1 passed, 2 failed");
    }
}
