//! Orders to a unit: a ring of one page. Every batch ends in an order whose store is awaited, so a batch is done when the
//! call returns.

use super::patience::wait_until;
use crate::mm::{frames, phys};
use crate::types::{Mfn, PAGE_SIZE};
use core::sync::atomic::{Ordering, fence};

/// 128 bits that a unit reads from memory, low half first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Entry {
    /// Bits 63:0.
    pub low: u64,
    /// Bits 127:64.
    pub high: u64,
}

/// Bytes of an order.
impl Entry {
    /// An entry of two words.
    pub const fn new(low: u64, high: u64) -> Self {
        Self { low, high }
    }
}

const ORDER: usize = size_of::<Entry>();
/// Orders that the page holds.
const SLOTS: usize = PAGE_SIZE / ORDER;

/// The unit that reads a ring.
pub trait Reader {
    /// The order to write `number` (32 bits of it at least) to the start of `status` when all before it is done.
    fn completion(status: Mfn, number: u32) -> Entry;
    /// Hands the unit all orders before byte offset `tail`.
    fn hand_over(&self, tail: u64);
    /// The unit has stopped at an order.
    fn refuses(&self) -> bool;
    /// The bytes at `offset` of `frame` were written.
    fn written(frame: Mfn, offset: usize) {
        let _ = (frame, offset);
    }
}

/// A ring, empty between calls.
#[derive(Debug)]
pub struct Ring {
    /// Where it is.
    pub frame: Mfn,
    status: Mfn,
    tail: usize,
    sequence: u32,
}

impl Ring {
    /// An empty one. None: no memory.
    pub fn new() -> Option<Self> {
        Some(Self {
            frame: frames::alloc_zeroed(0)?,
            status: frames::alloc_zeroed(0)?,
            tail: 0,
            sequence: 0,
        })
    }

    fn push<R: Reader>(&mut self, order: Entry) {
        let at = self.tail * ORDER;
        phys::write_u64(self.frame, at, order.low);
        phys::write_u64(self.frame, at + 8, order.high);
        R::written(self.frame, at);
        self.tail = (self.tail + 1) % SLOTS;
    }

    /// Has the unit carry out `batch` and waits until it has.
    ///
    /// # Errors
    /// The unit is broken: nothing may be assumed about what it has cached.
    pub fn run<R: Reader>(
        &mut self,
        reader: &R,
        batch: impl IntoIterator<Item = Entry>,
    ) -> Result<(), &'static str> {
        let mut batch = batch.into_iter();
        loop {
            let before = self.tail;
            // Half of it at once always fits.
            for order in batch.by_ref().take(SLOTS / 2) {
                self.push::<R>(order);
            }
            if self.tail == before {
                return Ok(());
            }
            self.sequence = self.sequence.wrapping_add(1);
            let expected = self.sequence;
            self.push::<R>(R::completion(self.status, expected));
            fence(Ordering::SeqCst);
            reader.hand_over((self.tail * ORDER) as u64);
            let status = phys::atomic_u32(self.status, 0);
            let mut refused = false;
            let ended = wait_until(|| {
                let done = status.load(Ordering::Acquire) == expected;
                refused = !done && reader.refuses();
                done || refused
            });
            if refused || !ended {
                return Err(if refused { "refused" } else { "no answer" });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::timer;

    struct Still;

    impl Reader for Still {
        fn completion(status: Mfn, number: u32) -> Entry {
            let (low, high) = (status.address() | 1, number.into());
            Entry { low, high }
        }
        fn hand_over(&self, tail: u64) {
            assert_eq!(tail, 48);
        }
        fn refuses(&self) -> bool {
            true
        }
    }

    #[test]
    fn orders_are_written_in_order_and_a_unit_that_stands_still_is_noticed() {
        timer::host_set_now(1);
        let mut ring = Ring::new().unwrap();
        let order = |low| Entry { low, high: 5 };
        assert_eq!(ring.run(&Still, [order(7), order(8)]), Err("refused"));
        let low = |slot: usize| phys::read_u64(ring.frame, slot * ORDER);
        assert_eq!((low(0), low(1)), (7, 8));
        assert_eq!(low(2), ring.status.address() | 1);
        assert_eq!(phys::read_u64(ring.frame, 2 * ORDER + 8), 1);
    }

    #[test]
    fn nothing_to_do_is_done() {
        let mut ring = Ring::new().unwrap();
        assert_eq!(ring.run(&Still, []), Ok(()));
        assert_eq!(ring.tail, 0);
    }
}
