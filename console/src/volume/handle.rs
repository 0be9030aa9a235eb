//! The cache as the file system library wants to see a disk.

use alloc::rc::Rc;
use core::cell::RefCell;

use hadris_fat::sync::{Error, ErrorKind, IoResult, Read, Seek, SeekFrom, Write};

use super::cache::Cache;
use crate::host::DiskError;

/// A place on the disk.
pub struct Handle {
    cache: Rc<RefCell<Cache>>,
    position: u64,
}

impl Handle {
    /// At the beginning.
    pub fn new(cache: Rc<RefCell<Cache>>) -> Self {
        Self { cache, position: 0 }
    }
}

fn error(error: DiskError) -> Error {
    Error::from_kind(match error {
        DiskError::Failed => ErrorKind::Other,
        DiskError::Broken => ErrorKind::TimedOut,
        DiskError::Outside => ErrorKind::UnexpectedEof,
        DiskError::Foreign => ErrorKind::PermissionDenied,
    })
}

impl Read for Handle {
    type Error = ErrorKind;

    fn read(&mut self, buf: &mut [u8]) -> IoResult<usize> {
        let mut cache = self.cache.borrow_mut();
        let count = cache.read(self.position, buf).map_err(error)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Write for Handle {
    type Error = ErrorKind;

    fn write(&mut self, buf: &[u8]) -> IoResult<usize> {
        let mut cache = self.cache.borrow_mut();
        cache.write(self.position, buf).map_err(error)?;
        self.position += buf.len() as u64;
        Ok(buf.len())
    }

    /// Nothing: the volume commits when its changes belong together.
    fn flush(&mut self) -> IoResult<()> {
        Ok(())
    }
}

impl Seek for Handle {
    type Error = ErrorKind;

    fn seek(&mut self, to: SeekFrom) -> IoResult<u64> {
        let length = self.cache.borrow().len();
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => length.checked_add_signed(by),
        };
        self.position = place.ok_or(Error::from_kind(ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}
