//! Debian packages, downloaded once and unpacked under `target/cache` without being installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::output::step;
use crate::{host, paths};

/// The package files whose names start with `prefixes`; unless all are there, the packages `names` are downloaded.
///
/// # Errors
/// When apt cannot fetch them.
pub fn get<const N: usize>(
    prefixes: [&str; N],
    names: impl FnOnce() -> Result<Vec<String>>,
) -> Result<[String; N]> {
    let cache = paths::cache();
    fs::create_dir_all(&cache)?;
    let look = || -> Result<Option<Vec<String>>> {
        prefixes.iter().map(|prefix| find(&cache, prefix)).collect()
    };
    let found = match look()? {
        Some(found) => found,
        None => {
            host::apt_update()?;
            download(&cache, &names()?)?;
            look()?.with_context(|| format!("apt-get left no package in {}", cache.display()))?
        }
    };
    found.try_into().ok().context("a package is missing")
}

/// The name of the last file in `folder` that starts with `prefix` and is complete.
///
/// # Errors
/// When the folder cannot be read.
pub fn find(folder: &Path, prefix: &str) -> Result<Option<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(prefix) && entry.file_type()?.is_file() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names.into_iter().next_back())
}

fn download(cache: &Path, names: &[String]) -> Result<()> {
    step("Downloading", &names.join(", "));
    // Into a folder of its own first: an interrupted download must not look like a package.
    let partial = cache.join("partial");
    fs::create_dir_all(&partial)?;
    host::quiet(
        Command::new("apt-get")
            .current_dir(&partial)
            .arg("download")
            .args(names),
    )?;
    for entry in fs::read_dir(&partial)? {
        let entry = entry?;
        fs::rename(entry.path(), cache.join(entry.file_name()))?;
    }
    Ok(())
}

/// Unpacks the package file `name` of the cache into a folder beside it.
///
/// # Errors
/// When it is no package.
pub fn unpack(name: &str) -> Result<PathBuf> {
    let cache = paths::cache();
    let target = cache.join("unpacked").join(name.trim_end_matches(".deb"));
    if target.exists() {
        return Ok(target);
    }
    let partial = cache.join("unpacked").join("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir_all(&partial)?;
    host::quiet(
        Command::new("dpkg-deb")
            .arg("-x")
            .arg(cache.join(name))
            .arg(&partial),
    )?;
    fs::rename(&partial, &target)?;
    Ok(target)
}
