//! Changing the files on a disk, as somebody does who has mounted it.

use std::fs::OpenOptions;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use hadris_fat::{FatDir, FatVolume, FatVolumeReadExt, FatVolumeWriteExt};

use super::{Section, fat, folder_of, open_as, split};

/// The files on the partition `microhv` of a disk image; paths may start with a slash.
pub struct Files(FatVolume<Section>);

impl Files {
    /// Opens the file system on the image `disk`.
    ///
    /// # Errors
    /// When the disk has no such partition, or that no file system.
    pub fn open(disk: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(disk)
            .with_context(|| disk.display().to_string())?;
        open_as(disk, file).map(Self)
    }

    /// Writes the file `path`, in place of one that was there; folders are made.
    ///
    /// # Errors
    /// When the file system is full or cannot be written.
    pub fn write(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let path = path.trim_start_matches('/');
        if self.0.open_path(path).is_ok() {
            self.remove(path)?;
        }
        let (parent, name) = split(path);
        let entry = self
            .0
            .create_file(&self.folder(parent)?, name)
            .map_err(|error| anyhow!("{path}: {error}"))?;
        let mut writer = self.0.write_file(&entry).map_err(fat)?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = writer.write(rest).map_err(fat)?;
            ensure!(count != 0, "{path}: the disk is full");
            rest = &rest[count..];
        }
        writer.finish().map_err(fat)
    }

    /// The folder `path`, made unless it is there.
    fn folder(&self, path: &str) -> Result<FatDir<'_, Section>> {
        let mut done = String::new();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let parent = folder_of(&self.0, &done)?;
            if !done.is_empty() {
                done.push('/');
            }
            done += name;
            if self.0.open_dir_path(&done).is_err() {
                self.0
                    .create_dir(&parent, name)
                    .map_err(|error| anyhow!("{done}: {error}"))?;
            }
        }
        folder_of(&self.0, &done)
    }

    /// The bytes of the file `path`.
    ///
    /// # Errors
    /// When there is none.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let path = path.trim_start_matches('/');
        let entry = self
            .0
            .open_path(path)
            .map_err(|error| anyhow!("{path}: {error}"))?;
        let mut reader = self.0.read_file(&entry).map_err(fat)?;
        reader.read_to_vec().map_err(fat)
    }

    /// Takes the file `path` away.
    ///
    /// # Errors
    /// When there is none.
    pub fn remove(&self, path: &str) -> Result<()> {
        let path = path.trim_start_matches('/');
        let entry = self
            .0
            .open_path(path)
            .map_err(|error| anyhow!("{path}: {error}"))?;
        self.0.delete(&entry).map_err(fat)
    }

    /// Replaces the text file `path` by what `change` makes of it.
    ///
    /// # Errors
    /// When there is no such file or it is no text.
    pub fn edit(&self, path: &str, change: impl FnOnce(String) -> String) -> Result<()> {
        let text = String::from_utf8(self.read(path)?).with_context(|| path.to_owned())?;
        self.write(path, change(text).as_bytes())
    }

    /// Writes what is not written yet.
    ///
    /// # Errors
    /// When that fails.
    pub fn close(self) -> Result<()> {
        self.0.sync().map_err(fat)
    }
}
