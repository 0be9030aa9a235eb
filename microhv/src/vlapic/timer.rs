//! The timer: counts down at 1 GHz divided by the divide configuration, so a tick is a nanosecond.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A periodic timer fires no more often than this, nanoseconds: each time costs the host an interrupt, and
/// a kernel that asked for less would do nothing else.
const MIN_PERIOD: u64 = 20_000;

/// The timer's registers, and when it fires. A deadline of 0 is none.
pub struct Timer {
    divide: AtomicU32,
    initial: AtomicU32,
    deadline: AtomicU64,
}

impl Timer {
    pub const fn new() -> Self {
        Self {
            divide: AtomicU32::new(0),
            initial: AtomicU32::new(0),
            deadline: AtomicU64::new(0),
        }
    }

    pub fn reset(&self) {
        self.divide.store(0, Ordering::Relaxed);
        self.initial.store(0, Ordering::Relaxed);
        self.deadline.store(0, Ordering::Relaxed);
    }

    pub fn deadline(&self) -> Option<u64> {
        match self.deadline.load(Ordering::Relaxed) {
            0 => None,
            deadline => Some(deadline),
        }
    }

    pub fn initial(&self) -> u32 {
        self.initial.load(Ordering::Relaxed)
    }

    pub fn divide(&self) -> u32 {
        self.divide.load(Ordering::Relaxed)
    }

    /// Nanoseconds in a count: bits 0, 1 and 3 of the divide configuration, where 0b111 is 1, and n is 2^(n+1).
    fn scale(&self) -> u64 {
        let divide = self.divide();
        let code = divide & 3 | divide >> 1 & 4;
        1 << ((code + 1) & 7)
    }

    fn period(&self) -> u64 {
        u64::from(self.initial()) * self.scale()
    }

    /// Starts the countdown; 0 stops it.
    pub fn start(&self, initial: u32, now: u64) {
        self.initial.store(initial, Ordering::Relaxed);
        let deadline = if initial == 0 {
            0
        } else {
            now.saturating_add(self.period())
        };
        self.deadline.store(deadline, Ordering::Relaxed);
    }

    /// Changes the divide configuration; a running countdown keeps its count.
    pub fn set_divide(&self, divide: u32, now: u64) {
        let count = self.count(now);
        self.divide.store(divide, Ordering::Relaxed);
        if self.deadline().is_some() {
            let left = u64::from(count) * self.scale();
            self.deadline
                .store(now.saturating_add(left).max(1), Ordering::Relaxed);
        }
    }

    /// The current count.
    pub fn count(&self, now: u64) -> u32 {
        let left = self
            .deadline()
            .map_or(0, |deadline| deadline.saturating_sub(now));
        (left / self.scale()).min(self.initial().into()) as u32
    }

    /// True if the deadline has come; sets the next one of a periodic timer. Periods that passed unseen are
    /// one interrupt, as on hardware whose interrupts are off.
    pub fn expire(&self, now: u64, periodic: bool) -> bool {
        let Some(deadline) = self.deadline() else {
            return false;
        };
        if now < deadline {
            return false;
        }
        let period = self.period();
        let next = if periodic && period > 0 {
            let missed = (now - deadline) / period * period;
            deadline
                .saturating_add(missed)
                .saturating_add(period)
                .max(now.saturating_add(MIN_PERIOD))
        } else {
            0
        };
        // Any CPU may look after the timer: what the guest has set meanwhile stays.
        let (order, replaced) = (Ordering::Relaxed, &self.deadline);
        replaced
            .compare_exchange(deadline, next, order, order)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_shot_counts_down_once() {
        let timer = Timer::new();
        timer.set_divide(0b1011, 0);
        timer.start(1000, 500);
        assert_eq!(timer.count(500), 1000);
        assert_eq!(timer.count(1100), 400);
        assert!(!timer.expire(1499, false));
        assert!(timer.expire(1500, false));
        assert!(!timer.expire(9999, false));
        assert_eq!(timer.count(1600), 0);
    }

    #[test]
    fn divide_configurations_are_the_manuals() {
        for (code, expected) in [
            (0b0000, 2),
            (0b0001, 4),
            (0b0011, 16),
            (0b1000, 32),
            (0b1010, 128),
            (0b1011, 1),
        ] {
            let timer = Timer::new();
            timer.set_divide(code, 0);
            assert_eq!(timer.scale(), expected, "{code:#b}");
        }
    }

    #[test]
    fn periodic_goes_on_without_piling_up() {
        let timer = Timer::new();
        timer.set_divide(0b1011, 0);
        timer.start(100_000, 0);
        assert!(timer.expire(100_000, true));
        assert_eq!(timer.deadline(), Some(200_000));
        assert!(timer.expire(555_000, true));
        assert_eq!(timer.deadline(), Some(600_000));
        timer.start(0, 560_000);
        assert!(!timer.expire(700_000, true));
    }

    #[test]
    fn a_deadline_set_while_the_last_one_expires_is_not_lost() {
        use std::sync::atomic::AtomicU32;
        const ROUNDS: u32 = 50_000;
        let (timer, met) = (Timer::new(), [AtomicU32::new(0), AtomicU32::new(0)]);
        let meet = |place: &AtomicU32, round: u32| {
            place.fetch_add(1, Ordering::SeqCst);
            while place.load(Ordering::SeqCst) < 2 * (round + 1) {
                std::hint::spin_loop();
            }
        };
        let lost = AtomicU32::new(0);
        timer.set_divide(0b1011, 0);
        std::thread::scope(|scope| {
            for vcpu in [true, false] {
                let (timer, met, meet, lost) = (&timer, &met, &meet, &lost);
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        if vcpu {
                            timer.start(1, 0);
                        }
                        meet(&met[0], round);
                        if vcpu {
                            timer.start(1000, 5000);
                        } else {
                            timer.expire(5000, false);
                        }
                        meet(&met[1], round);
                        if vcpu && timer.deadline() != Some(6000) {
                            lost.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        assert_eq!(lost.into_inner(), 0);
    }

    #[test]
    fn a_tiny_period_is_slowed_down() {
        let timer = Timer::new();
        timer.set_divide(0b1011, 0);
        timer.start(1, 0);
        assert!(timer.expire(10, true));
        assert_eq!(timer.deadline(), Some(10 + MIN_PERIOD));
    }

    #[test]
    fn a_huge_count_does_not_overflow() {
        let timer = Timer::new();
        timer.set_divide(0b1010, 0);
        timer.start(u32::MAX, u64::MAX - 5);
        assert_eq!(timer.deadline(), Some(u64::MAX));
        assert!(timer.expire(u64::MAX, false));
    }
}
