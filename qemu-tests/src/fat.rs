//! The FAT32 partition `microhv`, which Domain-0 keeps its files on: made, read and checked from outside.

mod files;

pub use files::Files;

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};
use hadris_fat::format::{FatFormatOptions, FatTypeSelection, FatVolumeFormatter};
use hadris_fat::{DirectoryEntry, FatVolume, FatVolumeReadExt, FatVolumeWriteExt};

use crate::disk::{self, Partition};

/// The partition's name in the GPT.
pub const NAME: &str = "microhv";
/// The file system's label.
const LABEL: &str = "MICROHV";
/// Bytes: enough clusters that nobody takes it for FAT16 (65,525).
pub const SIZE: u64 = 544 << 20;
/// 8 KiB: a folder of logs stays in one cluster, and a log needs few of them.
const SECTORS_PER_CLUSTER: u8 = 16;
/// Folders that Domain-0 expects.
const FOLDERS: &[&str] = &[
    "boot",
    "etc",
    "etc/xen",
    "etc/xen/auto",
    "var",
    "var/log",
    "var/log/xen",
    "var/log/xen/console",
];

/// The partition for a disk image; its content is made as the file `content` if that does not exist.
///
/// # Errors
/// When the file cannot be written.
pub fn partition(content: &Path) -> Result<Partition> {
    if !content.exists() {
        format(content, &[]).with_context(|| content.display().to_string())?;
    }
    Ok(Partition {
        name: NAME.into(),
        size: SIZE,
        content: Some(content.to_owned()),
    })
}

/// Makes `target` a file system with the usual folders and `files` (paths without leading slash).
///
/// # Errors
/// When it cannot be written, or a file's folder is none of the usual ones.
pub fn format(target: &Path, files: &[(&str, &[u8])]) -> Result<()> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(target)?;
    file.set_len(SIZE)?;
    // One FAT: nothing can differ from its copy when the plug is pulled.
    let options = FatFormatOptions::new(SIZE)
        .volume_label(LABEL)
        .fat_type(FatTypeSelection::Fat32)
        .sectors_per_cluster(SECTORS_PER_CLUSTER)
        .fat_copies(1)
        .volume_id(0x4d48_5631);
    let volume = FatVolumeFormatter::format(file, options).map_err(fat)?;
    for folder in FOLDERS {
        let (parent, name) = split(folder);
        volume
            .create_dir(&folder_of(&volume, parent)?, name)
            .map_err(fat)?;
    }
    for (path, bytes) in files {
        let (parent, name) = split(path);
        let entry = volume
            .create_file(&folder_of(&volume, parent)?, name)
            .map_err(fat)?;
        let mut writer = volume.write_file(&entry).map_err(fat)?;
        writer.write(bytes).map_err(fat)?;
        writer.finish().map_err(fat)?;
    }
    volume.sync().map_err(fat)
}

/// Bytes of the file at `path` on the partition of the image `disk`.
///
/// # Errors
/// When the disk has no such partition, or that no such file.
pub fn read(disk: &Path, path: &str) -> Result<Vec<u8>> {
    let volume = open(disk)?;
    let entry = volume
        .open_path(path)
        .map_err(|error| anyhow!("{path}: {error}"))?;
    let mut reader = volume.read_file(&entry).map_err(fat)?;
    reader.read_to_vec().map_err(fat)
}

/// Names and sizes of what is in the folder `path`; folders' names end with a slash.
///
/// # Errors
/// When the disk has no such partition, or that no such folder.
pub fn list(disk: &Path, path: &str) -> Result<Vec<(String, u64)>> {
    let volume = open(disk)?;
    let mut names = Vec::new();
    let folder = folder_of(&volume, path)?;
    let mut entries = folder.entries();
    while let Some(entry) = entries.next_entry() {
        let DirectoryEntry::Entry(entry) = entry.map_err(fat)?;
        match entry.name().as_ref() {
            "." | ".." => {}
            name if entry.is_directory() => names.push((format!("{name}/"), 0)),
            name => names.push((name.to_owned(), entry.len())),
        }
    }
    names.sort();
    Ok(names)
}

