//! One request on its way: flush, data, flush, each in as many commands as the disk wants.

use alloc::vec::Vec;

use xen_abi::io::blkif::{BLKIF_RSP_ERROR, BLKIF_RSP_OKAY, BLKIF_SECTOR_SIZE};

use crate::disk::{Command, Disk, Full, Limits, Segment};
use crate::pages::PageUse;
use crate::protocol::Request;

/// Segments (by their index, in order) that do not follow the one before on the disk, with the sector that they begin at. Mostly
/// none.
pub type Jumps = Vec<(usize, u64)>;

/// What a checked request asks of the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Moves data.
    Transfer {
        /// To the disk?
        write: bool,
        /// First sector.
        sector: u64,
        /// The memory.
        segments: Vec<Segment>,
        /// Where the data goes on elsewhere.
        jumps: Jumps,
        /// Flush before.
        before: bool,
        /// Flush after.
        after: bool,
    },
    /// Forgets data.
    Discard {
        /// First sector.
        sector: u64,
        /// Sectors.
        count: u64,
        /// They become zeros.
        zeroes: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The flush before the data.
    Before,
    Data,
    /// The flush after the data.
    After,
    Done,
}

/// Where a task has got to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Commands are under way.
    Waits,
    /// The disk had no room for the next command.
    Stalled,
    /// All is done: answer.
    Finished,
}

/// A request on its way.
pub struct Task<P> {
    /// Its connection.
    pub connection: usize,
    /// Which of the connection's rings it came from.
    pub queue: usize,
    /// To be repeated in the response.
    pub id: u64,
    /// To be repeated in the response.
    pub operation: u8,
    /// No other request of the connection is under way with it.
    pub barrier: bool,
    /// The pages it uses.
    pub pages: Vec<PageUse<P>>,
    status: i16,
    work: Work,
    stage: Stage,
    /// The stage's flush has been submitted.
    flushed: bool,
    /// Segments (or sectors, to discard) that have been submitted.
    submitted: u64,
    /// Commands under way.
    outstanding: u32,
    stalled: bool,
}

impl<P> Task<P> {
    /// A task that has not begun.
    pub fn new(
        connection: usize,
        queue: usize,
        request: &Request,
        work: Work,
        pages: Vec<PageUse<P>>,
    ) -> Self {
        let barrier = matches!(work, Work::Transfer { after: true, .. });
        Self {
            connection,
            queue,
            id: request.id,
            operation: request.operation,
            barrier,
            pages,
            status: BLKIF_RSP_OKAY,
            work,
            stage: Stage::Before,
            flushed: false,
            submitted: 0,
            outstanding: 0,
            stalled: false,
        }
    }

    /// A task that ends before it begins, with `status`.
    pub fn refused(
        connection: usize,
        queue: usize,
        request: &Request,
        status: i16,
        pages: Vec<PageUse<P>>,
    ) -> Self {
        let work = Work::Discard {
            sector: 0,
            count: 0,
            zeroes: false,
        };
        Self {
            status,
            stage: Stage::Done,
            ..Self::new(connection, queue, request, work, pages)
        }
    }

    /// The response's status.
    pub fn status(&self) -> i16 {
        self.status
    }

    /// A command has ended. True: go on with [`Self::advance`].
    pub fn completed(&mut self, ok: bool) -> bool {
        self.outstanding = self.outstanding.saturating_sub(1);
        if !ok {
            self.status = BLKIF_RSP_ERROR;
        }
        self.outstanding == 0 && !self.stalled
    }

    /// Submits what can be submitted now.
    pub fn advance(&mut self, disk: &mut impl Disk, limits: &Limits, tag: u32) -> Step {
        self.stalled = false;
        loop {
            if self.status != BLKIF_RSP_OKAY {
                self.stage = Stage::Done;
            }
            let flush = match (&self.work, self.stage) {
                (Work::Transfer { before, .. }, Stage::Before) => *before,
                (Work::Transfer { after, .. }, Stage::After) => *after,
                _ => false,
            };
            let submitted = match self.stage {
                Stage::Before | Stage::After if flush && limits.flush && !self.flushed => {
                    disk.submit(Command::Flush, tag).map(|()| {
                        self.flushed = true;
                        self.outstanding += 1;
                    })
                }
                Stage::Data => self.submit_data(disk, limits, tag),
                Stage::Before | Stage::After | Stage::Done => Ok(()),
            };
            if submitted == Err(Full) {
                self.stalled = true;
                return Step::Stalled;
            }
            if self.outstanding > 0 {
                return Step::Waits;
            }
            self.flushed = false;
            self.stage = match self.stage {
                Stage::Before => Stage::Data,
                Stage::Data => Stage::After,
                Stage::After | Stage::Done => return Step::Finished,
            };
        }
    }

    fn submit_data(&mut self, disk: &mut impl Disk, limits: &Limits, tag: u32) -> Result<(), Full> {
        match &mut self.work {
            Work::Transfer {
                write,
                sector,
                segments,
                jumps,
                ..
            } => loop {
                let first = self.submitted as usize;
                if jumps.first().is_some_and(|(index, _)| *index == first) {
                    *sector = jumps.remove(0).1;
                }
                let end = jumps.first().map_or(segments.len(), |(index, _)| *index);
                let end = end.min(first.saturating_add(limits.segments.max(1)));
                let Some(segments) = segments.get(first..end).filter(|some| !some.is_empty())
                else {
                    break;
                };
                let command = match write {
                    true => Command::Write {
                        sector: *sector,
                        segments,
                    },
                    false => Command::Read {
                        sector: *sector,
                        segments,
                    },
                };
                disk.submit(command, tag)?;
                self.outstanding += 1;
                self.submitted += segments.len() as u64;
                let bytes: u64 = segments.iter().map(|segment| u64::from(segment.len)).sum();
                *sector += bytes / BLKIF_SECTOR_SIZE as u64;
            },
            Work::Discard {
                sector,
                count,
                zeroes,
            } => {
                let most = match zeroes {
                    true => limits.zeroes,
                    false => limits.discard.map(|discard| discard.sectors),
                };
                let most = most.unwrap_or(1).max(1);
                while self.submitted < *count {
                    let now = (*count - self.submitted).min(u64::from(most));
                    let (sector, count) = (*sector + self.submitted, now as u32);
                    let command = match zeroes {
                        true => Command::Zero { sector, count },
                        false => Command::Discard { sector, count },
                    };
                    disk.submit(command, tag)?;
                    self.outstanding += 1;
                    self.submitted += now;
                }
            }
        }
        Ok(())
    }
}
