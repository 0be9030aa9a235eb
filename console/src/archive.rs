//! The files of the boot archive: an ustar file in memory, or files that the boot loader has read one by one.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use tar_no_std::TarArchiveRef;

/// What the operator wrote.
const LOADER_CONF: &str = "boot/loader.conf";

/// One file.
#[derive(Clone, Debug)]
pub struct File<'a> {
    /// Path without a leading slash.
    pub path: String,
    /// Its bytes, where they lie in the archive.
    pub bytes: &'a [u8],
    /// The boot loader read it from the boot disk, where it is too.
    pub from_disk: bool,
}

/// The archive's files, sorted by path.
#[derive(Clone, Debug, Default)]
pub struct Archive<'a> {
    files: Vec<File<'a>>,
}

impl<'a> Archive<'a> {
    /// The files in the ustar file `bytes`; none if that is no archive. A path that is there twice is the later one.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self::of_modules([("", bytes)])
    }

    /// The files of the boot loader's modules, each with its command line: a file at that path, or an ustar file
    /// if it is empty. A path that is there twice is the later one.
    #[must_use]
    pub fn of_modules(modules: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut archive = Self::default();
        for (path, bytes) in modules {
            if !path.is_empty() {
                archive.put(path, bytes, true);
            } else if let Ok(tar) = TarArchiveRef::new(bytes) {
                for entry in tar.entries() {
                    if let Ok(path) = entry.filename().as_str() {
                        archive.put(path, entry.data(), false);
                    }
                }
            }
        }
        archive.files.sort_by(|a, b| a.path.cmp(&b.path));
        archive
    }

    /// Leaves out what loader.conf makes disks of: that memory is blkback's.
    #[must_use]
    pub fn without_disks(mut self) -> Self {
        let conf = config::LoaderConf::new(self.get(LOADER_CONF).unwrap_or(&[]));
        self.files.retain(|file| {
            let mut disks = conf.md_images().flatten();
            !disks.any(|disk| plain(disk.text) == file.path)
        });
        self
    }

    fn put(&mut self, path: &str, bytes: &'a [u8], from_disk: bool) {
        let path = plain(path).to_string();
        self.files.retain(|file| file.path != path);
        self.files.push(File {
            path,
            bytes,
            from_disk,
        });
    }

    /// All files.
    #[must_use]
    pub fn files(&self) -> &[File<'a>] {
        &self.files
    }

    /// The file at `path`, with or without a leading slash.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&'a [u8]> {
        self.find(path).map(|file| file.bytes)
    }

    /// The file at `path` if it is the boot disk's, read by the boot loader.
    #[must_use]
    pub fn get_from_disk(&self, path: &str) -> Option<&'a [u8]> {
        let file = self.find(path).filter(|file| file.from_disk)?;
        Some(file.bytes)
    }

    fn find(&self, path: &str) -> Option<&File<'a>> {
        let path = plain(path);
        self.files.iter().find(|file| file.path == path)
    }
}

/// `path` without what does not change where it leads.
#[must_use]
pub fn plain(path: &str) -> &str {
    let mut rest = path;
    loop {
        let shorter = rest.strip_prefix("./").or_else(|| rest.strip_prefix('/'));
        match shorter {
            Some(shorter) => rest = shorter,
            None => return rest.trim_end_matches('/'),
        }
    }
}

#[cfg(test)]
#[path = "../tests/machine/ustar.rs"]
mod ustar;

#[cfg(test)]
mod tests {
    use super::ustar::tar;
    use super::*;

    #[test]
    fn finds_files_however_the_path_is_written() {
        let bytes = tar(&[
            ("boot/b", b"second"),
            ("./boot/a", b"first"),
            ("boot/b", b"third"),
        ]);
        let archive = Archive::new(&bytes);
        let paths: Vec<_> = archive
            .files()
            .iter()
            .map(|file| file.path.as_str())
            .collect();
        assert_eq!(paths, ["boot/a", "boot/b"]);
        assert_eq!(archive.get("/boot/a"), Some(&b"first"[..]));
        assert_eq!(archive.get("boot/b"), Some(&b"third"[..]));
        assert_eq!(archive.get("boot"), None);
        assert!(Archive::new(b"rubbish").files().is_empty());
        assert!(Archive::new(&[0xff; 4096]).files().is_empty());
    }

    #[test]
    fn what_is_a_disk_is_no_file() {
        let conf = b"a_load=\"YES\"\na_type=\"md_image\"\na_name=\"/boot/a.img\"\n\
                     b_load=\"NO\"\nb_type=\"md_image\"\nb_name=\"/boot/b.img\"\n";
        let archive = Archive::of_modules([
            ("/boot/a.img", &b"a"[..]),
            ("/boot/b.img", &b"b"[..]),
            ("/boot/loader.conf", &conf[..]),
        ]);
        let archive = archive.without_disks();
        assert_eq!(archive.get("/boot/a.img"), None);
        assert_eq!(archive.get("/boot/b.img"), Some(&b"b"[..]));
        assert_eq!(archive.get(LOADER_CONF), Some(&conf[..]));
    }

    #[test]
    fn modules_with_a_path_are_files() {
        let bytes = tar(&[("boot/a", b"first"), ("boot/b", b"second")]);
        let archive = Archive::of_modules([
            ("/etc/xen/x", &b"alone"[..]),
            ("", &bytes),
            ("/boot/b", b"third"),
        ]);
        let paths: Vec<_> = archive
            .files()
            .iter()
            .map(|file| file.path.as_str())
            .collect();
        assert_eq!(paths, ["boot/a", "boot/b", "etc/xen/x"]);
        assert_eq!(archive.get("boot/b"), Some(&b"third"[..]));
        assert_eq!(archive.get("etc/xen/x"), Some(&b"alone"[..]));
        assert_eq!(archive.get_from_disk("/boot/b"), Some(&b"third"[..]));
        assert_eq!(archive.get_from_disk("boot/a"), None);
    }
}
