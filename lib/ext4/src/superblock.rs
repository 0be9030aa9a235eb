//! The superblock: sizes and features.

use alloc::format;
use alloc::string::String;

use crate::{Error, number};

/// Where it is, and how many bytes.
pub const OFFSET: u64 = 1024;
pub const SIZE: usize = 1024;
const MAGIC: u64 = 0xef53;
/// Features that change where things are: those that are read.
const COMPRESSION: u64 = 0x1;
const RECOVER: u64 = 0x4;
const JOURNAL_DEVICE: u64 = 0x8;
const META_BG: u64 = 0x10;
const IS_64BIT: u64 = 0x80;
const DIRDATA: u64 = 0x1000;
/// Everything that Linux 6.12 knows.
const KNOWN: u64 = 0x3_f7df;

pub struct Superblock {
    pub block_size: usize,
    pub blocks: u64,
    pub first_data_block: u64,
    pub groups: u64,
    pub inodes: u64,
    pub inodes_per_group: u64,
    pub inode_size: usize,
    pub descriptor_size: u64,
    pub dirty: bool,
    pub label: String,
    uuid: [u8; 16],
}

impl Superblock {
    /// Reads it; `device` is the device's size in bytes.
    pub fn parse(bytes: &[u8; SIZE], device: u64) -> Result<Self, Error> {
        let field = |at, size| number(bytes, at, size).unwrap_or(0);
        if field(0x38, 2) != MAGIC {
            return Err(Error::NotExt4);
        }
        let bad = Error::Corrupt;
        // 1 KiB to 64 KiB.
        let block_size = match field(0x18, 4) {
            log @ 0..=6 => 1024_u64 << log,
            _ => return Err(bad("block size")),
        };
        let features = field(0x60, 4);
        for (feature, name) in [
            (COMPRESSION, "compression"),
            (JOURNAL_DEVICE, "a journal only"),
            (META_BG, "meta block groups"),
            (DIRDATA, "data in directories"),
            (!KNOWN, "features of another time"),
        ] {
            if features & feature != 0 {
                return Err(Error::Unsupported(name));
            }
        }
        let wide = features & IS_64BIT != 0;
        let high = if wide { field(0x150, 4) } else { 0 };
        let blocks = high << 32 | field(0x4, 4);
        let first_data_block = field(0x14, 4);
        let per_group = field(0x20, 4);
        let size = blocks.checked_mul(block_size).ok_or(bad("size"))?;
        if size > device || first_data_block >= blocks || per_group == 0 {
            return Err(bad("size"));
        }
        let inode_size = match field(0x4c, 4) {
            0 => 128,
            _ => field(0x58, 2),
        };
        if inode_size < 128 || inode_size > block_size {
            return Err(bad("inode size"));
        }
        let descriptor_size = match field(0xfe, 2) {
            size @ 64..=1024 if wide => size,
            _ if wide => return Err(bad("group descriptor size")),
            _ => 32,
        };
        let inodes_per_group = field(0x28, 4);
        if inodes_per_group == 0 {
            return Err(bad("inodes per group"));
        }
        let mut uuid = [0; 16];
        for (to, from) in uuid.iter_mut().zip(bytes.iter().skip(0x68)) {
            *to = *from;
        }
        let label = bytes.iter().skip(0x78).take(16).copied();
        let label: alloc::vec::Vec<u8> = label.take_while(|&byte| byte != 0).collect();
        Ok(Self {
            block_size: block_size as usize,
            blocks,
            first_data_block,
            groups: (blocks - first_data_block).div_ceil(per_group),
            inodes: field(0, 4),
            inodes_per_group,
            inode_size: inode_size as usize,
            descriptor_size,
            dirty: features & RECOVER != 0,
            label: String::from_utf8_lossy(&label).into_owned(),
            uuid,
        })
    }

    pub fn uuid(&self) -> String {
        let mut text = String::new();
        for (index, byte) in self.uuid.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            text += &format!("{byte:02x}");
        }
        text
    }
}
