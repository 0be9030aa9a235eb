//! What `ls` and `cat` see: the disk, the boot archive, and logs under /var/log/xen.
//!
//! What is on the disk comes first; without a disk, logs are what is kept of them in memory.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use super::App;
use crate::archive::plain;
use crate::host::Host;
use crate::volume::{Volume, VolumeError};

/// Folder of the logs.
pub(super) const LOGS: &str = "var/log/xen/";
/// Folder of the guests' console output.
pub(super) const CONSOLES: &str = "var/log/xen/console/";

/// Bytes of a file that is read or shown as a whole.
const FILE_MAX: usize = 1 << 20;

/// Why a file is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileError {
    Absent,
    TooLarge,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "No such file or directory",
            Self::TooLarge => "File too large",
        })
    }
}

impl<'a, H: Host> App<'a, H> {
    /// All paths with their sizes, sorted.
    pub(crate) fn paths(&self) -> Vec<(String, usize)> {
        let archive = self
            .archive
            .files()
            .iter()
            .map(|file| (file.path.clone(), file.bytes.len()));
        let logs = self
            .logs
            .iter()
            .map(|(name, log)| (format!("{LOGS}{name}"), log.len()));
        let consoles = self
            .guests
            .values()
            .filter(|guest| guest.config.is_some())
            .map(|guest| {
                (
                    format!("{CONSOLES}guest-{}.log", guest.name),
                    guest.history.read().len(),
                )
            });
        let disk = self.book.volume.iter().flat_map(Volume::files);
        // The disk's come last and replace others.
        let paths: BTreeMap<_, _> = archive.chain(logs).chain(consoles).chain(disk).collect();
        paths.into_iter().collect()
    }

    /// Bytes of the file at `path`. Kernels are larger than Domain-0's memory: nothing above [`FILE_MAX`] is copied.
    pub(crate) fn file(&self, path: &str) -> Result<Vec<u8>, FileError> {
        // The host's file is there for the host's command alone, not for what others do while it lasts.
        if self.remote.speaks
            && let Some(bytes) = self.remote.line.file(path)
        {
            return Ok(bytes.to_vec());
        }
        let path = plain(path);
        let size = self.book.volume.as_ref().map(|volume| volume.size(path));
        if matches!(size, Some(Ok(size)) if size > FILE_MAX as u64) {
            return Err(FileError::TooLarge);
        }
        if let Some(bytes) = self.on_disk(path) {
            return Ok(bytes);
        }
        if let Some(name) = path.strip_prefix(CONSOLES) {
            let name = name
                .strip_prefix("guest-")
                .and_then(|name| name.strip_suffix(".log"));
            let domid = name
                .and_then(|name| self.named(name))
                .ok_or(FileError::Absent)?;
            let guest = self.guests.get(&domid).ok_or(FileError::Absent)?;
            return Ok(guest.history.read());
        }
        if let Some(name) = path.strip_prefix(LOGS) {
            let log = self.logs.get(name).ok_or(FileError::Absent)?;
            return Ok(log.as_bytes().to_vec());
        }
        match self.archive.get(path) {
            None => Err(FileError::Absent),
            Some(bytes) if bytes.len() > FILE_MAX => Err(FileError::TooLarge),
            Some(bytes) => Ok(bytes.to_vec()),
        }
    }

    /// The same without logs in memory: kernels are large, and in the archive they need no copy. What the boot loader read
    /// from the disk is not read again: Domain-0's memory may be too small for it.
    pub(crate) fn load(&self, path: &str) -> Result<Cow<'a, [u8]>, String> {
        let path = plain(path);
        if let Some(bytes) = self.archive.get_from_disk(path) {
            return Ok(Cow::Borrowed(bytes));
        }
        let volume = self.book.volume.as_ref();
        let read = volume.map(|volume| volume.read(path));
        match (read, self.archive.get(path)) {
            (Some(Ok(bytes)), _) => Ok(Cow::Owned(bytes)),
            (_, Some(bytes)) => Ok(Cow::Borrowed(bytes)),
            (None | Some(Err(VolumeError::Fat(_))), None) => Err(FileError::Absent.to_string()),
            (Some(Err(error)), None) => Err(error.to_string()),
        }
    }

    fn on_disk(&self, path: &str) -> Option<Vec<u8>> {
        match self.book.volume.as_ref()?.read(path) {
            Ok(bytes) => Some(bytes),
            Err(VolumeError::Fat(_)) => None,
            Err(error) => {
                log::warn!("/{path}: {error}");
                None
            }
        }
    }

    /// Prints what is at `path`: one file, or what is directly in a folder.
    pub(crate) fn list_files(&mut self, path: &str) -> i32 {
        self.flush_logs();
        let path = plain(path).to_string();
        let folder = if path.is_empty() {
            String::new()
        } else {
            format!("{path}/")
        };
        let mut names: Vec<(String, Option<usize>)> = Vec::new();
        for (file, size) in self.paths() {
            if file == path {
                names.push((file, Some(size)));
            } else if let Some(rest) = file.strip_prefix(&folder) {
                let (name, size) = match rest.split_once('/') {
                    Some((name, _)) => (format!("{name}/"), None),
                    None => (rest.to_string(), Some(size)),
                };
                if names.last().is_none_or(|(last, _)| *last != name) {
                    names.push((name, size));
                }
            }
        }
        if names.is_empty() {
            self.complain(&format!("ls: {path}: No such file or directory"));
            return 1;
        }
        for (name, size) in names {
            let size = size.map_or(String::new(), |size| size.to_string());
            self.say(&format!("{size:>10}  {name}"));
        }
        0
    }

    /// Prints a file.
    pub(crate) fn print_file(&mut self, path: &str) -> i32 {
        self.flush_logs();
        let bytes = match self.file(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.complain(&format!("cat: {path}: {error}"));
                return 1;
            }
        };
        self.show(&String::from_utf8_lossy(&bytes).replace('\r', ""));
        if !bytes.ends_with(b"\n") && !bytes.is_empty() {
            self.show("\n");
        }
        0
    }
}
