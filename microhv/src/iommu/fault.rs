//! Faults: told in the log, and handed to whoever answers for the device.

use crate::arch::timer;
use crate::pci::{self, Sbdf};
use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use heapless::Vec;
use spin::Mutex;

/// Lines a second.
const LINES: u32 = 10;

static WINDOW_START: AtomicU64 = AtomicU64::new(0);
static WINDOW_LINES: AtomicU32 = AtomicU32::new(0);
static SUPPRESSED: AtomicU32 = AtomicU32::new(0);

/// A unit stopped a request of `sbdf`; `what` says what it was.
pub fn report(sbdf: Sbdf, what: fmt::Arguments<'_>) {
    match pci::owner(sbdf) {
        Some(domain) => tell(format_args!("{what} ({domain})")),
        None => tell(format_args!("{what} (no domain's)")),
    }
    pci::note_fault(sbdf);
}

/// Faults that a unit hands out at one time.
pub const BATCH: usize = 8;
/// Batches handled per call: twice what a unit's log or records hold. What stays behind once they are full is never
/// signalled again.
const BATCHES: usize = 2 * 256 / BATCH + 1;

/// Reports the faults of `unit`, which `take` takes, oldest first, as many as fit, and says whether some were lost.
pub fn drain<U, F>(
    unit: &Mutex<U>,
    take: impl Fn(&mut U, &mut Vec<F, BATCH>) -> bool,
    describe: impl Fn(&F),
) {
    for _ in 0..BATCHES {
        let mut faults = Vec::new();
        let lost = take(&mut unit.lock(), &mut faults);
        faults.iter().for_each(&describe);
        if lost {
            tell(format_args!("IOMMU: further faults were not recorded"));
        }
        if !faults.is_full() {
            break;
        }
    }
}

/// Logs a line about faults, unless there were many just now.
pub fn tell(line: fmt::Arguments<'_>) {
    if super::debug() || may_log() {
        log::warn!("{line}");
    }
}

/// At most [`LINES`] a second; then one line that says how many were left out.
fn may_log() -> bool {
    let now = timer::now_ns();
    if now.wrapping_sub(WINDOW_START.load(Ordering::Relaxed)) > 1_000_000_000 {
        WINDOW_START.store(now, Ordering::Relaxed);
        WINDOW_LINES.store(0, Ordering::Relaxed);
        let suppressed = SUPPRESSED.swap(0, Ordering::Relaxed);
        if suppressed > 0 {
            log::warn!("IOMMU: {suppressed} more faults before this");
        }
    }
    if WINDOW_LINES.fetch_add(1, Ordering::Relaxed) < LINES {
        return true;
    }
    SUPPRESSED.fetch_add(1, Ordering::Relaxed);
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_faults_is_a_few_lines() {
        timer::host_set_now(5_000_000_000);
        let lines = (0..1000).filter(|_| may_log()).count();
        assert_eq!(lines, LINES as usize);
        timer::host_set_now(7_000_000_000);
        assert!(may_log());
    }
}
