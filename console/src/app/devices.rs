//! A guest's disks and network interfaces: from a configuration to xenstore, and their beginning and end at the backend.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use xen_abi::{DomId, Errno};
use xl_config::disk::Format;
use xl_config::{Disk, DomainConfig, Mac, Vif};

use super::App;
use super::boot::{BLKBACK, BRIDGE, BRIDGE_NAME};
use super::disk::FILES;
use crate::archive::plain;
use crate::guest::{Device, Entry, extent_entries, vbd_entries, vif_entries};
use crate::host::Host;
use crate::volume::FileExtents;

/// A backend has this long to take up a new device (libxl: `LIBXL_INIT_TIMEOUT`).
const BACKEND_WAIT: u64 = 10_000_000_000;
/// Xenbus states.
const INIT_WAIT: i64 = 2;
const CONNECTED: i64 = 4;
const CLOSING: i64 = 5;

/// A device with what xenstore says of it.
pub(super) struct Described {
    pub device: Device,
    pub entries: Vec<Entry>,
    /// The file that a disk is made of.
    pub file: Option<FileExtents>,
}

impl<H: Host> App<'_, H> {
    /// The devices of `config` for domain `domid`.
    pub(super) fn devices(
        &mut self,
        config: &DomainConfig,
        domid: DomId,
    ) -> Result<Vec<Described>, String> {
        let mut devices: Vec<Described> = Vec::new();
        for (index, disk) in config.disks.iter().enumerate() {
            let vbd = self.disk_device(domid, disk, index == 0)?;
            if devices.iter().any(|other| other.device == vbd.device) {
                return Err(format!("disk {} is there twice", disk.vdev));
            }
            devices.push(vbd);
        }
        let mut next = 0;
        for vif in &config.vifs {
            let taken = |devices: &[Described], number| {
                let mut others = devices.iter().map(|other| &other.device);
                others.any(|other| other.kind == "vif" && other.number == number)
            };
            while taken(&devices, next) {
                next += 1;
            }
            let number = vif.devid.unwrap_or(next);
            if taken(&devices, number) {
                return Err(format!("vif {number} is there twice"));
            }
            devices.push(self.vif_device(domid, vif, number)?);
        }
        Ok(devices)
    }

    /// A disk of domain `domid`; its guest boots from it if `bootable`.
    pub(super) fn disk_device(
        &mut self,
        domid: DomId,
        disk: &Disk,
        bootable: bool,
    ) -> Result<Described, String> {
        let vbd = Device {
            kind: "vbd",
            number: disk.number.number,
            frontend: domid,
            backend: self.backend(disk.backend.as_deref(), BLKBACK)?,
        };
        let name = &disk.vdev;
        match (disk.format, &disk.target) {
            (Format::Raw, Some(target)) if disk.is_file() => {
                let file = self
                    .locate(target)
                    .map_err(|error| format!("disk {name}: {target}: {error}"))?;
                let mut entries = extent_entries(&vbd, FILES, &file.ranges);
                // Those of the disk end with its state.
                entries.extend(vbd_entries(&vbd, disk, bootable));
                Ok(Described {
                    device: vbd,
                    entries,
                    file: Some(file),
                })
            }
            (Format::Raw, Some(_)) => Ok(Described {
                entries: vbd_entries(&vbd, disk, bootable),
                device: vbd,
                file: None,
            }),
            (Format::Empty, _) | (_, None) => Err(format!(
                "disk {name}: drives without a medium are not supported"
            )),
            _ => Err(format!("disk {name}: only raw images are supported")),
        }
    }

    /// Network interface `number` of domain `domid`.
    pub(super) fn vif_device(
        &mut self,
        domid: DomId,
        vif: &Vif,
        number: u32,
    ) -> Result<Described, String> {
        let backend = self.backend(vif.backend.as_deref(), BRIDGE)?;
        let bridge = vif.bridge.as_deref().unwrap_or(BRIDGE_NAME);
        if bridge != BRIDGE_NAME {
            return Err(format!("there is no bridge '{bridge}', only {BRIDGE_NAME}"));
        }
        let device = Device {
            kind: "vif",
            number,
            frontend: domid,
            backend,
        };
        let mac = vif
            .mac
            .unwrap_or_else(|| Mac::in_xens_range(self.host.random() as u32));
        Ok(Described {
            entries: vif_entries(&device, vif, mac, bridge, false),
            device,
            file: None,
        })
    }

    /// Writes what xenstore says of a device, which the guest has from now on, whatever comes of it.
    pub(super) fn describe(&mut self, described: Described) -> Result<(), Errno> {
        let Described {
            device,
            entries,
            file,
        } = described;
        if let (Some(file), Some(volume)) = (file, &self.book.volume) {
            volume.hold(&file);
            self.book.held.push((device.clone(), file));
        }
        if let Some(guest) = self.guests.get_mut(&device.frontend) {
            guest.devices.push(device);
        }
        self.host.store_apply(&entries)
    }

    /// How many times a file of Domain-0's is somebody's disk.
    #[must_use]
    pub fn files_held(&self) -> usize {
        self.book.held.len()
    }

    /// Where a file on Domain-0's disk is.
    fn locate(&self, path: &str) -> Result<FileExtents, String> {
        let volume = self.book.volume.as_ref();
        let volume = volume.ok_or_else(|| "Domain-0 has no disk with files".to_string())?;
        volume
            .extents(plain(path))
            .map_err(|error| error.to_string())
    }

    /// Waits until the backend has taken up a device.
    pub(super) fn wait_for_backend(&mut self, device: &Device) -> Result<(), String> {
        let back = device.backend_path();
        let what = format!("{} {}", device.kind, device.number);
        let deadline = self.host.now().saturating_add(BACKEND_WAIT);
        // A backend that cannot serve the device closes it and says why, as libxl's hotplug scripts do.
        let path = format!("{back}/state");
        let state = self.wait_for(&path, deadline, |state| state >= INIT_WAIT);
        if (INIT_WAIT..=CONNECTED).contains(&state) {
            return Ok(());
        }
        let backend = self.name_of(device.backend);
        let error = self.host.store_read(&format!("{back}/hotplug-error"));
        if let Ok(error) = error {
            Err(format!("{backend} refuses {what}: {error}"))
        } else if state > CONNECTED {
            Err(format!("{backend} refuses {what} (state {state})"))
        } else {
            Err(format!("{backend} did not take up {what} within 10 s"))
        }
    }

    /// Asks the backend to let go of a device: at once if `forced`, else when its frontend has. `false` if it serves it no
    /// more.
    pub(super) fn take_away(&mut self, device: &Device, forced: bool) -> bool {
        let back = device.backend_path();
        let state = self.store_number(&format!("{back}/state"));
        if state < 0 {
            return false;
        }
        let _ = self.host.store_write(&format!("{back}/online"), "0");
        if forced {
            // A frontend that is gone is not waited for (libxl: `LIBXL__FORCE_ON`).
            self.remove_node(&device.frontend_path());
        }
        // A backend that has closed the device already is not to be told again.
        if state < CLOSING {
            let path = format!("{back}/state");
            let _ = self.host.store_write(&path, &format!("{CLOSING}"));
        }
        true
    }

    /// Removes all that the store says of a device; the folders that it was in too, if it was the `last` of its kind.
    pub(super) fn forget_device(&mut self, device: &Device, last: bool) {
        let held = self.book.held.iter().position(|(other, _)| other == device);
        if let Some((_, file)) = held.map(|place| self.book.held.swap_remove(place))
            && let Some(volume) = &self.book.volume
        {
            volume.let_go(&file);
        }
        let (front, back, record) = (
            device.frontend_path(),
            device.backend_path(),
            device.record_path(),
        );
        let error = back.replacen("/backend/", "/error/backend/", 1);
        for path in [front, back, record, error] {
            // Linux's frontends look at the device's own node.
            self.remove_node(&path);
            if let Some((folder, _)) = path.rsplit_once('/').filter(|_| last) {
                self.remove_node(folder);
            }
        }
    }
}
