//! Reading files.

use alloc::vec::Vec;

use crate::inode::Inode;
use crate::map::Run;
use crate::{Device, Error, Ext4};

impl<D: Device> Ext4<D> {
    /// Reads from byte `offset` of a file as much as `into` takes; what is behind the last block's end is zero.
    pub(crate) fn read_at(&self, inode: &Inode, offset: u64, into: &mut [u8]) -> Result<(), Error> {
        let mut place = offset;
        let mut rest = into;
        while !rest.is_empty() {
            let block = place / self.block_size() as u64;
            let run = self.run(inode, block)?;
            let count = self.read_run(run, place, rest)?;
            place += count as u64;
            rest = rest.get_mut(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Reads what `run`, in which byte `place` of the file is in the first block, has of `into`. At least one byte.
    pub(crate) fn read_run(&self, run: Run, place: u64, into: &mut [u8]) -> Result<usize, Error> {
        let block_size = self.block_size() as u64;
        let inside = place % block_size;
        let room = run.count.saturating_mul(block_size).saturating_sub(inside);
        let count = usize::try_from(room).unwrap_or(usize::MAX).min(into.len());
        let part = into.get_mut(..count).unwrap_or_default();
        match run.block {
            None => part.fill(0),
            Some(block) => self.read_bytes(self.offset_of(block, "extent")? + inside, part)?,
        }
        Ok(count)
    }

    /// The bytes of the file at `path`, if they are not more than `limit`.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn read(&self, path: &str, limit: usize) -> Result<Vec<u8>, Error> {
        let inode = self.find(path)?;
        if !inode.is_file() {
            return Err(Error::NotFile);
        }
        let size = usize::try_from(inode.size()).map_err(|_| Error::TooLarge)?;
        if size > limit {
            return Err(Error::TooLarge);
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(size).map_err(|_| Error::TooLarge)?;
        bytes.resize(size, 0);
        self.read_at(&inode, 0, &mut bytes)?;
        Ok(bytes)
    }

    /// The file at `path`, to be read from its beginning on.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn open_file(&self, path: &str) -> Result<FileReader<D>, Error> {
        let inode = self.find(path)?;
        if !inode.is_file() {
            return Err(Error::NotFile);
        }
        Ok(FileReader {
            fs: self.clone(),
            inode,
            place: 0,
        })
    }
}

/// A file that is read once.
pub struct FileReader<D> {
    fs: Ext4<D>,
    inode: Inode,
    place: u64,
}

impl<D: Device> FileReader<D> {
    /// Its length in bytes, as the disk says it.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.inode.size()
    }

    /// Puts the next bytes into `into`; gives their number, which is 0 at the end.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn read(&mut self, into: &mut [u8]) -> Result<usize, Error> {
        let left = self.inode.size().saturating_sub(self.place);
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(into.len());
        let Some(into) = into.get_mut(..count).filter(|into| !into.is_empty()) else {
            return Ok(0);
        };
        let run = self
            .fs
            .run(&self.inode, self.place / self.fs.block_size() as u64)?;
        let count = self.fs.read_run(run, self.place, into)?;
        self.place += count as u64;
        Ok(count)
    }
}
