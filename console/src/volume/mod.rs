//! The FAT32 file system with Domain-0's files.
//!
//! The library does FAT; [`cache`] under it makes that changes reach the disk in an order that survives a power cut; this
//! module knows what belongs together.

mod cache;
mod chain;
mod clock;
mod extents;
mod handle;

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;

use hadris_fat::sync::write::FileWriter;
use hadris_fat::{DirectoryEntry, Error, FatDir, FatType, FatVolume, FatVolumeReadExt, FileEntry};

use crate::host::{Disk, DiskError};
use cache::{Cache, Order};
pub use clock::set_wall_clock;
pub use extents::FileExtents;
use handle::Handle;

/// Folders in folders in folders: more than anybody has; a damaged file system may have endless ones.
const DEPTH_MAX: usize = 8;
/// Files that are listed.
const FILES_MAX: usize = 4096;

/// What can go wrong.
#[derive(Debug)]
pub enum VolumeError {
    /// The disk.
    Disk(DiskError),
    /// The file system, or what was asked of it.
    Fat(Error),
    /// It is FAT, but not FAT32.
    NotFat32,
    /// There is no memory for that much.
    TooLarge,
    /// A guest has the file as its disk.
    Busy,
    /// It cannot be a disk, for this reason.
    NoDisk(&'static str),
}

impl fmt::Display for VolumeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) => error.fmt(f),
            Self::Fat(Error::EntryNotFound) => f.write_str("No such file or directory"),
            Self::Fat(Error::NoFreeSpace) => f.write_str("No space left on device"),
            Self::Fat(error) => error.fmt(f),
            Self::NotFat32 => f.write_str("no FAT32 file system"),
            Self::TooLarge => f.write_str("not enough memory to read it"),
            // Of a file that is in use as something else than a file.
            Self::Busy => f.write_str("Text file busy"),
            Self::NoDisk(reason) => f.write_str(reason),
        }
    }
}

impl From<Error> for VolumeError {
    fn from(error: Error) -> Self {
        Self::Fat(error)
    }
}

impl From<DiskError> for VolumeError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

/// A mounted file system.
pub struct Volume {
    fat: FatVolume<Handle>,
    cache: Rc<RefCell<Cache>>,
    geometry: chain::Geometry,
    /// Files whose chain of clusters was compared with their size since the file system was mounted.
    trimmed: RefCell<BTreeSet<String>>,
    /// Files that guests have as their disks.
    held: RefCell<Vec<FileExtents>>,
}

impl Volume {
    /// Mounts what is on a disk of `sectors` sectors. Nothing is written.
    ///
    /// # Errors
    /// When that is no FAT32 file system, or the disk fails.
    pub fn mount(disk: Box<dyn Disk>, sectors: u64) -> Result<Self, VolumeError> {
        let mut cache = Cache::new(disk, sectors);
        let mut boot = [0; 512];
        cache.read(0, &mut boot)?;
        let geometry = chain::Geometry::parse(&boot).ok_or(VolumeError::NotFat32)?;
        cache.set_areas(geometry.areas());
        let cache = Rc::new(RefCell::new(cache));
        let fat = FatVolume::builder(Handle::new(cache.clone()))
            .time_provider(&clock::WALL_CLOCK)
            .open()?;
        if fat.fat_type() != FatType::Fat32 {
            return Err(VolumeError::NotFat32);
        }
        Ok(Self {
            fat,
            cache,
            geometry,
            trimmed: RefCell::default(),
            held: RefCell::default(),
        })
    }

    /// All files with their sizes, by path without leading slash. What cannot be read is not there.
    #[must_use]
    pub fn files(&self) -> Vec<(String, usize)> {
        let mut files = Vec::new();
        self.collect(&self.fat.root_dir(), "", 0, &mut files);
        files
    }

    fn collect(
        &self,
        folder: &FatDir<'_, Handle>,
        prefix: &str,
        depth: usize,
        files: &mut Vec<(String, usize)>,
    ) {
        let mut entries = folder.entries();
        while let Some(Ok(DirectoryEntry::Entry(entry))) = entries.next_entry() {
            if files.len() >= FILES_MAX || matches!(entry.name().as_ref(), "." | "..") {
                continue;
            }
            let path = format!("{prefix}{}", entry.name());
            if entry.is_file() {
                files.push((path, entry.len() as usize));
            } else if depth < DEPTH_MAX
                && let Ok(folder) = self.fat.open_dir_entry(&entry)
            {
                self.collect(&folder, &format!("{path}/"), depth + 1, files);
            }
        }
    }

