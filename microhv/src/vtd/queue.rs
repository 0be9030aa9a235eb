//! The invalidation queue (specification 6.5.2): one page of descriptors; every batch ends in a wait descriptor whose
//! status write is awaited, so a batch is done when the call returns.

use crate::iommu::patience;
use crate::mm::{frames, phys};
use crate::types::{Mfn, PAGE_SIZE};
use crate::vtd::cache;
use crate::vtd::entries::{Entry, descriptor};
use crate::vtd::registers::{FaultStatus, Global, Registers};
use core::sync::atomic::Ordering;

/// Bytes of a descriptor.
const DESCRIPTOR: usize = 16;
/// Descriptors the queue's page holds.
const SLOTS: usize = PAGE_SIZE / DESCRIPTOR;
/// Why a batch did not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueError {
    /// The unit did not finish in time.
    Timeout,
    /// The unit refused a descriptor (FSTS.IQE).
    Refused,
    /// No memory for the queue.
    NoMemory,
}

/// A unit's invalidation queue.
#[derive(Debug)]
pub struct Queue {
    ring: Mfn,
    status: Mfn,
    tail: usize,
    sequence: u32,
}

impl Queue {
    /// Makes a queue and turns queued invalidation on.
    ///
    /// # Errors
    /// No memory, or the unit does not react.
    pub fn start(registers: &Registers) -> Result<Self, QueueError> {
        let ring = frames::alloc_zeroed(0).ok_or(QueueError::NoMemory)?;
        let status = frames::alloc_zeroed(0).ok_or(QueueError::NoMemory)?;
        if registers.status().contains(Global::QIE) {
            // Firmware left one running; it belongs to nobody now.
            registers.turn_off(Global::QIE);
            wait_until(|| !registers.status().contains(Global::QIE))?;
        }
        registers.set_queue(ring.address());
        registers.command(Global::QIE);
        wait_until(|| registers.status().contains(Global::QIE))?;
        Ok(Self {
            ring,
            status,
            tail: 0,
            sequence: 0,
        })
    }

    fn push(&mut self, entry: Entry) {
        let at = self.tail * DESCRIPTOR;
        phys::write_u64(self.ring, at, entry.low);
        phys::write_u64(self.ring, at + 8, entry.high);
        cache::written(self.ring, at);
        self.tail = (self.tail + 1) % SLOTS;
    }

    /// Has the unit carry out `batch` and waits until it has.
    ///
    /// # Errors
    /// The unit is broken: nothing may be assumed about what it has cached.
    pub fn run(&mut self, registers: &Registers, batch: &[Entry]) -> Result<(), QueueError> {
        // The queue is empty between calls, so half a ring at once always fits.
        for part in batch.chunks(SLOTS / 2) {
            for entry in part {
                self.push(*entry);
            }
            self.sequence = self.sequence.wrapping_add(1);
            let expected = self.sequence;
            self.push(descriptor::wait(expected, self.status.address()));
            registers.set_queue_tail((self.tail * DESCRIPTOR) as u64);
            let status = phys::atomic_u32(self.status, 0);
            wait_until_or_error(registers, || status.load(Ordering::Acquire) == expected)?;
        }
        Ok(())
    }
}

/// Waits until `done`.
///
/// # Errors
/// Time is up.
pub fn wait_until(done: impl FnMut() -> bool) -> Result<(), QueueError> {
    patience::wait_until(done)
        .then_some(())
        .ok_or(QueueError::Timeout)
}

fn wait_until_or_error(
    registers: &Registers,
    mut done: impl FnMut() -> bool,
) -> Result<(), QueueError> {
    let mut refused = false;
    let result = wait_until(|| {
        if done() {
            return true;
        }
        refused = registers.fault_status().contains(FaultStatus::IQE);
        refused
    });
    if refused {
        return Err(QueueError::Refused);
    }
    result
}
