//! Time and each CPU's one deadline.

use core::sync::atomic::{AtomicU64, Ordering};

/// The time-stamp counter's frequency in kHz.
#[must_use]
pub fn tsc_khz() -> u64 {
    TSC_KHZ.load(Ordering::Relaxed)
}

static TSC_KHZ: AtomicU64 = AtomicU64::new(1_000_000);

/// Nanoseconds since microhv started.
#[cfg(target_os = "none")]
#[must_use]
pub fn now_ns() -> u64 {
    super::cpu::rdtsc()
}

/// On the host: the time that a test has set.
#[cfg(not(target_os = "none"))]
#[must_use]
pub fn now_ns() -> u64 {
    HOST_NOW.load(Ordering::Relaxed)
}

/// Sets the host's clock.
#[cfg(not(target_os = "none"))]
pub fn host_set_now(ns: u64) {
    HOST_NOW.store(ns, Ordering::Relaxed);
}

#[cfg(not(target_os = "none"))]
static HOST_NOW: AtomicU64 = AtomicU64::new(0);

/// Sets this CPU's deadline (ns, as in [`now_ns`]); one that has passed fires at once. `None`: no
/// deadline. When it passes, an interrupt sets this CPU's `timer_fired`.
pub fn set_deadline(deadline: Option<u64>) {
    let _ = deadline;
}