    /// Bytes of the file at `path`.
    ///
    /// # Errors
    /// When there is no such file, it cannot be read, or there is no memory for it.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, VolumeError> {
        let entry = self.fat.open_path(path)?;
        let mut reader = self.fat.read_file(&entry)?;
        let mut bytes = Vec::new();
        let size = usize::try_from(entry.len()).map_err(|_| VolumeError::TooLarge)?;
        bytes
            .try_reserve_exact(size)
            .map_err(|_| VolumeError::TooLarge)?;
        bytes.resize(size, 0);
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match reader.read(rest)? {
                0 => break,
                count => done += count,
            }
        }
        bytes.truncate(done);
        Ok(bytes)
    }

    /// Size of the file at `path`; zero if there is none.
    ///
    /// # Errors
    /// When the folders cannot be read.
    pub fn size(&self, path: &str) -> Result<u64, VolumeError> {
        match self.fat.open_path(path) {
            Ok(entry) => Ok(entry.len()),
            Err(Error::EntryNotFound) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Adds `bytes` to the end of the file at `path`, which is made if there is none, with its folders. On the disk after
    /// the next [`Self::commit`].
    ///
    /// # Errors
    /// When the disk is full, or fails.
    pub fn append(&self, path: &str, bytes: &[u8]) -> Result<(), VolumeError> {
        let entry = self.open_or_make(path)?;
        self.check_free(&entry)?;
        if self.trimmed.borrow_mut().insert(path.to_string()) {
            self.trim(&entry)?;
        }
        let mut writer = FileWriter::new_append(&self.fat, &entry)?;
        self.cache.borrow_mut().content = true;
        let written = writer.write(bytes);
        self.cache.borrow_mut().content = false;
        written?;
        writer.finish()?;
        Ok(())
    }

    /// Makes the file at `path` the one at `old`, in the same folder; what was there is deleted.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn replace(&self, path: &str, old: &str) -> Result<(), VolumeError> {
        self.commit()?;
        self.check_free(&self.fat.open_path(path)?)?;
        let (parent, name) = split(old);
        let folder = self.folder(parent)?;
        if let Some(entry) = folder.find(name)? {
            self.check_free(&entry)?;
            self.fat.delete(&entry)?;
            self.cache.borrow_mut().commit(Order::Shrink)?;
        }
        let entry = self.fat.open_path(path)?;
        self.fat.rename(&entry, &folder, name)?;
        for path in [path, old] {
            self.trimmed.borrow_mut().remove(path);
        }
        if self.cache.borrow().is_one_write() {
            return self.commit();
        }
        // The names are far from each other in a large folder, or it would grow: a power cut could leave both for the same
        // clusters, or none.
        self.cache.borrow_mut().undo();
        self.append(old, &self.read(path)?)?;
        self.commit()?;
        self.fat.delete(&self.fat.open_path(path)?)?;
        Ok(self.cache.borrow_mut().commit(Order::Shrink)?)
    }

    /// Brings every change to the disk.
    ///
    /// # Errors
    /// The disk's.
    pub fn commit(&self) -> Result<(), VolumeError> {
        Ok(self.cache.borrow_mut().commit(Order::Grow)?)
    }

    /// Whether [`Self::commit`] has something to do.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.cache.borrow().is_dirty()
    }

    fn folder(&self, path: &str) -> Result<FatDir<'_, Handle>, VolumeError> {
        if path.is_empty() {
            return Ok(self.fat.root_dir());
        }
        Ok(self.fat.open_dir_path(path)?)
    }

    fn open_or_make(&self, path: &str) -> Result<FileEntry, VolumeError> {
        let (parent, name) = split(path);
        let folder = match self.folder(parent) {
            Err(VolumeError::Fat(Error::EntryNotFound)) => self.make_folder(parent)?,
            other => other?,
        };
        if let Some(entry) = folder.find(name)? {
            return Ok(entry);
        }
        // What is pending must not mix with the new name.
        self.commit()?;
        let before = self.folder_clusters(parent)?;
        let entry = self.fat.create_file(&folder, name)?;
        let after = self.folder_clusters(parent)?;
        for cluster in after.iter().filter(|cluster| !before.contains(cluster)) {
            self.not_reachable_yet(*cluster);
        }
        self.commit()?;
        Ok(entry)
    }

    /// Makes a folder, and those that it is in.
    fn make_folder(&self, path: &str) -> Result<FatDir<'_, Handle>, VolumeError> {
        let (parent, name) = split(path);
        let folder = match self.folder(parent) {
            Err(VolumeError::Fat(Error::EntryNotFound)) if !parent.is_empty() => {
                self.make_folder(parent)?
            }
            other => other?,
        };
        self.commit()?;
        let made = self.fat.create_dir(&folder, name)?;
        if let Some(entry) = folder.find(name)? {
            self.not_reachable_yet(entry.cluster().0 as u32);
        }
        self.commit()?;
        Ok(made)
    }

    fn not_reachable_yet(&self, cluster: u32) {
        let (first, count) = self.geometry.sectors_of(cluster);
        self.cache.borrow_mut().unreachable_yet(first, count);
    }

    fn folder_clusters(&self, path: &str) -> Result<Vec<u32>, VolumeError> {
        let first = if path.is_empty() {
            self.geometry.root
        } else {
            self.fat.open_path(path)?.cluster().0 as u32
        };
        Ok(self.geometry.chain(&mut self.cache.borrow_mut(), first)?)
    }

    /// After a power cut a file may have clusters behind its end. They are given back: the library would go on writing
    /// in the last of them.
    fn trim(&self, entry: &FileEntry) -> Result<(), VolumeError> {
        let mut cache = self.cache.borrow_mut();
        let first = entry.cluster().0 as u32;
        let freed = self.geometry.trim(&mut cache, first, entry.len())?;
        if freed > 0 {
            log::info!(
                "{}: {freed} clusters behind its end are freed",
                entry.name()
            );
            cache.commit(Order::Grow)?;
        }
        Ok(())
    }
}

/// Folder and name of a path.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}
