//! `bootloader="pygrub"`: Domain-0 attaches the guest's disk to itself, read-only, and takes the kernel from it.

use alloc::format;
use alloc::string::String;

use xl_config::{Disk, DomainConfig, Vdev};

use super::devices::Described;
use super::{App, DOMAIN_0};
use crate::bootloader::{Shared, Wish, boot_of, file_of, files_of};
use crate::guest::{Device, Entry, Kernel};
use crate::host::Host;

/// What the disk is called here.
const VDEV: &str = "xvdb";

/// A guest's disk that Domain-0 reads. To be given back, whatever comes.
pub(super) struct Lent {
    vbd: Device,
    disk: Option<Shared>,
}

impl<H: Host> App<'_, H> {
    /// The kernel on the guest's disk, with what has to be given back once it is read.
    pub(super) fn kernel_on_disk(
        &mut self,
        config: &DomainConfig,
    ) -> Result<(Kernel<'static>, Lent), String> {
        let program = config.bootloader.as_deref().unwrap_or_default();
        if program.rsplit('/').next() != Some("pygrub") {
            return Err(format!(
                "there is no bootloader {program:?}, only \"pygrub\""
            ));
        }
        let guests = config.disks.iter().find(|disk| !disk.cdrom);
        let guests = guests.ok_or("bootloader: the guest has no disk")?;
        let target = guests.target.as_deref().unwrap_or_default();
        let failed =
            |reason: String| format!("bootloader: disk {} ({target}): {reason}", guests.vdev);
        let wish = Wish {
            entry: entry_of(&config.bootloader_args)?,
            cmdline: config.cmdline.clone(),
            vdev: guests.vdev.clone(),
        };
        let own = Disk {
            number: Vdev::parse(VDEV).ok_or("no number")?,
            writable: false,
            ..guests.clone()
        };
        let Described {
            device, entries, ..
        } = self.disk_device(DOMAIN_0, &own, true).map_err(failed)?;
        let mut lent = Lent {
            vbd: device,
            disk: None,
        };
        self.lent = true;
        match self.look(&mut lent, &entries, &wish, &config.name) {
            Ok(kernel) => Ok((kernel, lent)),
            Err(reason) => {
                self.give_back(lent);
                Err(failed(reason))
            }
        }
    }

    fn look(
        &mut self,
        lent: &mut Lent,
        entries: &[Entry],
        wish: &Wish,
        name: &str,
    ) -> Result<Kernel<'static>, String> {
        let (disk, sectors) = self.connect_vbd(&lent.vbd, entries)?;
        let disk = lent.disk.insert(Shared::new(disk, sectors)).clone();
        let boot = boot_of(&disk, wish)?;
        let entry = &boot.entry;
        self.log_life(
            name,
            &format!(
                "bootloader: {}: {:?}: kernel {}, ramdisk {}, command line {:?}",
                boot.found,
                entry.title,
                entry.kernel,
                entry.initrds.join(" "),
                entry.cmdline
            ),
        );
        let kernel = Kernel {
            image: file_of(&boot.files, &entry.kernel)?,
            ramdisk: files_of(&boot.files, &entry.initrds)?,
            cmdline: entry.cmdline.clone(),
        };
        disk.end_search();
        Ok(kernel)
    }

    /// Detaches a guest's disk: the guest gets it only when nobody else has it.
    pub(super) fn give_back(&mut self, lent: Lent) {
        let Lent { vbd, disk } = lent;
        self.disconnect(&vbd, disk);
        self.lent = false;
    }
}

/// The entry that `bootloader_args` ask for.
fn entry_of(arguments: &[String]) -> Result<Option<String>, String> {
    let mut entry = None;
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        entry = match argument.strip_prefix("--entry") {
            Some("") => arguments.next().cloned(),
            Some(rest) if rest.starts_with('=') => rest.get(1..).map(String::from),
            _ if argument == "-q" || argument == "--quiet" => entry,
            _ => {
                return Err(format!(
                    "bootloader_args: {argument:?} is not there, only \"--entry=NUMBER\" and \"--entry=TITLE\""
                ));
            }
        };
    }
    Ok(entry)
}
