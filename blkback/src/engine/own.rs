//! A read of our own, between those of frontends, which go on meanwhile.

use domain::SharedMemory;

use super::{Engine, Notify};
use crate::disk::{Command, Disk, Segment};
use crate::pages::Grants;

/// The tag of our own command; no task has this number.
pub(super) const TAG: u32 = u32::MAX;

/// How our own read goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Read {
    /// There is none.
    #[default]
    None,
    /// The disk has it.
    Waits,
    /// It has ended, well or not.
    Done(bool),
}

impl Read {
    pub(super) fn completed(&mut self, ok: bool) {
        *self = Self::Done(ok);
    }
}

impl<D: Disk, G: Grants, R: AsRef<SharedMemory>, N: Notify> Engine<D, G, R, N> {
    /// Fills `segment` from `sector` on and waits until that is done. `patience` waits a moment and says when to give up.
    /// Whether it went well; if not, and [`Self::is_reading`], the disk may still write there.
    pub fn read_now(
        &mut self,
        sector: u64,
        segment: Segment,
        patience: &mut impl FnMut() -> bool,
    ) -> bool {
        if self.is_reading() {
            // What was given up before may still come.
            return false;
        }
        let segments = [segment];
        let command = Command::Read {
            sector,
            segments: &segments,
        };
        self.own = Read::Waits;
        while self.disk.submit(command, TAG).is_err() {
            self.complete();
            if !patience() {
                self.own = Read::None;
                return false;
            }
        }
        self.disk.kick();
        loop {
            self.complete();
            if let Read::Done(ok) = self.own {
                self.own = Read::None;
                return ok;
            }
            if !patience() {
                return false;
            }
        }
    }

    /// Is a read of ours still the disk's?
    #[must_use]
    pub fn is_reading(&self) -> bool {
        self.own == Read::Waits
    }
}
