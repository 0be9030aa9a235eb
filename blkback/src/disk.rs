//! What the backend needs of a disk, whatever drives it.

use crate::extents::Extents;

/// A piece of memory for a transfer: contiguous for the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// DMA address, which is our guest physical address.
    pub gpa: u64,
    /// Bytes, a multiple of 512, not zero.
    pub len: u32,
}

/// One command. Sectors are of 512 bytes and counted from the start of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Fills the segments from `sector` on.
    Read {
        /// First sector.
        sector: u64,
        /// At most [`Limits::segments`].
        segments: &'a [Segment],
    },
    /// Writes the segments from `sector` on.
    Write {
        /// First sector.
        sector: u64,
        /// At most [`Limits::segments`].
        segments: &'a [Segment],
    },
    /// Makes everything whose command has completed before survive a power failure.
    Flush,
    /// The sectors' contents are not needed any more.
    Discard {
        /// First sector.
        sector: u64,
        /// How many, at most [`Discard::sectors`].
        count: u32,
    },
    /// Makes the sectors zeros.
    Zero {
        /// First sector.
        sector: u64,
        /// How many, at most [`Limits::zeroes`].
        count: u32,
    },
}

/// A disk's size and abilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sectors of 512 bytes.
    pub sectors: u64,
    /// Bytes of the disk's own sectors.
    pub physical_sector_size: u32,
    /// Refuses writes.
    pub read_only: bool,
    /// Has a cache that [`Command::Flush`] empties. If not, what is written is written.
    pub flush: bool,
    /// How it discards, if it can.
    pub discard: Option<Discard>,
    /// Sectors that one [`Command::Zero`] may have, not zero; if it can do that.
    pub zeroes: Option<u32>,
    /// Segments of one command, at least one.
    pub segments: usize,
    /// Bytes of one segment, at least a page.
    pub segment_bytes: u32,
}

impl Limits {
    /// Can it do what a discard on a frontend's disk means?
    #[must_use]
    pub fn discards(&self, extents: &Extents) -> bool {
        match extents.zeroes {
            true => self.zeroes.is_some(),
            false => self.discard.is_some(),
        }
    }
}

/// What a disk says about discarding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discard {
    /// Sectors of one command, not zero.
    pub sectors: u32,
    /// Sectors that can be discarded on their own, aligned.
    pub alignment: u32,
}

/// No more commands fit until one completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A command that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The tag given at submission.
    pub tag: u32,
    /// Has it done what it should?
    pub ok: bool,
}

/// A disk that works on many commands at a time.
pub trait Disk {
    /// Its size and abilities; they do not change.
    fn limits(&self) -> Limits;

    /// Queues a command; the memory of its segments must stay where it is until it completes.
    ///
    /// # Errors
    /// [`Full`]: nothing happened, and some command is on its way whose completion makes room.
    fn submit(&mut self, command: Command<'_>, tag: u32) -> Result<(), Full>;

    /// Makes the disk start on what was submitted.
    fn kick(&mut self);

    /// The next command that has ended, in whatever order they do.
    fn completed(&mut self) -> Option<Completion>;
}
