//! The boot archive: a deterministic ustar file that holds everything microhv boots from.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// What one file of the archive is made of.
#[derive(Clone, Debug)]
enum Content {
    File(PathBuf),
    Bytes(Vec<u8>),
}

/// The files of a boot archive, by their path inside it (no leading slash).
///
/// The same files always give the same bytes: sorted by name, no times, no owners.
#[derive(Clone, Debug, Default)]
pub struct Archive {
    files: BTreeMap<String, Content>,
}

impl Archive {
    /// An archive with no file in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts the host's file `source` at `path`; a file that was there before is replaced.
    pub fn file(&mut self, path: &str, source: impl Into<PathBuf>) -> &mut Self {
        self.files
            .insert(inside(path), Content::File(source.into()));
        self
    }

    /// Puts `bytes` at `path`; a file that was there before is replaced.
    pub fn bytes(&mut self, path: &str, bytes: impl Into<Vec<u8>>) -> &mut Self {
        self.files
            .insert(inside(path), Content::Bytes(bytes.into()));
        self
    }

    /// Takes `path` out again.
    pub fn remove(&mut self, path: &str) -> &mut Self {
        self.files.remove(&inside(path));
        self
    }

    /// The content of `path`.
    ///
    /// # Errors
    /// When there is no such file, or the host's file behind it cannot be read.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        match self.files.get(&inside(path)) {
            Some(Content::File(source)) => {
                fs::read(source).with_context(|| source.display().to_string())
            }
            Some(Content::Bytes(bytes)) => Ok(bytes.clone()),
            None => bail!("the boot archive has no {path}"),
        }
    }

    /// Replaces the text file `path` by what `change` makes of it.
    ///
    /// # Errors
    /// When there is no such file or it is no text.
    pub fn edit(&mut self, path: &str, change: impl FnOnce(String) -> String) -> Result<&mut Self> {
        let text = String::from_utf8(self.read(path)?).with_context(|| path.to_owned())?;
        Ok(self.bytes(path, change(text)))
    }

    /// Every path in the archive, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Writes the archive to `target`.
    ///
    /// # Errors
    /// When a file cannot be read or `target` cannot be written.
    pub fn write(&self, target: &Path) -> Result<()> {
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        let out = fs::File::create(target).with_context(|| target.display().to_string())?;
        let mut tar = tar::Builder::new(std::io::BufWriter::new(out));
        for path in self.files.keys() {
            let bytes = self.read(path)?;
            let mut header = tar::Header::new_ustar();
            header
                .set_path(path)
                .with_context(|| format!("name {path}"))?;
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(0);
            header.set_uid(0);
            header.set_gid(0);
            header.set_cksum();
            tar.append(&header, bytes.as_slice())?;
        }
        tar.into_inner()?.flush()?;
        Ok(())
    }
}

fn inside(path: &str) -> String {
    path.trim_start_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_files_same_bytes_and_nothing_lost() {
        let folder = std::env::temp_dir().join(format!("microhv-archive-{}", std::process::id()));
        let write = |name: &str, order: &[(&str, &str)]| {
            let mut archive = Archive::new();
            for (path, text) in order {
                archive.bytes(path, *text);
            }
            let target = folder.join(name);
            archive.write(&target).unwrap();
            fs::read(target).unwrap()
        };
        let one = write("1", &[("/boot/b", "bee"), ("boot/a", "ay")]);
        let two = write("2", &[("boot/a", "ay"), ("boot/b", "bee")]);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(one, two);
        assert_eq!(one.len() % 512, 0);
        let mut names = Vec::new();
        for entry in tar::Archive::new(one.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            assert_eq!(
                entry.header().as_ustar().map(|h| h.magic),
                Some(*b"ustar\0")
            );
            let mut text = String::new();
            std::io::Read::read_to_string(&mut entry, &mut text).unwrap();
            names.push((entry.path().unwrap().display().to_string(), text));
        }
        assert_eq!(
            names,
            [
                ("boot/a".into(), "ay".into()),
                ("boot/b".into(), "bee".to_owned())
            ]
        );
    }

    #[test]
    fn editing_needs_the_file() {
        let mut archive = Archive::new();
        assert!(archive.edit("boot/loader.conf", |text| text).is_err());
        archive.bytes("boot/loader.conf", "a=\"1\"\n");
        archive
            .edit("boot/loader.conf", |text| text + "b=\"2\"\n")
            .unwrap();
        assert_eq!(
            archive.read("/boot/loader.conf").unwrap(),
            b"a=\"1\"\nb=\"2\"\n"
        );
    }
}
