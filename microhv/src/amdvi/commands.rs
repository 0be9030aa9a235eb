//! The command buffer (2.4): one page; every batch ends in a COMPLETION_WAIT whose store is awaited, so a batch is done
//! when the call returns.

use super::entries::Command;
use super::registers::{Registers, Status};
use crate::iommu::patience::wait_until;
use crate::mm::{frames, phys};
use crate::types::{Mfn, PAGE_SIZE};
use core::sync::atomic::{Ordering, fence};

/// Bytes of a command.
const COMMAND: usize = 16;
/// Commands the page holds.
const SLOTS: usize = PAGE_SIZE / COMMAND;

/// Why a batch did not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// The unit did not finish in time.
    Timeout,
    /// The unit stopped at a command.
    Refused,
}

/// A unit's command buffer.
#[derive(Debug)]
pub struct Commands {
    ring: Mfn,
    status: Mfn,
    tail: usize,
    sequence: u64,
}

impl Commands {
    /// A buffer that is empty. None: no memory.
    pub fn new() -> Option<Self> {
        Some(Self {
            ring: frames::alloc_zeroed(0)?,
            status: frames::alloc_zeroed(0)?,
            tail: 0,
            sequence: 0,
        })
    }

    /// Where it is.
    pub const fn ring(&self) -> Mfn {
        self.ring
    }

    fn push(&mut self, command: Command) {
        let at = self.tail * COMMAND;
        phys::write_u64(self.ring, at, command.low);
        phys::write_u64(self.ring, at + 8, command.high);
        self.tail = (self.tail + 1) % SLOTS;
    }

    /// Has the unit carry out `batch` and waits until it has.
    ///
    /// # Errors
    /// The unit is broken: nothing may be assumed about what it has cached.
    pub fn run(
        &mut self,
        registers: &Registers,
        batch: impl IntoIterator<Item = Command>,
    ) -> Result<(), CommandError> {
        let mut batch = batch.into_iter();
        loop {
            // The buffer is empty between calls, so half of it at once always fits.
            let before = self.tail;
            batch
                .by_ref()
                .take(SLOTS / 2)
                .for_each(|command| self.push(command));
            if self.tail == before {
                return Ok(());
            }
            self.sequence += 1;
            let expected = self.sequence;
            self.push(Command::completion_wait(self.status, expected));
            fence(Ordering::SeqCst);
            registers.set_command_tail((self.tail * COMMAND) as u64);
            let status = phys::atomic_u64(self.status, 0);
            let mut stopped = false;
            let ended = wait_until(|| {
                let done = status.load(Ordering::Acquire) == expected;
                stopped = !done && !registers.status().contains(Status::CMD_BUF_RUN);
                done || stopped
            });
            match (ended, stopped) {
                (_, true) => return Err(CommandError::Refused),
                (false, _) => return Err(CommandError::Timeout),
                (true, false) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::timer;

    #[test]
    fn commands_are_written_in_order_and_a_unit_that_stands_still_is_noticed() {
        timer::host_set_now(1);
        let registers = Registers::fake();
        let mut commands = Commands::new().unwrap();
        assert_eq!(
            commands.run(&registers, [Command::device(7), Command::ALL]),
            Err(CommandError::Refused)
        );
        let low = |slot: usize| phys::read_u64(commands.ring, slot * COMMAND);
        assert_eq!((low(0), low(1)), (2 << 60 | 7, 8 << 60));
        assert_eq!(low(2), 1 << 60 | commands.status.address() | 1);
        assert_eq!(phys::read_u64(commands.ring, 2 * COMMAND + 8), 1);
    }

    #[test]
    fn nothing_to_do_is_done() {
        let mut commands = Commands::new().unwrap();
        assert_eq!(commands.run(&Registers::fake(), []), Ok(()));
        assert_eq!(commands.tail, 0);
    }
}
