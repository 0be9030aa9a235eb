//! The Debian packages that the guest is made of.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::apt;

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
    let [kernel, busybox] = apt::get(["linux-image-", BUSYBOX], || {
        Ok(vec![current_kernel()?, BUSYBOX.to_owned()])
    })?;
    let linux = apt::unpack(&kernel)?;
    let userland = apt::unpack(&busybox)?;
    let boot = linux.join("boot");
    let bzimage =
        apt::find(&boot, "vmlinuz-")?.with_context(|| format!("{kernel} has no kernel"))?;
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

/// The name of the package with Debian's current cloud kernel.
fn current_kernel() -> Result<String> {
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
    Ok(kernel.to_owned())
}
