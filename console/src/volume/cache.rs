//! Blocks of the disk in memory, and the order in which changes go back.
//!
//! The file system library writes here as often as it likes. [`Cache::commit`] brings the changes to the disk so that
//! after a power cut at any moment the file system is whole: what grows is first data, then the allocation table, then
//! folders; what shrinks the other way round. At worst clusters are lost that nothing names.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use crate::host::{Disk, DiskError, SECTOR};

/// Bytes that are read and kept together.
pub const BLOCK: usize = 4096;
const SECTORS: u64 = (BLOCK / SECTOR) as u64;
/// Blocks kept: 2 MiB.
const BLOCKS_MAX: usize = 512;
/// Blocks that are read at once.
const READ_AHEAD: u64 = 8;
/// Sectors in one write: 11 pages, a request of blkif.
const WRITE_MAX: usize = 88;

/// Whether a change takes or frees clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Files become longer, names are added.
    Grow,
    /// Files are deleted.
    Shrink,
}

/// Sectors at which the file system's areas begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Areas {
    /// The allocation table.
    pub table: u64,
    /// Clusters: files and folders.
    pub clusters: u64,
}

impl Areas {
    fn class(self, block: &Block, sector: u64) -> Class {
        if sector < self.table {
            Class::Info
        } else if sector < self.clusters {
            Class::Table
        } else if block.folder & 1 << (sector % SECTORS) != 0 {
            Class::Folder
        } else {
            Class::Data
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Info,
    Table,
    Data,
    Folder,
}

struct Block {
    bytes: Box<[u8]>,
    /// Sectors that have changed, bit by bit.
    dirty: u8,
    /// Of these, the ones written as a folder's.
    folder: u8,
    used: u64,
}

/// The disk through its blocks in memory.
pub struct Cache {
    disk: Box<dyn Disk>,
    sectors: u64,
    blocks: BTreeMap<u64, Block>,
    clock: u64,
    areas: Areas,
    /// Sectors, by the first and their number, that somebody else may change: never written from here.
    foreign: Vec<(u64, u64)>,
    /// What is written into clusters is a file's content, not a folder's.
    pub content: bool,
}

impl Cache {
    /// A disk of `sectors` sectors.
    pub fn new(disk: Box<dyn Disk>, sectors: u64) -> Self {
        Self {
            disk,
            sectors,
            blocks: BTreeMap::new(),
            clock: 0,
            areas: Areas::default(),
            foreign: Vec::new(),
            content: false,
        }
    }

    /// Says where what is.
    pub fn set_areas(&mut self, areas: Areas) {
        self.areas = areas;
    }

    /// Says which sectors somebody else may change from now on. What is in memory of them and of those that were is forgotten.
    pub fn set_foreign(&mut self, foreign: Vec<(u64, u64)>) {
        let before = core::mem::replace(&mut self.foreign, foreign);
        let changed: Vec<_> = before.iter().chain(&self.foreign).copied().collect();
        self.blocks.retain(|number, block| {
            block.dirty != 0 || !overlap(&changed, number * SECTORS, SECTORS)
        });
    }

    /// Size in bytes.
    pub fn len(&self) -> u64 {
        self.sectors * SECTOR as u64
    }

    /// Copies from byte `at` on; gives how many bytes there were.
    ///
    /// # Errors
    /// The disk's.
    pub fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, DiskError> {
        let left = self.len().saturating_sub(at);
        let count = usize::try_from(left).map_or(into.len(), |left| left.min(into.len()));
        let mut done = 0;
        while let Some(rest) = into.get_mut(done..count).filter(|rest| !rest.is_empty()) {
            let (number, offset) = place(at + done as u64);
            let block = self.block(number)?;
            let from = block.bytes.get(offset..).unwrap_or_default();
            let length = from.len().min(rest.len());
            for (to, from) in rest.iter_mut().zip(from) {
                *to = *from;
            }
            done += length;
        }
        Ok(count)
    }

    /// Changes bytes from `at` on, in memory.
    ///
    /// # Errors
    /// [`DiskError::Outside`], or the disk's when a block has to be read first.
    pub fn write(&mut self, at: u64, from: &[u8]) -> Result<(), DiskError> {
        let end = at.checked_add(from.len() as u64);
        if end.is_none_or(|end| end > self.len()) {
            return Err(DiskError::Outside);
        }
        let last = (at + from.len() as u64).div_ceil(SECTOR as u64);
        let first = at / SECTOR as u64;
        if overlap(&self.foreign, first, last - first) {
            return Err(DiskError::Foreign);
        }
        let mut done = 0;
        while let Some(rest) = from.get(done..).filter(|rest| !rest.is_empty()) {
            let (number, offset) = place(at + done as u64);
            let folder = !self.content;
            let block = self.block(number)?;
            let to = block.bytes.get_mut(offset..).unwrap_or_default();
            let length = to.len().min(rest.len());
            for (index, (to, from)) in to.iter_mut().zip(rest).enumerate() {
                if *to != *from {
                    *to = *from;
                    let bit = 1 << ((offset + index) / SECTOR);
                    block.dirty |= bit;
                    if folder {
                        block.folder |= bit;
                    } else {
                        block.folder &= !bit;
                    }
                }
            }
            done += length;
        }
        Ok(())
    }

    /// What was written to these sectors is of a folder that nothing leads to yet: it goes out with the data.
    pub fn unreachable_yet(&mut self, first: u64, count: u64) {
        for sector in first..first.saturating_add(count) {
            if let Some(block) = self.blocks.get_mut(&(sector / SECTORS)) {
                block.folder &= !(1 << (sector % SECTORS));
            }
        }
    }

    /// Whether something has changed in memory only.
    pub fn is_dirty(&self) -> bool {
        self.blocks.values().any(|block| block.dirty != 0)
    }

    /// Whether all that has changed is in folders, and goes out as one request.
    pub fn is_one_write(&self) -> bool {
        self.runs(&[Class::Data, Class::Table]).is_empty() && self.runs(&[Class::Folder]).len() < 2
    }

    /// Forgets what has changed in memory only.
    pub fn undo(&mut self) {
        self.blocks.retain(|_, block| block.dirty == 0);
    }

    /// Brings all changes to the disk.
    ///
    /// # Errors
    /// The disk's; the changes stay in memory.
    pub fn commit(&mut self, order: Order) -> Result<(), DiskError> {
        let phases: [&[Class]; 2] = match order {
            Order::Grow => [&[Class::Data, Class::Table], &[Class::Folder, Class::Info]],
            Order::Shrink => [&[Class::Data, Class::Folder], &[Class::Table, Class::Info]],
        };
        for classes in phases {
            let runs = self.runs(classes);
            if runs.is_empty() {
                continue;
            }
            let writes: Vec<(u64, &[u8])> = runs
                .iter()
                .map(|(sector, bytes)| (*sector, bytes.as_slice()))
                .collect();
            self.disk.write(&writes)?;
            self.disk.flush()?;
            self.written(classes);
        }
        Ok(())
    }

    /// Changed sectors of these classes, joined to runs. A folder's sectors are joined over unchanged ones too: one
    /// request changes all of it or, all but certainly, nothing.
    fn runs(&self, classes: &[Class]) -> Vec<(u64, Vec<u8>)> {
        let mut runs: Vec<(u64, Vec<u8>)> = Vec::new();
        for (&number, block) in self.blocks.iter().filter(|(_, block)| block.dirty != 0) {
            for (index, bytes) in block.bytes.chunks(SECTOR).enumerate() {
                let sector = number * SECTORS + index as u64;
                let class = self.areas.class(block, sector);
                if block.dirty & 1 << index == 0 || !classes.contains(&class) {
                    continue;
                }
                if let Some((start, run)) = runs.last_mut() {
                    let end = *start + (run.len() / SECTOR) as u64;
                    let room = WRITE_MAX - run.len() / SECTOR;
                    let gap = sector.saturating_sub(end);
                    let bridged =
                        gap == 0 || (class == Class::Folder && !overlap(&self.foreign, end, gap));
                    if bridged
                        && (gap as usize) < room
                        && let Some(between) = self.cached(end, gap)
                    {
                        run.extend(between);
                        run.extend(bytes);
                        continue;
                    }
                }
                runs.push((sector, bytes.to_vec()));
            }
        }
        runs
    }

    /// `count` sectors from `first` on, if all are in memory.
    fn cached(&self, first: u64, count: u64) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        for sector in first..first + count {
            let block = self.blocks.get(&(sector / SECTORS))?;
            let offset = (sector % SECTORS) as usize * SECTOR;
            bytes.extend(block.bytes.get(offset..offset + SECTOR)?);
        }
        Some(bytes)
    }

    fn written(&mut self, classes: &[Class]) {
        let areas = self.areas;
        for (&number, block) in &mut self.blocks {
            for index in 0..SECTORS {
                let sector = number * SECTORS + index;
                let bit = 1 << index;
                if classes.contains(&areas.class(block, sector)) {
                    block.dirty &= !bit;
                    block.folder &= !bit;
                }
            }
        }
    }

    /// Block `number`, read from the disk if need be.
    fn block(&mut self, number: u64) -> Result<&mut Block, DiskError> {
        if !self.blocks.contains_key(&number) {
            self.load(number)?;
        }
        self.clock += 1;
        let clock = self.clock;
        let block = self.blocks.get_mut(&number).ok_or(DiskError::Outside)?;
        block.used = clock;
        Ok(block)
    }

    /// Reads `number` and some blocks behind it that are not there yet.
    fn load(&mut self, number: u64) -> Result<(), DiskError> {
        if self.blocks.len() >= BLOCKS_MAX {
            self.forget();
        }
        let end = self.sectors.div_ceil(SECTORS);
        if number >= end {
            return Err(DiskError::Outside);
        }
        let count = (number..end)
            .take(READ_AHEAD as usize)
            .take_while(|number| !self.blocks.contains_key(number))
            .count();
        let mut bytes = vec![0; count * BLOCK];
        // The last block may have fewer sectors.
        let left = usize::try_from(self.sectors - number * SECTORS).unwrap_or(usize::MAX);
        let there = bytes.len().min(left.saturating_mul(SECTOR));
        let there = bytes.get_mut(..there).unwrap_or_default();
        self.disk.read(number * SECTORS, there)?;
        for (number, bytes) in (number..).zip(bytes.chunks(BLOCK)) {
            let block = Block {
                bytes: bytes.into(),
                dirty: 0,
                folder: 0,
                used: self.clock,
            };
            self.blocks.insert(number, block);
        }
        Ok(())
    }

    /// Drops the older half of what has not changed.
    fn forget(&mut self) {
        let mut ages: Vec<u64> = self.blocks.values().map(|block| block.used).collect();
        ages.sort_unstable();
        let middle = ages.get(ages.len() / 2).copied().unwrap_or(0);
        self.blocks
            .retain(|_, block| block.dirty != 0 || block.used > middle);
    }
}

/// Whether one of `ranges` has sectors in common with `count` from `first` on.
fn overlap(ranges: &[(u64, u64)], first: u64, count: u64) -> bool {
    let end = first.saturating_add(count);
    ranges
        .iter()
        .any(|&(start, sectors)| start < end && first < start.saturating_add(sectors))
}

/// Block and offset in it of a byte.
fn place(at: u64) -> (u64, usize) {
    (at / BLOCK as u64, (at % BLOCK as u64) as usize)
}

#[cfg(test)]
mod tests {
    use alloc::rc::Rc;
    use core::cell::RefCell;

