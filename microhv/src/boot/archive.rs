//! The boot archive: loader.conf, the domains' images, and what else Domain-0 is to have.

use super::info::BootError;
use crate::mm::ranges::Range;
use tar_no_std::{CorruptDataError, TarArchiveRef};

/// The boot archive. It stays where the loader put it; nothing changes it.
#[derive(Clone, Debug)]
pub struct Archive {
    range: Range,
    tar: TarArchiveRef<'static>,
}

impl Archive {
    /// The archive in `bytes`, which lie at `range` of physical memory.
    ///
    /// # Errors
    /// The bytes are no tar archive.
    pub fn new(range: Range, bytes: &'static [u8]) -> Result<Self, BootError> {
        let tar = TarArchiveRef::new(bytes).map_err(|error| {
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
        })?;
        Ok(Self { range, tar })
    }

    /// Where the archive lies in physical memory.
    #[must_use]
    pub const fn range(&self) -> Range {
        self.range
    }

    /// The file at `path`; a leading `/` or `./` means nothing.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&'static [u8]> {
        let wanted = relative(path);
        self.tar.entries().find_map(|entry| {
            let name = entry.filename();
            (relative(name.as_str().ok()?) == wanted).then_some(entry.data())
        })
    }
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

    #[test]
    fn files_are_found_by_path() {
        let bytes = tar(&[("boot/loader.conf", b"a=\"b\""), ("./etc/x", b"")]);
        let archive = Archive::new(Range::new(0, bytes.len() as u64), bytes).unwrap();
        assert_eq!(archive.file("boot/loader.conf"), Some(&b"a=\"b\""[..]));
        assert_eq!(archive.file("/boot/loader.conf"), Some(&b"a=\"b\""[..]));
        assert_eq!(archive.file("etc/x"), Some(&b""[..]));
        assert_eq!(archive.file("boot"), None);
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        let range = Range::new(0, 0);
        assert!(Archive::new(range, b"").is_err());
        assert!(Archive::new(range, &[0x55; 4096]).is_err());
        let bytes = tar(&[("a", &[1; 2000])]);
        let cut = Archive::new(range, &bytes[..1536]);
        assert_eq!(cut.unwrap_err(), BootError::BadArchive("it is truncated"));
    }
}
