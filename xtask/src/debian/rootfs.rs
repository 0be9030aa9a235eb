//! The guest's root file system: ext4, filled without being root or mounting anything.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::modules;
use super::packages::Packages;
use crate::host;

/// Size of the file system in bytes.
pub const SIZE: u64 = 512 << 20;
/// Inodes: the modules are some thousand files; fewer inodes make a smaller image.
const INODES: u32 = 16_384;
/// Files that are text of ours: path, mode, content.
const FILES: [(&str, u32, &str); 9] = [
    ("sbin/init", 0o755, include_str!("../../assets/debian/init")),
    (
        "sbin/shells",
        0o755,
        include_str!("../../assets/debian/shells"),
    ),
    (
        "etc/udhcpc.script",
        0o755,
        include_str!("../../assets/debian/udhcpc.script"),
    ),
    (
        "etc/profile",
        0o644,
        include_str!("../../assets/debian/profile"),
    ),
    ("etc/passwd", 0o644, "root::0:0:root:/root:/bin/sh\n"),
    ("etc/group", 0o644, "root:x:0:\n"),
    ("etc/hosts", 0o644, "127.0.0.1 localhost\n"),
    ("etc/fstab", 0o644, "/dev/xvda / ext4 rw 0 1\n"),
    (
        "var/www/index.html",
        0o644,
        include_str!("../../assets/debian/index.html"),
    ),
];
const FOLDERS: [&str; 14] = [
    "bin", "dev", "etc", "home", "lib", "mnt", "proc", "root", "run", "sbin", "sys", "tmp",
    "var/log", "var/www",
];

/// Lays the files out in `folder` and makes the image `target` of them.
///
/// # Errors
/// When files cannot be copied, or mke2fs fails.
pub fn make(packages: &Packages, folder: &Path, target: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    for name in FOLDERS {
        fs::create_dir_all(folder.join(name))?;
    }
    fs::set_permissions(folder.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    fs::copy(&packages.busybox, folder.join("bin/busybox"))?;
    applets(packages, folder)?;
    for (path, mode, text) in FILES {
        let path = folder.join(path);
        if path.is_symlink() {
            fs::remove_file(&path)?;
        }
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    let place = Path::new("lib/modules").join(&packages.version);
    copy_folder(&modules::folder(packages), &folder.join(place))?;
    image(folder, target)
}

/// Links each of busybox's applets to it.
fn applets(packages: &Packages, folder: &Path) -> Result<()> {
    let output = Command::new(&packages.busybox)
        .arg("--list-full")
        .output()
        .context("busybox")?;
    for path in String::from_utf8_lossy(&output.stdout).lines() {
        // One folder is enough, but the kernel calls /sbin/poweroff, /sbin/reboot and /sbin/modprobe by path.
        let system = path.starts_with("sbin/") || path.starts_with("usr/sbin/");
        let name = path.rsplit('/').next().unwrap_or(path);
        let link = folder.join(if system { "sbin" } else { "bin" }).join(name);
        if name != "busybox" && !link.is_symlink() {
            symlink("/bin/busybox", link)?;
        }
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let target = to.join(entry.file_name());
        if kind.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn image(folder: &Path, target: &Path) -> Result<()> {
    let file = fs::File::create(target).with_context(|| target.display().to_string())?;
    file.set_len(SIZE)?;
    let mke2fs = host::find("mke2fs").context("mke2fs is missing")?;
    let mut command = Command::new(mke2fs);
    // Tables complete from the start: a guest that finishes them in the background writes at random times.
    command.args([
        "-q",
        "-F",
        "-t",
        "ext4",
        "-m",
        "0",
        "-L",
        "debian-root",
        "-b",
        "4096",
    ]);
    command.args([
        "-E",
        "lazy_itable_init=0,lazy_journal_init=0,nodiscard,root_owner=0:0",
    ]);
    command.args([
        "-U",
        "6d696372-6f68-7600-8000-000000000001",
        "-N",
        &INODES.to_string(),
    ]);
    command.env("E2FSPROGS_FAKE_TIME", "1700000000");
    command.arg("-d").arg(folder).arg(target);
    host::quiet(&mut command)
}
