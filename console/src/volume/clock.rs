//! The time that new files get.

use core::sync::atomic::{AtomicU64, Ordering};

use hadris_fat::time::{FatDateTime, TimeProvider};

use crate::logs::Date;

/// Seconds since 1970, as of the last [`set_wall_clock`]: the library has no other way to ask.
static SECONDS: AtomicU64 = AtomicU64::new(0);

/// Says what time it is.
pub fn set_wall_clock(nanoseconds: u64) {
    SECONDS.store(nanoseconds / 1_000_000_000, Ordering::Relaxed);
}

/// The last time that was said.
#[derive(Debug)]
pub struct WallClock;

/// The one there is.
pub static WALL_CLOCK: WallClock = WallClock;

impl TimeProvider for WallClock {
    fn now(&self) -> FatDateTime {
        let date = Date::new(SECONDS.load(Ordering::Relaxed));
        // FAT begins in 1980.
        if date.year < 1980 {
            return FatDateTime::EPOCH;
        }
        FatDateTime::new(
            date.year,
            date.month,
            date.day,
            date.hour,
            date.minute,
            date.second,
        )
    }
}