    use super::*;

    struct Bytes(Rc<RefCell<Vec<u8>>>);

    impl Disk for Bytes {
        fn read(&mut self, sector: u64, into: &mut [u8]) -> Result<(), DiskError> {
            let start = sector as usize * SECTOR;
            into.copy_from_slice(&self.0.borrow()[start..start + into.len()]);
            Ok(())
        }

        fn write(&mut self, writes: &[(u64, &[u8])]) -> Result<(), DiskError> {
            for (sector, bytes) in writes {
                let start = *sector as usize * SECTOR;
                self.0.borrow_mut()[start..start + bytes.len()].copy_from_slice(bytes);
            }
            Ok(())
        }

        fn flush(&mut self) -> Result<(), DiskError> {
            Ok(())
        }
    }

    #[test]
    fn the_last_sectors_are_there_though_they_fill_no_block() {
        for sectors in 1..20 {
            let bytes = Rc::new(RefCell::new(vec![7; sectors * SECTOR]));
            let mut cache = Cache::new(Box::new(Bytes(bytes.clone())), sectors as u64);
            let last = (sectors - 1) * SECTOR;
            let mut read = [0; 2 * SECTOR];
            assert_eq!(cache.read(last as u64, &mut read).unwrap(), SECTOR);
            assert_eq!(read[..SECTOR], [7; SECTOR]);
            cache.write(last as u64, &[8; SECTOR]).unwrap();
            cache.commit(Order::Grow).unwrap();
            assert_eq!(bytes.borrow()[last..], [8; SECTOR]);
            assert!(cache.write(last as u64, &[8; SECTOR + 1]).is_err());
        }
    }
}
