//! The guest's initramfs: busybox, the disk's driver, and a script that finds the root file system.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use cpio::newc::{Builder, trailer};

use super::modules;
use super::packages::Packages;

/// What the root file system needs, by what it is on: a guest of ours, or a plain QEMU machine.
const MODULES: [(&str, &[&str]); 2] = [
    ("xen", &["xen-blkfront", "ext4"]),
    ("virtio", &["virtio_pci", "virtio_blk", "ext4"]),
];
const INIT: &[u8] = include_bytes!("../../assets/debian/initrd-init");
/// File type bits of st_mode.
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;

/// Writes the initramfs, uncompressed, to `target`.
///
/// # Errors
/// When a file of it cannot be read or `target` not be written.
pub fn make(packages: &Packages, target: &Path) -> Result<()> {
    let mut out =
        BufWriter::new(File::create(target).with_context(|| target.display().to_string())?);
    let mut inode = 0;
    let mut add = |out: &mut dyn Write, name: &str, mode: u32, bytes: &[u8]| -> Result<()> {
        inode += 1;
        let size = u32::try_from(bytes.len())?;
        let mut writer = Builder::new(name)
            .ino(inode)
            .mode(mode)
            .nlink(1)
            .mtime(0)
            .write(out, size);
        writer.write_all(bytes)?;
        writer.finish()?;
        Ok(())
    };
    for folder in ["bin", "dev", "proc", "root", "etc", "lib", "lib/modules"] {
        add(&mut out, folder, S_IFDIR | 0o755, &[])?;
    }
    add(&mut out, "init", S_IFREG | 0o755, INIT)?;
    add(
        &mut out,
        "bin/busybox",
        S_IFREG | 0o755,
        &fs::read(&packages.busybox)?,
    )?;
    let mut files = BTreeSet::new();
    for (platform, names) in MODULES {
        let mut list = String::new();
        for module in modules::closure(packages, names)? {
            list += &format!("{}\n", file_name(&module)?);
            files.insert(module);
        }
        add(
            &mut out,
            &format!("etc/modules.{platform}"),
            S_IFREG | 0o644,
            list.as_bytes(),
        )?;
    }
    for module in files {
        let name = format!("lib/modules/{}", file_name(&module)?);
        add(&mut out, &name, S_IFREG | 0o644, &fs::read(&module)?)?;
    }
    trailer(&mut out as &mut dyn Write)?;
    out.flush()?;
    Ok(())
}

fn file_name(module: &Path) -> Result<String> {
    Ok(module
        .file_name()
        .context("module without a name")?
        .to_string_lossy()
        .into_owned())
}
