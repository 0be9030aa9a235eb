//! Fetches the Debian packages that the guest is made of, and unpacks them under `target/cache`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::host;
use crate::output::step;
use crate::paths;

/// The package whose dependency is the current cloud kernel.
const KERNEL: &str = "linux-image-cloud-amd64";
/// The guest's userland.
const BUSYBOX: &str = "busybox-static";

/// The unpacked packages.
pub struct Packages {
    /// Names of the package files: changes with every version.
    pub identity: String,
    /// The kernel's release, as `uname -r` says it.
    pub version: String,
    /// The kernel as Debian ships it.
    pub bzimage: PathBuf,
    /// A folder with `lib/modules/VERSION` in it.
    pub modules: PathBuf,
    /// The static busybox.
    pub busybox: PathBuf,
}

/// The packages, downloaded unless they are there.
///
/// # Errors
/// When apt cannot fetch them, or they hold no kernel or busybox.
pub fn get() -> Result<Packages> {
    let cache = paths::cache();
    fs::create_dir_all(&cache)?;
    let (kernel, busybox) = match (find(&cache, "linux-image-")?, find(&cache, BUSYBOX)?) {
        (Some(kernel), Some(busybox)) => (kernel, busybox),
        _ => {
            download(&cache)?;
            let missing = || format!("apt-get left no package in {}", cache.display());
            (
                find(&cache, "linux-image-")?.with_context(missing)?,
                find(&cache, BUSYBOX)?.with_context(missing)?,
            )
        }
    };
    let linux = unpack(&cache, &kernel)?;
    let userland = unpack(&cache, &busybox)?;
    let boot = linux.join("boot");
    let bzimage = find(&boot, "vmlinuz-")?.with_context(|| format!("{kernel} has no kernel"))?;
    let version = bzimage.trim_start_matches("vmlinuz-").to_owned();
    // Debian 13 moved everything below /usr.
    let place = |root: &Path, path: &str| {
        [root.join(path), root.join("usr").join(path)]
            .into_iter()
            .find(|found| found.exists())
    };
    let modules = place(&linux, &format!("lib/modules/{version}")).context("no modules")?;
    let modules = modules.ancestors().nth(3).context("no modules")?.to_owned();
    Ok(Packages {
        identity: format!("{kernel} {busybox}"),
        version,
        bzimage: boot.join(bzimage),
        modules,
        busybox: place(&userland, "bin/busybox").context("no busybox")?,
    })
}

/// The name of the first file in `folder` that starts with `prefix` and is complete.
fn find(folder: &Path, prefix: &str) -> Result<Option<String>> {
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

fn download(cache: &Path) -> Result<()> {
    host::apt_update()?;
    let output = Command::new("apt-cache")
        .args(["depends", "--important", KERNEL])
        .output()
        .context("apt-cache")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut depends = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends:"))
        .map(str::trim);
    let Some(kernel) = depends.find(|name| name.starts_with("linux-image-")) else {
        bail!("apt knows no {KERNEL}: the guest needs Debian's package sources");
    };
    step("Downloading", &format!("{kernel}, {BUSYBOX}"));
    // Into a folder of its own first: an interrupted download must not look like a package.
    let partial = cache.join("partial");
    fs::create_dir_all(&partial)?;
    host::quiet(
        Command::new("apt-get")
            .current_dir(&partial)
            .args(["download", kernel, BUSYBOX]),
    )?;
    for entry in fs::read_dir(&partial)? {
        let entry = entry?;
        fs::rename(entry.path(), cache.join(entry.file_name()))?;
    }
    Ok(())
}

/// Unpacks the package file `name` into a folder beside it.
fn unpack(cache: &Path, name: &str) -> Result<PathBuf> {
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
