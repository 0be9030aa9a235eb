//! How much of a guest's output is looked at: a guest that floods its console waits for room in its ring, and the others
//! do not wait for it.

/// Bytes that are taken of one guest in a [`WINDOW`].
const BYTES: usize = 32 << 10;
/// Nanoseconds.
const WINDOW: u64 = 100_000_000;

/// What one guest has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    window: u64,
    used: usize,
}

impl Budget {
    /// When the guest may be listened to again; `None`: now.
    #[must_use]
    pub fn closed_until(&self, now: u64) -> Option<u64> {
        let end = (self.window + 1) * WINDOW;
        (self.used >= BYTES && now < end).then_some(end)
    }

    /// Counts what was taken.
    pub fn take(&mut self, bytes: usize, now: u64) {
        let window = now / WINDOW;
        if window != self.window {
            *self = Self { window, used: 0 };
        }
        self.used = self.used.saturating_add(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_waits_for_the_next_window() {
        let mut budget = Budget::default();
        assert_eq!(budget.closed_until(0), None);
        budget.take(BYTES - 1, WINDOW + 5);
        assert_eq!(budget.closed_until(WINDOW + 6), None);
        budget.take(1, WINDOW + 6);
        assert_eq!(budget.closed_until(WINDOW + 7), Some(2 * WINDOW));
        assert_eq!(budget.closed_until(2 * WINDOW), None);
        budget.take(1, 2 * WINDOW);
        assert_eq!(budget.closed_until(2 * WINDOW), None);
    }
}
