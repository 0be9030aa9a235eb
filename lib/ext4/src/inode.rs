//! Inodes: what a file is, how long, and where its map begins.

use alloc::vec;
use alloc::vec::Vec;

use crate::{Device, Error, Ext4, number};

/// The root folder's inode.
pub(crate) const ROOT: u64 = 2;
/// Bits of the mode.
const TYPE: u16 = 0xf000;
const FOLDER: u16 = 0x4000;
const REGULAR: u16 = 0x8000;
const LINK: u16 = 0xa000;
/// Flags.
const ENCRYPTED: u32 = 0x800;
const EXTENTS: u32 = 0x8_0000;
const INLINE: u32 = 0x1000_0000;
/// Bytes of an inode's own map, or of a short symlink.
pub(crate) const MAP_SIZE: usize = 60;
/// The longest symlink.
const LINK_MAX: u64 = 4096;

/// A file, folder or symlink.
#[derive(Clone, Debug)]
pub struct Inode {
    mode: u16,
    pub(crate) flags: u32,
    size: u64,
    pub(crate) map: [u8; MAP_SIZE],
}

impl Inode {
    /// Its length in bytes, as the disk says it.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether it is a folder.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        self.mode & TYPE == FOLDER
    }

    /// Whether it is a regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.mode & TYPE == REGULAR
    }

    pub(crate) fn is_link(&self) -> bool {
        self.mode & TYPE == LINK
    }

    pub(crate) fn has_extents(&self) -> bool {
        self.flags & EXTENTS != 0
    }
}

impl<D: Device> Ext4<D> {
    /// Reads inode `number`.
    pub(crate) fn inode(&self, inode: u64) -> Result<Inode, Error> {
        let superblock = &self.0.superblock;
        let bad = Error::Corrupt("inode number");
        if inode == 0 || inode > superblock.inodes {
            return Err(bad);
        }
        let group = (inode - 1) / superblock.inodes_per_group;
        let index = (inode - 1) % superblock.inodes_per_group;
        if group >= superblock.groups {
            return Err(bad);
        }
        let block_size = self.block_size() as u64;
        // Products of a 32-bit and a 16-bit number.
        let descriptor =
            (superblock.first_data_block + 1) * block_size + group * superblock.descriptor_size;
        let mut bytes = [0; 64];
        let size = superblock.descriptor_size.min(64) as usize;
        let part = bytes.get_mut(..size).unwrap_or_default();
        self.read_bytes(descriptor, part)?;
        let low = number(&bytes, 0x8, 4).unwrap_or(0);
        let high = number(&bytes, 0x28, 4).unwrap_or(0);
        let table = self.offset_of(high << 32 | low, "inode table")?;
        let offset = table
            .checked_add(index * superblock.inode_size as u64)
            .ok_or(bad)?;
        let mut bytes = [0; 128];
        self.read_bytes(offset, &mut bytes)?;
        let field = |at, size| number(&bytes, at, size).unwrap_or(0);
        let mut map = [0; MAP_SIZE];
        for (to, from) in map.iter_mut().zip(bytes.iter().skip(0x28)) {
            *to = *from;
        }
        let inode = Inode {
            mode: field(0, 2) as u16,
            flags: field(0x20, 4) as u32,
            size: field(0x6c, 4) << 32 | field(0x4, 4),
            map,
        };
        for (flag, what) in [(ENCRYPTED, "encrypted files"), (INLINE, "files in inodes")] {
            if inode.flags & flag != 0 {
                return Err(Error::Unsupported(what));
            }
        }
        Ok(inode)
    }

    /// Where a symlink leads.
    pub(crate) fn link_target(&self, inode: &Inode) -> Result<Vec<u8>, Error> {
        let bad = Error::Corrupt("symlink");
        if inode.size == 0 || inode.size > LINK_MAX {
            return Err(bad);
        }
        let size = inode.size as usize;
        if size < MAP_SIZE && !inode.has_extents() {
            return inode.map.get(..size).map(<[u8]>::to_vec).ok_or(bad);
        }
        let mut target = vec![0; size];
        self.read_at(inode, 0, &mut target)?;
        Ok(target)
    }
}
