//! What pygrub does: finds the kernel on a guest's own disk.
//!
//! The disk is the guest's, and everything on it may be meant to hurt: what is read has a limit, what is followed has an end,
//! and nothing that is parsed can make Domain-0 panic. What is kept of a menu is small whatever its file says: an entry is some
//! KiB, and there are not many.

mod bls;
mod disk;
mod entry;
mod extlinux;
mod find;
mod grub;
mod grub_legacy;
mod newest;
mod partitions;
#[cfg(test)]
mod tests;

pub use disk::{Part, Shared};
pub use entry::{BootEntry, Choice, Menu};
pub use find::{Boot, Wish, boot_of, choose, file_of, files_of};
pub use partitions::{Place, places};

use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Bytes of a configuration file: Debian's with ten kernels has 20 KiB.
const CONFIG_MAX: usize = 256 << 10;
/// Entries of a menu.
const ENTRIES_MAX: usize = 64;
/// Bytes of a value that is put together from others, of a path, of a menu's default.
const VALUE_MAX: usize = 4096;
/// Bytes of a title or an id.
const TITLE_MAX: usize = 512;
/// The longest command line of a kernel (Linux: 2048).
const CMDLINE_MAX: usize = 4096;
/// RAM disks of an entry.
const INITRDS_MAX: usize = 16;

/// The file system that is looked through.
pub trait Files {
    /// The bytes of a file, if they are not more than `limit`; `None` if there is no such file.
    ///
    /// # Errors
    /// When it cannot be read.
    fn read(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, String>;

    /// Names in a folder, at most `limit`; none if there is no such folder.
    ///
    /// # Errors
    /// When it cannot be read.
    fn list(&self, path: &str, limit: usize) -> Result<Vec<String>, String>;

    /// Whether there is a regular file.
    ///
    /// # Errors
    /// When that cannot be read.
    fn has(&self, path: &str) -> Result<bool, String>;
}

/// The text of the file at `path`, if there is one.
fn text(files: &dyn Files, path: &str) -> Result<Option<String>, String> {
    let bytes = files.read(path, CONFIG_MAX)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// At most `limit` bytes of a text.
fn cut(text: &str, limit: usize) -> String {
    let end = text.floor_char_boundary(limit);
    text.get(..end).unwrap_or_default().to_string()
}

/// A command line; of one that is too long as much as shows it.
fn cmdline(text: &str) -> String {
    cut(text, CMDLINE_MAX + size_of::<char>())
}

/// Paths of RAM disks; of too many as many as show it.
fn initrds<'a>(paths: impl Iterator<Item = &'a str>) -> Vec<String> {
    let paths = paths.take(INITRDS_MAX + 1);
    paths.map(|path| cut(path, VALUE_MAX)).collect()
}
