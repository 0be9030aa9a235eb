//! `loglvl` and `guest_loglvl`: what is printed.

use crate::arch::timer;
use config::xen_cmdline::{Level, LogLevel};
use spin::Mutex;

/// As many lines in so many ns get past a rate limit: Xen's `printk_ratelimit`.
const BURST: u32 = 10;
const PERIOD: u64 = 5_000_000_000;

struct Threshold {
    level: LogLevel,
    /// Lines let through since `since`.
    lines: u32,
    since: u64,
}

impl Threshold {
    fn passes(&mut self, level: Level, now: u64) -> bool {
        if level <= self.level.always {
            return true;
        }
        if level > self.level.rate_limited {
            return false;
        }
        if now.saturating_sub(self.since) >= PERIOD {
            self.since = now;
            self.lines = 0;
        }
        self.lines = self.lines.saturating_add(1);
        self.lines <= BURST
    }
}

const fn threshold(level: LogLevel) -> Mutex<Threshold> {
    Mutex::new(Threshold {
        level,
        lines: 0,
        since: 0,
    })
}

static HYPERVISOR: Mutex<Threshold> = threshold(LogLevel::LOGLVL_DEFAULT);
static GUEST: Mutex<Threshold> = threshold(LogLevel::GUEST_LOGLVL_DEFAULT);

/// Sets both thresholds.
pub(crate) fn set(hypervisor: LogLevel, guest: LogLevel) {
    HYPERVISOR.lock().level = hypervisor;
    GUEST.lock().level = guest;
}

/// Whether the hypervisor's message is to be printed now.
pub(super) fn hypervisor(level: log::Level) -> bool {
    let level = match level {
        log::Level::Error => Level::Error,
        log::Level::Warn => Level::Warning,
        log::Level::Info => Level::Info,
        log::Level::Debug | log::Level::Trace => Level::Debug,
    };
    HYPERVISOR.lock().passes(level, timer::now_ns())
}

/// Whether a guest's line is to be printed now.
pub(super) fn guest(level: Level) -> bool {
    GUEST.lock().passes(level, timer::now_ns())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_let_a_burst_pass() {
        let level = LogLevel {
            always: Level::Error,
            rate_limited: Level::Warning,
        };
        let mut threshold = Threshold {
            level,
            lines: 0,
            since: 0,
        };
        assert!(!threshold.passes(Level::Info, 0));
        let passed = (0..100)
            .filter(|_| threshold.passes(Level::Warning, 1))
            .count();
        assert_eq!(passed, 10);
        assert!(threshold.passes(Level::Error, 1));
        assert!(threshold.passes(Level::Warning, PERIOD + 1));
    }
}
