//! A disk as its file systems want to see it.

use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use bzimage::Source;
use ext4::{Device, Error, Ext4, FileReader};

use super::Files;
use super::partitions::Place;
use crate::host::{Disk, SECTOR};

/// Bytes that are read of a disk, over all its partitions, until it is known what to boot. Debian's takes 100 KiB.
const SEARCH_MAX: u64 = 64 << 20;
/// What a request counts at least, however few bytes it reads.
const REQUEST: u64 = 4096;

/// A disk of so many sectors that several look at.
#[derive(Clone)]
pub struct Shared {
    disk: Rc<RefCell<Box<dyn Disk>>>,
    sectors: u64,
    /// Bytes that may still be read.
    left: Rc<Cell<u64>>,
}

impl Shared {
    /// All of a disk.
    #[must_use]
    pub fn new(disk: Box<dyn Disk>, sectors: u64) -> Self {
        Self {
            disk: Rc::new(RefCell::new(disk)),
            sectors,
            left: Rc::new(Cell::new(SEARCH_MAX)),
        }
    }

    /// The search has ended: what is read from now on is what the guest boots, which is as large as it is.
    pub fn end_search(&self) {
        self.left.set(u64::MAX);
    }

    fn count(&self, bytes: usize) -> Result<(), String> {
        let left = self.left.get().checked_sub(REQUEST.max(bytes as u64));
        self.left.set(left.unwrap_or(0));
        let wrong = || {
            format!(
                "looking for a kernel takes more than {} MiB",
                SEARCH_MAX >> 20
            )
        };
        left.map(drop).ok_or_else(wrong)
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.sectors.saturating_mul(SECTOR as u64)
    }

    /// Fills `into` from byte `offset` on: whole sectors straight, the rest through a sector of our own.
    ///
    /// # Errors
    /// The disk's.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), String> {
        let mut disk = self.disk.borrow_mut();
        let mut place = offset;
        let mut rest = into;
        while !rest.is_empty() {
            let (sector, inside) = (place / SECTOR as u64, (place % SECTOR as u64) as usize);
            if sector >= self.sectors {
                return Err("behind the end of the disk".to_string());
            }
            let whole = if inside == 0 {
                rest.len() / SECTOR * SECTOR
            } else {
                0
            };
            let count = if let Some(part) = rest.get_mut(..whole).filter(|part| !part.is_empty()) {
                self.count(whole)?;
                disk.read(sector, part).map_err(|error| error.to_string())?;
                whole
            } else {
                let mut own = [0; SECTOR];
                self.count(SECTOR)?;
                disk.read(sector, &mut own)
                    .map_err(|error| error.to_string())?;
                let from = own.get(inside..).unwrap_or_default();
                for (to, from) in rest.iter_mut().zip(from) {
                    *to = *from;
                }
                from.len().min(rest.len())
            };
            place = place.saturating_add(count as u64);
            rest = rest.get_mut(count..).unwrap_or_default();
        }
        Ok(())
    }
}

/// A part of a disk.
pub struct Part {
    /// The disk.
    pub disk: Shared,
    /// Which part.
    pub place: Place,
}

impl Device for Part {
    fn size(&self) -> u64 {
        self.place.size
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), String> {
        let end = offset.checked_add(into.len() as u64);
        if end.is_none_or(|end| end > self.place.size) {
            return Err("behind the end of the partition".to_string());
        }
        self.disk
            .read(self.place.start.saturating_add(offset), into)
    }
}

impl<D: Device> Files for Ext4<D> {
    fn read(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, String> {
        match Ext4::read(self, path, limit) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(format!("{path}: {error}")),
        }
    }

    fn list(&self, path: &str, limit: usize) -> Result<Vec<String>, String> {
        match Ext4::list(self, path, limit) {
            Ok(names) => Ok(names),
            Err(error) if is_absent(&error) => Ok(Vec::new()),
            Err(error) => Err(format!("{path}: {error}")),
        }
    }

    fn has(&self, path: &str) -> Result<bool, String> {
        match self.find(path) {
            Ok(inode) => Ok(inode.is_file()),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => Err(format!("{path}: {error}")),
        }
    }
}

/// Links that lead nowhere and the like are no files.
fn is_absent(error: &Error) -> bool {
    matches!(
        error,
        Error::NotFound | Error::NotFolder | Error::NotFile | Error::TooManyLinks
    )
}

/// A file of the disk, on its way into the guest.
pub struct Passing<D>(pub FileReader<D>);

impl<D: Device> Source for Passing<D> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, String> {
        self.0.read(into).map_err(|error| error.to_string())
    }
}
