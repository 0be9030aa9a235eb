//! The boot archive: loader.conf, the domains' images, and what else Domain-0 is to have.

use super::info::{BootError, MAX_MODULES, Module};
use crate::mm::ranges::Range;
use tar_no_std::TarArchiveRef;

/// A module: a file that a loader read from the boot disk, or any number of files, if it has no path.
#[derive(Clone, Copy, Debug)]
struct Part {
    module: Module<'static>,
    bytes: &'static [u8],
}

/// The boot archive: one tar archive, or the files of the boot disk that the loader has read, or both. It stays where the
/// loader put it; nothing changes it.
#[derive(Clone, Debug)]
pub struct Archive {
    parts: heapless::Vec<Part, MAX_MODULES>,
}

impl Archive {
    /// The archive of which `modules` consist; `memory` gives the bytes of a range of physical memory.
    ///
    /// # Errors
    /// There is none, it cannot be read, or a module without a path is no tar archive.
    pub fn new(
        modules: &[Module<'static>],
        memory: impl Fn(Range) -> Option<&'static [u8]>,
    ) -> Result<Self, BootError> {
        if modules.is_empty() {
            return Err(BootError::NO_ARCHIVE);
        }
        let mut parts = heapless::Vec::new();
        for module in modules {
            let bytes = memory(module.range).ok_or(BootError::NO_ARCHIVE)?;
            if module.path.is_empty() {
                TarArchiveRef::new(bytes).map_err(|why| {
                    log::error!("the boot archive: {why}");
                    BootError::NO_TAR
                })?;
            }
            let part = Part {
                module: *module,
                bytes,
            };
            parts.push(part).map_err(|_| BootError::TOO_MANY_MODULES)?;
        }
        Ok(Self { parts })
    }

    /// The modules, as the loader left them.
    pub fn modules(&self) -> impl Iterator<Item = Module<'static>> + '_ {
        self.parts.iter().map(|part| part.module)
    }

    /// The file at `path`; a leading `/` or `./` means nothing.
    pub fn file(&self, path: &str) -> Option<&'static [u8]> {
        self.find(path).map(|(_, bytes)| bytes)
    }

    /// As [`Self::file`], and where it lies in physical memory.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<(Range, &'static [u8])> {
        let wanted = relative(path);
        self.parts.iter().find_map(|Part { module, bytes }| {
            if !module.path.is_empty() {
                return (relative(module.path) == wanted).then_some((module.range, *bytes));
            }
            let tar = TarArchiveRef::new(bytes).ok()?;
            tar.entries().find_map(|entry| {
                let name = entry.filename();
                (relative(name.as_str().ok()?) == wanted).then_some(())?;
                let data = entry.data();
                let offset = data.as_ptr().addr().checked_sub(bytes.as_ptr().addr())?;
                let start = module.range.start.checked_add(offset as u64)?;
                Some((Range::new(start, data.len() as u64), data))
            })
        })
    }
}

/// `path` without what means nothing in front.
pub fn relative(path: &str) -> &str {
    let path = path.strip_prefix("./").unwrap_or(path);
    path.trim_start_matches('/')
}

#[cfg(test)]
#[path = "../../../console/tests/machine/ustar.rs"]
mod ustar;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A tar archive of `files`.
    pub(crate) fn tar(files: &[(&str, &[u8])]) -> &'static [u8] {
        ustar::tar(files).leak()
    }

    /// An archive of modules with these paths and bytes.
    pub(crate) fn archive(modules: &[(&'static str, &'static [u8])]) -> Result<Archive, BootError> {
        let place = |index: usize| Range::new(index as u64 * 0x1000, 1);
        let list: Vec<_> = (0..modules.len())
            .map(|index| Module {
                range: place(index),
                path: modules[index].0,
            })
            .collect();
        Archive::new(&list, |range| {
            Some(modules[range.start as usize / 0x1000].1)
        })
    }

    #[test]
    fn files_are_found_by_path() {
        let bytes = tar(&[("boot/loader.conf", b"a=\"b\""), ("./etc/x", b"")]);
        let archive = archive(&[("", bytes)]).unwrap();
        assert_eq!(archive.file("boot/loader.conf"), Some(&b"a=\"b\""[..]));
        assert_eq!(archive.file("/boot/loader.conf"), Some(&b"a=\"b\""[..]));
        assert_eq!(archive.file("etc/x"), Some(&b""[..]));
        assert_eq!(archive.file("boot"), None);
    }

    #[test]
    fn modules_with_a_path_are_files() {
        let tar = tar(&[("boot/console", b"tar")]);
        let archive = archive(&[
            ("/boot/loader.conf", b"a=\"b\""),
            ("", tar),
            ("/etc/x", b""),
        ]);
        let archive = archive.unwrap();
        assert_eq!(archive.file("boot/loader.conf"), Some(&b"a=\"b\""[..]));
        assert_eq!(archive.file("/boot/console"), Some(&b"tar"[..]));
        assert_eq!(archive.file("etc/x"), Some(&b""[..]));
        assert_eq!(archive.file(""), None);
        // Where they lie: the archive's second module is at 0x1000, its file behind the header.
        let place = |path| archive.find(path).map(|(range, _)| range);
        assert_eq!(place("boot/console"), Some(Range::new(0x1200, 3)));
        assert_eq!(place("boot/loader.conf"), Some(Range::new(0, 1)));
        assert_eq!(archive.modules().count(), 3);
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        assert_eq!(archive(&[]).unwrap_err(), BootError::NO_ARCHIVE);
        assert!(archive(&[("", b"")]).is_err());
        assert!(archive(&[("", &[0x55; 4096])]).is_err());
        let bytes = tar(&[("a", &[1; 2000])]);
        let cut = archive(&[("", &bytes[..1536])]);
        assert_eq!(cut.unwrap_err(), BootError::NO_TAR);
    }
}
