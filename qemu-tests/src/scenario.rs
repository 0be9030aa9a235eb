//! What a scenario is and what it gets to work with.

use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::archive::Archive;
use crate::images::Images;
use crate::machine::bochs;
use crate::machine::qemu::{Iommu, Machine};
use crate::machine::serial::Running;

/// After this long something hangs: it says nothing about speed, machines are noisy.
pub const HANG: Duration = Duration::from_secs(300);

/// A user's story about a machine, told by a function that fails when the story is not true.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// What is claimed, in a few words.
    pub name: &'static str,
    /// Whether it needs the Debian guest's files.
    pub debian: bool,
    /// The story.
    pub play: fn(&Stage) -> Result<()>,
}

/// What machines are made of.
#[derive(Clone, Debug)]
pub struct Emulator {
    /// The QEMU binary.
    pub qemu: OsString,
    /// The IOMMU of a machine that does not ask for a certain one.
    pub iommu: Iommu,
    /// The host's CPU executes the machine's instructions.
    pub kvm: bool,
}

/// Where a scenario is played: the images, and a folder of its own.
#[derive(Debug)]
pub struct Stage<'a> {
    images: &'a Images,
    emulator: Emulator,
    iommu: Cell<Iommu>,
    folder: PathBuf,
    logs: RefCell<Vec<PathBuf>>,
}

impl<'a> Stage<'a> {
    /// A stage for one scenario; `folder` is emptied first.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new(images: &'a Images, emulator: Emulator, folder: PathBuf) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        Ok(Self {
            images,
            iommu: Cell::new(emulator.iommu),
            emulator,
            folder,
            logs: RefCell::default(),
        })
    }

    /// From now on machines have this IOMMU unless they ask for another.
    pub fn with_iommu(&self, iommu: Iommu) -> &Self {
        self.iommu.set(iommu);
        self
    }

    /// The files that `cargo xtask build` made.
    #[must_use]
    pub fn images(&self) -> &Images {
        self.images
    }

    /// The QEMU binary.
    #[must_use]
    pub fn qemu(&self) -> &OsString {
        &self.emulator.qemu
    }

    /// The scenario's own folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The console logs of the machines started so far.
    #[must_use]
    pub fn logs(&self) -> Vec<PathBuf> {
        self.logs.borrow().clone()
    }

    /// The default boot archive without guests, and with a prompt that shows exit codes.
    ///
    /// # Errors
    /// When it has no loader.conf.
    pub fn archive(&self) -> Result<Archive> {
        let mut archive = self.images.archive.clone();
        archive
            .remove("boot/debian/vmlinux")
            .remove("boot/debian/initrd")
            .remove("etc/xen/auto/debian.cfg");
        archive.edit("boot/loader.conf", |text| {
            text + "console_cmdline=\"prompt_status\"\n"
        })?;
        Ok(archive)
    }

    /// The default machine with disk and NIC; nothing that is written to the disk stays.
    #[must_use]
    pub fn machine(&self) -> Machine {
        let mut machine = Machine::new(&self.images.microhv);
        machine.qemu.clone_from(&self.emulator.qemu);
        machine.iommu = self.iommu.get();
        machine.kvm = self.emulator.kvm;
        machine.disk = Some(self.images.disk.clone());
        machine.snapshot = true;
        machine.nic = Some(Vec::new());
        machine
    }

    /// Boots `machine` with `archive`.
    ///
    /// # Errors
    /// When the archive cannot be written or QEMU does not start.
    pub fn boot(&self, mut machine: Machine, archive: &Archive) -> Result<Running> {
        let number = self.logs.borrow().len() + 1;
        let tar = self.folder.join(format!("boot-{number}.tar"));
        archive.write(&tar)?;
        machine.archive = Some(tar);
        self.start(&machine)
    }

    /// Starts `machine` as it is.
    ///
    /// # Errors
    /// When QEMU does not start.
    pub fn start(&self, machine: &Machine) -> Result<Running> {
        if let Some(disk) = machine.disk.as_ref().filter(|_| !machine.snapshot) {
            // It was made just now: else the machine's first flush would write all of it to the host's disk, and wait.
            File::open(disk)?.sync_all()?;
        }
        Running::start(machine, &self.new_log(), false)
    }

    /// Starts `machine` in Bochs.
    ///
    /// # Errors
    /// When Bochs does not start.
    pub fn start_bochs(&self, machine: &bochs::Machine) -> Result<Running> {
        Running::start_bochs(machine, &self.new_log(), false)
    }

    /// A file for the console of the next machine.
    fn new_log(&self) -> PathBuf {
        let mut logs = self.logs.borrow_mut();
        let log = self.folder.join(format!("console-{}.log", logs.len() + 1));
        logs.push(log.clone());
        log
    }

    /// Boots the default machine with `archive` and waits for the prompt.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn boot_to_prompt(&self, archive: &Archive) -> Result<Running> {
        let mut running = self.boot(self.machine(), archive)?;
        running.wait_prompt(HANG)?;
        Ok(running)
    }
}
