//! Volumes: partitions of the machine's disk for guests. Domain-0 has a vbd for the partition table alone (docs/disk.md); blkback
//! reads the table again whenever it serves a new disk.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use gpt_disk_types::Guid;

use super::disk::FILES;
use super::{App, DOMAIN_0_NAME};
use crate::guest::Device;
use crate::host::{Disk, Host};
use crate::partitions::{self, Opened, Partition, Table, TableError, WINDOW};

/// The partition table as a disk of Domain-0's own.
const SPEC: &str = "/dev/gpt,raw,xvdc,rw";

/// The vbd for the partition table.
pub(crate) struct Window {
    disk: Box<dyn Disk>,
    vbd: Device,
    /// Sectors of the machine's disk.
    sectors: u64,
}

/// What happens to a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is made, with so many sectors.
    Create(u64),
    /// It gets so many sectors; also fewer, if that is wanted.
    Resize(u64, bool),
    /// It goes.
    Destroy,
}

impl<H: Host> App<'_, H> {
    fn window(&mut self) -> Result<&mut Window, String> {
        if self.window.is_none() {
            let (disk, sectors, vbd) = self.own_disk(SPEC)?;
            let path = format!("{}/disk-sectors", vbd.backend_path());
            let whole = u64::try_from(self.store_number(&path)).unwrap_or(0);
            if sectors != WINDOW {
                return Err(format!("{SPEC}: {sectors} sectors instead of {WINDOW}"));
            }
            self.window = Some(Window {
                disk,
                vbd,
                sectors: whole,
            });
        }
        Ok(self.window.as_mut().ok_or("no disk")?)
    }

    /// Whether there is something to be wiped. The disk is left as it is, and if there is nothing nobody has it open then.
    pub(super) fn has_unwiped(&mut self) -> Result<bool, String> {
        let window = self.window()?;
        let table = partitions::look(window.disk.as_mut(), window.sectors);
        let unwiped = table.as_ref().is_ok_and(|table| table.unwiped().is_some());
        if !unwiped && let Some(Window { disk, vbd, .. }) = self.window.take() {
            self.disconnect(&vbd, disk);
        }
        table.map_err(|error| error.to_string())?;
        Ok(unwiped)
    }

    /// The partition table; a damaged copy is mended, which is said.
    pub(crate) fn open_table(&mut self) -> Result<Table, String> {
        let window = self.window()?;
        let opened = partitions::open(window.disk.as_mut(), window.sectors);
        let Opened { table, mended } = opened.map_err(|error| error.to_string())?;
        if let Some(what) = mended {
            let line = format!("{what}: it was made anew from the other one");
            self.say(&line);
            self.log_line("hypervisor.log", &format!("Domain-0: {line}"));
        }
        Ok(table)
    }

    /// Changes a volume, in the table on the disk.
    pub(crate) fn change_volume(&mut self, name: &str, change: Change) -> Result<(), String> {
        if change == Change::Destroy {
            self.stop_wiping(name);
        }
        let mut table = self.open_table()?;
        let text = |error: TableError| error.to_string();
        let unique = self.unique();
        match change {
            Change::Create(sectors) => table.create(name, sectors, unique).map_err(text)?,
            Change::Resize(sectors, forced) => {
                self.check_unused(&table.volume(name).map_err(text)?)?;
                let resized = table.resize(name, sectors, forced, unique);
                resized.map_err(text)?;
            }
            Change::Destroy => {
                match table.volume(name) {
                    Ok(volume) => self.check_unused(&volume)?,
                    // Nobody gets that.
                    Err(TableError::Unwiped) => {}
                    Err(error) => return Err(text(error)),
                }
                table.destroy(name).map_err(text)?;
            }
        }
        self.store_table(&table)
    }

    /// Writes a changed table.
    pub(super) fn store_table(&mut self, table: &Table) -> Result<(), String> {
        let window = self.window.as_mut().ok_or("no disk")?;
        partitions::store(window.disk.as_mut(), table).map_err(|error| error.to_string())
    }

    /// A partition's own number.
    fn unique(&mut self) -> Guid {
        let random = [self.host.random(), self.host.random()];
        let mut bytes = [0; 16];
        let random = random.iter().flat_map(|number| number.to_le_bytes());
        for (to, from) in bytes.iter_mut().zip(random) {
            *to = from;
        }
        Guid::from_random_bytes(bytes)
    }

    fn check_unused(&mut self, volume: &Partition) -> Result<(), String> {
        let users = self.users(volume);
        match users.is_empty() {
            true => Ok(()),
            false => Err(format!("volume is busy: {} has it", users.join(", "))),
        }
    }

    /// Names of the domains that have a partition, or the whole disk.
    pub(crate) fn users(&mut self, volume: &Partition) -> Vec<String> {
        let by_name = format!("/dev/gpt/{}", volume.name);
        // As blkback reads them: a number may have zeros before it.
        let has = |params: &str| match params.strip_prefix("/dev/vd0p") {
            Some(number) => number.parse() == Ok(volume.number),
            None => params == by_name || params == "/dev/vd0",
        };
        let devices = self.guests.values().flat_map(|guest| {
            let disks = guest.devices.iter().filter(|device| device.kind == "vbd");
            disks.map(|device| (guest.name.clone(), device.backend_path()))
        });
        let devices: Vec<_> = devices.collect();
        let mut users: Vec<String> = devices
            .into_iter()
            .filter(|(_, back)| {
                let params = self.host.store_read(&format!("{back}/params"));
                params.is_ok_and(|params| has(&params))
            })
            .map(|(name, _)| name)
            .collect();
        if by_name == FILES && self.book.volume.is_some() {
            users.push(DOMAIN_0_NAME.to_string());
        }
        users.dedup();
        users
    }
}
