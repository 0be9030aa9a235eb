//! Folders, read from their first block to their last: the blocks of a hashed folder's index look empty then.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use crate::inode::Inode;
use crate::{Device, Error, Ext4, number};

/// Bytes of an entry before its name.
const HEADER: usize = 8;

impl<D: Device> Ext4<D> {
    /// Calls `look` with name and inode number of each entry, until it says that it has seen enough (true).
    fn entries(
        &self,
        folder: &Inode,
        mut look: impl FnMut(&[u8], u64) -> bool,
    ) -> Result<(), Error> {
        if !folder.is_folder() {
            return Err(Error::NotFolder);
        }
        let block_size = self.block_size();
        let mut block = vec![0; block_size];
        let mut place = 0;
        while place < folder.size() {
            self.count_folder_block()?;
            let run = self.run(folder, place / block_size as u64)?;
            if run.block.is_none() {
                // No folder has holes, and one of nothing else would cost nothing but our time.
                return Err(Error::Corrupt("directory"));
            }
            self.read_run(run, place, &mut block)?;
            place += block_size as u64;
            if entries_of_block(&block, &mut look)? {
                break;
            }
        }
        Ok(())
    }

    /// Inode number of the entry `name`.
    pub(crate) fn entry(&self, folder: &Inode, name: &[u8]) -> Result<u64, Error> {
        let mut found = None;
        self.entries(folder, |entry, inode| {
            if entry == name {
                found = Some(inode);
            }
            found.is_some()
        })?;
        found.ok_or(Error::NotFound)
    }

    /// Names in the folder at `path`, without `.` and `..`, at most `limit` of them, in the order of the disk.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn list(&self, path: &str, limit: usize) -> Result<Vec<String>, Error> {
        let folder = self.find(path)?;
        let mut names = Vec::new();
        self.entries(&folder, |name, _| {
            if !matches!(name, b"." | b"..") {
                names.push(String::from_utf8_lossy(name).into_owned());
            }
            names.len() >= limit
        })?;
        Ok(names)
    }
}

fn entries_of_block(
    block: &[u8],
    look: &mut impl FnMut(&[u8], u64) -> bool,
) -> Result<bool, Error> {
    let bad = Error::Corrupt("directory");
    let mut at = 0;
    while at + HEADER <= block.len() {
        let field = |offset, size| number(block, at + offset, size).unwrap_or(0);
        let (inode, name_length) = (field(0, 4), field(6, 1) as usize);
        let length = match field(4, 2) as usize {
            // A block of 64 KiB has no other way to say so.
            0 | 0xffff if block.len() == 1 << 16 => 1 << 16,
            length => length,
        };
        // Entries move on by at least their header.
        if length < HEADER || at + length > block.len() || HEADER + name_length > length {
            return Err(bad);
        }
        let name = block.get(at + HEADER..at + HEADER + name_length);
        if inode != 0 && name_length > 0 && look(name.unwrap_or_default(), inode) {
            return Ok(true);
        }
        at += length;
    }
    Ok(false)
}
