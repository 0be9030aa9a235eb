//! Files as guests' disks: where on the disk a file is, and that nobody here touches it meanwhile.

use alloc::vec::Vec;

use hadris_fat::FileEntry;

use super::{Volume, VolumeError};
use crate::host::SECTOR;

/// Ranges that blkback takes (blkback/src/extents.rs).
pub const EXTENTS_MAX: usize = 1024;

/// Where a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileExtents {
    /// The first cluster, which no other file has.
    cluster: u32,
    /// First sector and number of sectors of each range, in the file's order; counted from the file system's beginning.
    pub ranges: Vec<(u64, u64)>,
}

impl Volume {
    /// Where the file at `path` is. Its last bytes are left out if they are not a whole sector.
    ///
    /// # Errors
    /// When there is no such file, it is too short or in too many pieces, or the file system is damaged.
    pub fn extents(&self, path: &str) -> Result<FileExtents, VolumeError> {
        self.commit()?;
        let entry = self.fat.open_path(path)?;
        if !entry.is_file() {
            return Err(VolumeError::NoDisk("Is a directory"));
        }
        let mut left = entry.len() / SECTOR as u64;
        if left == 0 {
            return Err(VolumeError::NoDisk("the file is empty"));
        }
        let cluster = entry.cluster().0 as u32;
        let mut cache = self.cache.borrow_mut();
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        let mut next = self.geometry.cluster(cluster);
        while let Some(cluster) = next.filter(|_| left > 0) {
            let (first, count) = self.geometry.sectors_of(cluster);
            let count = count.min(left);
            left -= count;
            let full = ranges.len() >= EXTENTS_MAX;
            match ranges.last_mut() {
                Some((start, sectors)) if *start + *sectors == first => *sectors += count,
                _ if full => {
                    return Err(VolumeError::NoDisk(
                        "the file is too fragmented: it is in more than 1024 pieces; copy it anew",
                    ));
                }
                _ => ranges.push((first, count)),
            }
            next = self.geometry.behind(&mut cache, cluster)?;
        }
        if left > 0 {
            return Err(VolumeError::NoDisk(
                "the file system is damaged: the file has too few clusters",
            ));
        }
        Ok(FileExtents { cluster, ranges })
    }

    /// From now on the file is a guest's disk: nothing here writes or removes it.
    pub fn hold(&self, file: &FileExtents) {
        self.held.borrow_mut().push(file.clone());
        self.tell_cache();
    }

    /// One guest less has the file.
    pub fn let_go(&self, file: &FileExtents) {
        let mut held = self.held.borrow_mut();
        let place = held.iter().position(|other| other == file);
        place.map(|place| held.swap_remove(place));
        drop(held);
        self.tell_cache();
    }

    fn tell_cache(&self) {
        let held = self.held.borrow();
        let foreign = held.iter().flat_map(|file| file.ranges.iter().copied());
        let foreign = foreign.collect();
        self.cache.borrow_mut().set_foreign(foreign);
    }

    /// Fails if a guest has the file as its disk.
    pub(super) fn check_free(&self, entry: &FileEntry) -> Result<(), VolumeError> {
        let cluster = entry.cluster().0 as u32;
        match self
            .held
            .borrow()
            .iter()
            .any(|file| file.cluster == cluster)
        {
            true => Err(VolumeError::Busy),
            false => Ok(()),
        }
    }
}
