//! Waiting for units.

use crate::arch::timer;

/// How long a unit may take. Hardware needs microseconds; only a broken unit needs this long.
const PATIENCE_NS: u64 = 1_000_000_000;

/// Waits until `done`, for as long as hardware may reasonably take; false when time is up.
#[must_use]
pub fn wait_until(mut done: impl FnMut() -> bool) -> bool {
    let start = timer::now_ns();
    // The loop also ends where the clock stands still.
    for _ in 0..u32::MAX {
        if done() {
            return true;
        }
        if timer::now_ns().wrapping_sub(start) > PATIENCE_NS {
            break;
        }
        core::hint::spin_loop();
    }
    false
}
