//! The Debian guest's root file system in a few MiB: for disks that lie in memory, and for machines that read slowly.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Of the kernel's modules only this one is needed behind the initrd.
const MODULE: &str = "kernel/drivers/net/xen-netfront.ko";
/// Bytes of the file system: what is in it takes less than half.
pub const SIZE: u64 = 24 << 20;

/// Makes the file `target` a file system with the files of the folder `root`, without the kernel's modules. `folder` is for
/// what is needed meanwhile.
///
/// # Errors
/// When files cannot be copied or the file system not be made.
pub fn make(root: &Path, folder: &Path, target: &Path) -> Result<()> {
    let copy = folder.join("small-root");
    if copy.exists() {
        fs::remove_dir_all(&copy)?;
    }
    fs::create_dir_all(copy.join("lib"))?;
    take(root, &copy, "lib")?;
    take(&root.join("lib"), &copy.join("lib"), "modules")?;
    let modules = root.join("lib/modules");
    for version in fs::read_dir(&modules).with_context(|| modules.display().to_string())? {
        let version = version?;
        let to = copy.join("lib/modules").join(version.file_name());
        let file = to.join(MODULE);
        fs::create_dir_all(file.parent().unwrap_or(&to))?;
        fs::copy(version.path().join(MODULE), file)?;
        fs::copy(version.path().join("modules.dep"), to.join("modules.dep"))?;
    }
    fs::File::create(target)?.set_len(SIZE)?;
    let mut command = Command::new("/usr/sbin/mke2fs");
    command.args(["-q", "-F", "-t", "ext4", "-m", "0", "-L", "debian-root"]);
    command.args([
        "-E",
        "lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0",
    ]);
    run(command.arg("-d").arg(&copy).arg(target))?;
    Ok(fs::remove_dir_all(copy)?)
}

/// Copies everything in the folder `from`, except `without`, into the folder `to`.
fn take(from: &Path, to: &Path, without: &str) -> Result<()> {
    let mut command = Command::new("cp");
    command.arg("-a");
    let entries = fs::read_dir(from).with_context(|| from.display().to_string())?;
    let mut some = false;
    for entry in entries {
        let entry = entry?;
        if entry.file_name() != without {
            command.arg(entry.path());
            some = true;
        }
    }
    if some { run(command.arg(to)) } else { Ok(()) }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} ended with {}: {said}", output.status);
    }
    Ok(())
}
