//! The boot archive: loader.conf, the domains' images, and what else Domain-0 is to have.

use super::info::{BootError, MAX_MODULES, Module};
use crate::mm::ranges::Range;
use tar_no_std::{CorruptDataError, TarArchiveRef};

/// A module, opened.
#[derive(Clone, Debug)]
enum Part {
    /// A file, from a loader that read it from the boot disk.
    File(Module<'static>, &'static [u8]),
    /// Any number of files.
    Tar(Module<'static>, TarArchiveRef<'static>),
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
            return Err(BootError::NoArchive);
        }
        let mut parts = heapless::Vec::new();
        for module in modules {
            let bytes = memory(module.range).ok_or(BootError::NoArchive)?;
            let part = if module.path.is_empty() {
                Part::Tar(*module, open(bytes)?)
            } else {
                Part::File(*module, bytes)
            };
            parts.push(part).map_err(|_| BootError::TooManyModules)?;
        }
        Ok(Self { parts })
    }

    /// The modules, as the loader left them.
    pub fn modules(&self) -> impl Iterator<Item = Module<'static>> + '_ {
        self.parts.iter().map(|part| match part {
            Part::File(module, _) | Part::Tar(module, _) => *module,
        })
    }

    /// The file at `path`; a leading `/` or `./` means nothing.
    pub fn file(&self, path: &str) -> Option<&'static [u8]> {
        let wanted = relative(path);
        self.parts.iter().find_map(|part| match part {
            Part::File(module, bytes) => (relative(module.path) == wanted).then_some(*bytes),
            Part::Tar(_, tar) => tar.entries().find_map(|entry| {
                let name = entry.filename();
                (relative(name.as_str().ok()?) == wanted).then_some(entry.data())
            }),
        })
    }
}

fn open(bytes: &'static [u8]) -> Result<TarArchiveRef<'static>, BootError> {
    TarArchiveRef::new(bytes).map_err(|error| {
        BootError::BadArchive(match error {
            CorruptDataError::EmptyArchive => "it is empty",
            CorruptDataError::InvalidBlockSize => "its length is no multiple of 512 bytes",
            CorruptDataError::TooShort { .. } => "it is too short",
            CorruptDataError::InvalidChecksum { .. } => "a header's checksum is wrong",
            CorruptDataError::InvalidTypeFlag { .. } => "a header has an unknown type",
            CorruptDataError::InvalidPayloadSize { .. } => "a file's size is no number",
            CorruptDataError::PayloadExtendsBeyondArchive { .. } => "it is truncated",
            CorruptDataError::MissingTerminator => "its end is missing",
        })
    })
}

fn relative(path: &str) -> &str {
    let path = path.strip_prefix("./").unwrap_or(path);
    path.trim_start_matches('/')
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A tar archive of `files`.
    pub(crate) fn tar(files: &[(&str, &[u8])]) -> &'static [u8] {
        let mut bytes = Vec::new();
        for (name, data) in files {
            let mut header = [0u8; 512];
            header[..name.len()].copy_from_slice(name.as_bytes());
            header[100..108].copy_from_slice(b"0000644\0");
            header[108..116].copy_from_slice(b"0000000\0");
            header[116..124].copy_from_slice(b"0000000\0");
            header[124..136].copy_from_slice(format!("{:011o}\0", data.len()).as_bytes());
            header[136..148].copy_from_slice(b"00000000000\0");
            header[148..156].fill(b' ');
            header[156] = b'0';
            header[257..265].copy_from_slice(b"ustar\x0000");
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            bytes.extend_from_slice(&header);
            bytes.extend_from_slice(data);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes.resize(bytes.len() + 1024, 0);
        bytes.leak()
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
        assert_eq!(archive.modules().count(), 3);
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        assert_eq!(archive(&[]).unwrap_err(), BootError::NoArchive);
        assert!(archive(&[("", b"")]).is_err());
        assert!(archive(&[("", &[0x55; 4096])]).is_err());
        let bytes = tar(&[("a", &[1; 2000])]);
        let cut = archive(&[("", &bytes[..1536])]);
        assert_eq!(cut.unwrap_err(), BootError::BadArchive("it is truncated"));
    }
}