/// What fsck.vfat finds on the partition of the image `disk`, line by line; nothing when it is clean. `scratch` is a
/// file for the copy that is checked.
///
/// # Errors
/// When there is no such partition, or no fsck.vfat.
pub fn fsck(disk: &Path, scratch: &Path) -> Result<Vec<String>> {
    disk::extract(disk, NAME, scratch)?;
    let output = Command::new("/usr/sbin/fsck.vfat")
        .args(["-n", "-v"])
        .arg(scratch)
        .output()
        .context("fsck.vfat (package dosfstools)")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() && output.status.code() != Some(1) {
        bail!("fsck.vfat {}:\n{said}", output.status);
    }
    // Everything before this line describes the file system; what follows is wrong with it.
    let findings = said
        .split_once("sectors total\n")
        .map_or("", |(_, rest)| rest);
    Ok(findings
        .lines()
        .filter(|line| {
            !(line.is_empty()
                || line.starts_with("Checking ")
                || line.starts_with("Reclaiming unconnected")
                || line.contains(" files, ")
                || line.contains("Leaving filesystem unchanged"))
        })
        .map(str::to_owned)
        .collect())
}

fn open(disk: &Path) -> Result<FatVolume<Section>> {
    open_as(disk, File::open(disk)?)
}

/// The file system on the image `disk`, which is `file`.
fn open_as(disk: &Path, file: File) -> Result<FatVolume<Section>> {
    let (start, length) = disk::find(disk, NAME)?;
    let section = Section {
        file,
        start,
        length,
        position: 0,
    };
    FatVolume::open(section).map_err(fat)
}

fn folder_of<'a, T>(volume: &'a FatVolume<T>, path: &str) -> Result<hadris_fat::FatDir<'a, T>>
where
    T: hadris_fat::Read + hadris_fat::Seek,
{
    if path.is_empty() {
        return Ok(volume.root_dir());
    }
    volume
        .open_dir_path(path)
        .map_err(|error| anyhow!("{path}: {error}"))
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn fat(error: hadris_fat::Error) -> anyhow::Error {
    anyhow!("{error}")
}

/// A part of a file.
struct Section {
    file: File,
    start: u64,
    length: u64,
    position: u64,
}

impl Section {
    /// Goes to where the next byte is; of `wanted` bytes so many are left.
    fn prepare(&mut self, wanted: usize) -> std::io::Result<usize> {
        let left = self.length.saturating_sub(self.position);
        self.file
            .seek(SeekFrom::Start(self.start + self.position))?;
        Ok(usize::try_from(left).map_or(wanted, |left| left.min(wanted)))
    }
}

impl Read for Section {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let count = self.prepare(buf.len())?;
        let count = self.file.read(&mut buf[..count])?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Write for Section {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        let count = self.prepare(buf.len())?;
        let count = self.file.write(&buf[..count])?;
        self.position += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Seek for Section {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
        };
        self.position = place.ok_or(std::io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn files_go_in_and_come_out_and_fsck_has_nothing_to_say() {
        let folder = std::env::temp_dir().join(format!("microhv-fat-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let content = folder.join("content");
        format(&content, &[("etc/xen/a long name.cfg", b"memory = 64\n")]).unwrap();
        let image = folder.join("disk.img");
        disk::create(&image, &[partition(&content).unwrap()]).unwrap();
        assert_eq!(
            read(&image, "etc/xen/a long name.cfg").unwrap(),
            b"memory = 64\n"
        );
        let names = list(&image, "etc/xen").unwrap();
        assert_eq!(names, [("a long name.cfg".into(), 12), ("auto/".into(), 0)]);
        assert!(read(&image, "etc/xen/none").is_err());
        if Path::new("/usr/sbin/fsck.vfat").exists() {
            assert_eq!(fsck(&image, &folder.join("part")).unwrap(), [""; 0]);
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
