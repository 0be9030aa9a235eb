//! The Debian guest: its unmodified kernel from Debian's package, a small initrd, and a root file system.

mod initrd;
mod modules;
mod packages;
mod rootfs;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::output::step;
use crate::{elf, host, paths};

/// The guest's xl.cfg, started by Domain-0 at boot.
pub const CONFIG: &str = include_str!("../../assets/debian/debian.cfg");
/// The name of the partition with its root file system.
pub const VOLUME: &str = "debian-root";
/// Bumped when the recipe changes, so that images made by an older xtask are made again.
const RECIPE: &str = concat!(
    include_str!("../../assets/debian/init"),
    include_str!("../../assets/debian/shells"),
    include_str!("../../assets/debian/initrd-init"),
    include_str!("../../assets/debian/udhcpc.script"),
    include_str!("../../assets/debian/profile"),
    include_str!("../../assets/debian/index.html"),
    "recipe 3",
);

/// The guest's files on the host.
pub struct Guest {
    /// The kernel as an ELF file with a PVH note.
    pub vmlinux: PathBuf,
    /// The uncompressed initramfs: unpacking it is a copy.
    pub initrd: PathBuf,
    /// An ext4 image of the root file system.
    pub root: PathBuf,
    /// The kernel as Debian ships it, to try the rest on a plain QEMU machine.
    pub bzimage: PathBuf,
}

/// Gets or makes the guest's files; does nothing when they are there.
///
/// # Errors
/// When packages cannot be fetched or a tool fails.
pub fn guest() -> Result<Guest> {
    let folder = paths::image().join("debian");
    let guest = Guest {
        vmlinux: folder.join("vmlinux"),
        initrd: folder.join("initrd"),
        root: folder.join("root.ext4"),
        bzimage: folder.join("bzImage"),
    };
    let packages = packages::get()?;
    let stamp = folder.join("stamp");
    let want = format!("{}\n{RECIPE}", packages.identity);
    if fs::read_to_string(&stamp).is_ok_and(|have| have == want) {
        return Ok(guest);
    }
    host::ensure(&host::TOOLS)?;
    step(
        "Making",
        &format!("the Debian guest, Linux {}", packages.version),
    );
    fs::create_dir_all(&folder)?;
    let compressed = fs::read(&packages.bzimage)?;
    fs::write(&guest.bzimage, &compressed)?;
    let vmlinux =
        bzimage::unpack(&compressed).with_context(|| packages.bzimage.display().to_string())?;
    fs::write(&guest.vmlinux, elf::strip(&vmlinux)?)?;
    modules::prepare(&packages)?;
    initrd::make(&packages, &guest.initrd)?;
    rootfs::make(&packages, &folder.join("root"), &guest.root)?;
    fs::write(&stamp, want)?;
    for file in [&guest.vmlinux, &guest.initrd, &guest.root] {
        step(
            "Made",
            &format!("{} ({} MiB)", file.display(), size(file)? >> 20),
        );
    }
    Ok(guest)
}

/// Bytes of `file` that are really on the disk (images are sparse).
fn size(file: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(fs::metadata(file)?.blocks() * 512)
}
