//! Reads files of ext2, ext3 and ext4, without believing anything that the disk says.
//!
//! Domain-0 reads a guest's `/boot` with it, and the guest may have written whatever it likes: so every call ends after a number of
//! steps that the disk has no say in, and no allocation is larger than what the caller allows. (The crate `ext4-view` reads more
//! kinds of file systems, but cannot be bounded: a symlink's length is an allocation, an extent tree whose nodes repeat is walked
//! for years, a large block size is taken at its word. The tests compare with it.)
//!
//! Nothing is replayed from the journal, as in Xen's pygrub: [`Ext4::is_dirty`] tells.
//!
//! Source of the layout: Linux, `Documentation/filesystems/ext4/`.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod directory;
mod file;
mod inode;
mod map;
mod path;
mod superblock;

pub use file::FileReader;
pub use inode::Inode;

use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt;

use superblock::Superblock;

/// Bytes of folders that are read, altogether, before a file system is taken for one that leads nowhere.
const FOLDER_BYTES_MAX: usize = 256 << 20;
/// What a block of a folder counts at least.
const FOLDER_BLOCK_MIN: usize = 16 << 10;

/// Where the file system is.
pub trait Device {
    /// Its size in bytes.
    fn size(&self) -> u64;

    /// Fills `into` from byte `offset` on.
    ///
    /// # Errors
    /// Says why it cannot be read.
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), String>;
}

/// What can go wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The device; it says why.
    Device(String),
    /// No ext2, ext3 or ext4 file system.
    NotExt4,
    /// One that uses what is not read here.
    Unsupported(&'static str),
    /// The named part of it makes no sense.
    Corrupt(&'static str),
    /// No such file or folder.
    NotFound,
    /// A part of the path is no folder.
    NotFolder,
    /// Not a regular file.
    NotFile,
    /// Symlinks that lead to symlinks, and so on.
    TooManyLinks,
    /// More bytes than the caller takes.
    TooLarge,
    /// Following its folders took too long.
    Endless,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device(reason) => reason,
            Self::NotExt4 => "no ext4 file system",
            Self::Unsupported(what) => {
                return write!(f, "ext4 file system with {what}, which is not supported");
            }
            Self::Corrupt(what) => return write!(f, "damaged ext4 file system: bad {what}"),
            Self::NotFound => "No such file or directory",
            Self::NotFolder => "Not a directory",
            Self::NotFile => "not a regular file",
            Self::TooManyLinks => "Too many levels of symbolic links",
            Self::TooLarge => "File too large",
            Self::Endless => "damaged ext4 file system: folders without end",
        })
    }
}

impl core::error::Error for Error {}

/// A file system. Clones are the same one.
pub struct Ext4<D>(Rc<Inner<D>>);

impl<D> Clone for Ext4<D> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Inner<D> {
    device: RefCell<D>,
    superblock: Superblock,
    /// The block read last of those that say where others are.
    cached: RefCell<(u64, Vec<u8>)>,
    folder_bytes: Cell<usize>,
}

impl<D: Device> Ext4<D> {
    /// Looks for a file system on `device`.
    ///
    /// # Errors
    /// [`Error::NotExt4`] if there is none.
    pub fn open(mut device: D) -> Result<Self, Error> {
        let mut bytes = [0; superblock::SIZE];
        if device.size() < superblock::OFFSET + superblock::SIZE as u64 {
            return Err(Error::NotExt4);
        }
        let read = device.read(superblock::OFFSET, &mut bytes);
        read.map_err(Error::Device)?;
        let superblock = Superblock::parse(&bytes, device.size())?;
        Ok(Self(Rc::new(Inner {
            device: RefCell::new(device),
            superblock,
            cached: RefCell::new((0, Vec::new())),
            folder_bytes: Cell::new(0),
        })))
    }

    /// Whether it was not unmounted: what its owner did last may be in the journal only.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.0.superblock.dirty
    }

    /// The UUID, as `blkid` and GRUB write it.
    #[must_use]
    pub fn uuid(&self) -> String {
        self.0.superblock.uuid()
    }

    /// The label; empty if there is none.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.0.superblock.label
    }

    fn block_size(&self) -> usize {
        self.0.superblock.block_size
    }

    /// Byte offset of a block.
    fn offset_of(&self, block: u64, what: &'static str) -> Result<u64, Error> {
        if block == 0 || block >= self.0.superblock.blocks {
            return Err(Error::Corrupt(what));
        }
        block
            .checked_mul(self.block_size() as u64)
            .ok_or(Error::Corrupt(what))
    }

    fn read_bytes(&self, offset: u64, into: &mut [u8]) -> Result<(), Error> {
        let mut device = self.0.device.borrow_mut();
        let end = offset.checked_add(into.len() as u64);
        if end.is_none_or(|end| end > device.size()) {
            return Err(Error::Corrupt("block number"));
        }
        device.read(offset, into).map_err(Error::Device)
    }

    /// Calls `look` with a block, which is read unless it is the one read last.
    fn with_block<T>(
        &self,
        block: u64,
        what: &'static str,
        look: impl FnOnce(&[u8]) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let offset = self.offset_of(block, what)?;
        let mut cached = self.0.cached.borrow_mut();
        if cached.0 != block || cached.1.is_empty() {
            // At most 64 KiB.
            let mut bytes = vec![0; self.block_size()];
            self.read_bytes(offset, &mut bytes)?;
            *cached = (block, bytes);
        }
        look(&cached.1)
    }

    /// Counts a block of a folder.
    fn count_folder_block(&self) -> Result<(), Error> {
        let bytes = self.0.folder_bytes.get() + self.block_size().max(FOLDER_BLOCK_MIN);
        self.0.folder_bytes.set(bytes);
        if bytes > FOLDER_BYTES_MAX {
            Err(Error::Endless)
        } else {
            Ok(())
        }
    }
}

/// Bytes `at..` of `bytes` as a number, the lowest first.
fn number(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(size)?)?;
    Some(
        field
            .iter()
            .rev()
            .fold(0, |number, &byte| number << 8 | u64::from(byte)),
    )
}
