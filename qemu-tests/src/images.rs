//! The files that machines are made of, as `cargo xtask build` leaves them.

use std::path::PathBuf;

use crate::archive::Archive;
use crate::bootdisk::Loader;

/// What a machine needs to boot its disk by itself.
#[derive(Clone, Debug)]
pub struct Firmware {
    /// The boot loader on the disk.
    pub loader: Loader,
    /// OVMF's code, the firmware of machines with UEFI.
    pub code: PathBuf,
    /// OVMF's variables as they are at first.
    pub vars: PathBuf,
}

/// The files of a machine.
#[derive(Clone, Debug)]
pub struct Images {
    /// The hypervisor, as `qemu -kernel` takes it.
    pub microhv: PathBuf,
    /// A domain that does wrong things, for scenarios.
    pub faulty: PathBuf,
    /// The boot archive's files, with the Debian guest if there is one.
    pub archive: Archive,
    /// The disk's image.
    pub disk: PathBuf,
    /// The root file system of the Debian guest, as an ext4 image.
    pub root: Option<PathBuf>,
    /// The Debian guest's kernel as Debian ships it.
    pub bzimage: Option<PathBuf>,
    /// Gets what machines need that run in Bochs; it may have to be downloaded.
    pub bochs: fn() -> anyhow::Result<PathBuf>,
    /// The same with a Bochs whose faults are mended; it may have to be built.
    pub mended_bochs: fn() -> anyhow::Result<PathBuf>,
    /// Gets what machines need that boot from their disk; it may have to be downloaded.
    pub firmware: fn() -> anyhow::Result<Firmware>,
}
