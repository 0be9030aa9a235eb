//! The kernel's modules: made loadable by busybox, and their dependencies.

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::packages::Packages;
use crate::host;

/// Unpacks compressed modules in place and writes `modules.dep` and its like.
///
/// # Errors
/// When a module cannot be unpacked or depmod fails.
pub fn prepare(packages: &Packages) -> Result<()> {
    unpack(&folder(packages))?;
    // busybox's depmod takes its modules from below -b.
    let mut depmod = Command::new(&packages.busybox);
    depmod
        .args(["depmod", "-b"])
        .arg(&packages.modules)
        .arg(&packages.version);
    host::quiet(&mut depmod)
}

/// The folder that modprobe looks into.
pub fn folder(packages: &Packages) -> PathBuf {
    packages.modules.join("lib/modules").join(&packages.version)
}

/// The files that must be loaded for the modules `names`, in loading order; built-in ones need none.
///
/// # Errors
/// When [`prepare`] has not run.
pub fn closure(packages: &Packages, names: &[&str]) -> Result<Vec<PathBuf>> {
    let folder = folder(packages);
    let table = fs::read_to_string(folder.join("modules.dep")).context("modules.dep")?;
    Ok(order(&table, names)
        .into_iter()
        .map(|path| folder.join(path))
        .collect())
}

/// As [`closure`], from the text of a `modules.dep`: lines `path: path of each module it needs…`.
fn order(table: &str, names: &[&str]) -> Vec<String> {
    let lines: Vec<(&str, &str)> = table
        .lines()
        .filter_map(|line| line.split_once(':'))
        .collect();
    let mut seen = HashSet::new();
    let mut list = Vec::new();
    for name in names {
        visit(&lines, &stem(name), &mut seen, &mut list);
    }
    list
}

/// Appends the module `name` to `list` after everything it needs.
fn visit(lines: &[(&str, &str)], name: &str, seen: &mut HashSet<String>, list: &mut Vec<String>) {
    let Some((path, needs)) = lines.iter().find(|(path, _)| stem(path) == name) else {
        return;
    };
    if seen.insert(name.to_owned()) {
        for need in needs.split_whitespace() {
            visit(lines, &stem(need), seen, list);
        }
        list.push((*path).to_owned());
    }
}

/// A module's name: in file names, `-` and `_` are the same.
fn stem(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.trim_end_matches(".ko").replace('-', "_")
}

/// Unpacks every `.ko.xz` below `folder`, as Debian 13 has them.
fn unpack(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            unpack(&path)?;
        } else if path.to_string_lossy().ends_with(".ko.xz") {
            let packed = fs::read(&path)?;
            let mut module = Vec::new();
            liblzma::read::XzDecoder::new(packed.as_slice())
                .read_to_end(&mut module)
                .with_context(|| path.display().to_string())?;
            fs::write(path.with_extension(""), module)?;
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_come_first_and_once() {
        let table = "k/virtio.ko: k/virtio_ring.ko\nk/virtio_ring.ko:\nk/xen-blkfront.ko:\n\
                     k/virtio_blk.ko: k/virtio.ko k/virtio_ring.ko\n";
        assert_eq!(
            order(table, &["virtio_blk", "xen-blkfront", "ext4", "virtio"]),
            [
                "k/virtio_ring.ko",
                "k/virtio.ko",
                "k/virtio_blk.ko",
                "k/xen-blkfront.ko"
            ]
        );
    }

    #[test]
    fn a_loop_in_the_table_ends() {
        assert_eq!(order("a.ko: b.ko\nb.ko: a.ko\n", &["a"]), ["b.ko", "a.ko"]);
    }
}
