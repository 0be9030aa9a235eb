//! The disk that Domain-0 keeps its files on, and what else its logs need from outside.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use xen_abi::{DomId, Errno};

/// Bytes in a sector.
pub const SECTOR: usize = 512;

/// Why a disk did not do what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// The backend says that it failed.
    Failed,
    /// The backend did not answer in time, or answered nonsense; nothing more will be asked of it.
    Broken,
    /// A place behind the end.
    Outside,
    /// A place that somebody else has for the time being.
    Foreign,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed => "input/output error",
            Self::Broken => "the disk does not answer",
            Self::Outside => "behind the end of the disk",
            Self::Foreign => "Text file busy",
        })
    }
}

/// A disk of whole sectors. Each call waits, for a bounded time, until all of it is done.
pub trait Disk {
    /// Reads from `sector` on; `into` is whole sectors long.
    ///
    /// # Errors
    /// See [`DiskError`].
    fn read(&mut self, sector: u64, into: &mut [u8]) -> Result<(), DiskError>;

    /// Writes whole sectors at each of the places, in any order.
    ///
    /// # Errors
    /// See [`DiskError`]; some may have been written.
    fn write(&mut self, writes: &[(u64, &[u8])]) -> Result<(), DiskError>;

    /// Makes `count` sectors from `sector` on zeros.
    ///
    /// # Errors
    /// See [`DiskError`]; some may have become zeros.
    fn zero(&mut self, sector: u64, count: u64) -> Result<(), DiskError> {
        const AT_ONCE: u64 = 64;
        let zeros = [0; AT_ONCE as usize * SECTOR];
        let end = sector.checked_add(count).ok_or(DiskError::Outside)?;
        for first in (sector..end).step_by(AT_ONCE as usize) {
            let bytes = (end - first).min(AT_ONCE) as usize * SECTOR;
            self.write(&[(first, zeros.get(..bytes).unwrap_or(&zeros))])?;
        }
        Ok(())
    }

    /// Gives `count` sectors from `sector` on back to the disk.
    ///
    /// # Errors
    /// See [`DiskError`]; also if it cannot do that.
    fn discard(&mut self, sector: u64, count: u64) -> Result<(), DiskError> {
        let _ = (sector, count);
        Err(DiskError::Failed)
    }

    /// What was written before outlives a power cut afterwards.
    ///
    /// # Errors
    /// See [`DiskError`].
    fn flush(&mut self) -> Result<(), DiskError>;
}

/// A disk that waits for its backend.
pub struct DiskOffer {
    /// Grant reference of the ring.
    pub ring: u32,
    /// Event channel for the backend.
    pub port: u32,
    /// The disk, to be used once the backend is connected.
    pub disk: Box<dyn Disk>,
}

/// What logs on a disk need from outside.
pub trait Logging {
    /// Makes the ring of a disk that `backend` serves.
    ///
    /// # Errors
    /// When there is no memory, grant reference or event channel.
    fn disk_offer(&mut self, backend: DomId) -> Result<DiskOffer, Errno> {
        let _ = backend;
        Err(Errno::ENODEV)
    }

    /// Nanoseconds since 1970-01-01 00:00 UTC.
    fn wall_clock(&mut self) -> u64 {
        0
    }

    /// What the hypervisor has logged since the last call with the same `position`; `None` is the beginning.
    ///
    /// # Errors
    /// The hypervisor's.
    fn log_news(&mut self, position: &mut Option<u32>) -> Result<Vec<u8>, Errno> {
        let _ = position;
        Ok(Vec::new())
    }
}
