//! A guest's disks and network interfaces: from a configuration to xenstore, and their beginning and end at the backend.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use xen_abi::DomId;
use xl_config::{Disk, DomainConfig, Mac, Vif};

use super::App;
use super::boot::{BLKBACK, BRIDGE, BRIDGE_NAME};
use crate::guest::{Device, Entry, vbd_entries, vif_entries};
use crate::host::Host;

/// A backend has this long to take up a new device (libxl: `LIBXL_INIT_TIMEOUT`).
const BACKEND_WAIT: u64 = 10_000_000_000;
/// Xenbus states.
const INIT_WAIT: i64 = 2;
const CONNECTED: i64 = 4;
const CLOSING: i64 = 5;

/// A device with what xenstore says of it.
pub(super) type Described = (Device, Vec<Entry>);

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
            if devices.iter().any(|(other, _)| *other == vbd.0) {
                return Err(format!("disk {} is there twice", disk.vdev));
            }
            devices.push(vbd);
        }
        let mut next = 0;
        for vif in &config.vifs {
            let taken = |devices: &[Described], number| {
                devices
                    .iter()
                    .any(|(other, _)| other.kind == "vif" && other.number == number)
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
        let entries = vbd_entries(&vbd, disk, bootable);
        Ok((vbd, entries))
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
        let entries = vif_entries(&device, vif, mac, bridge, false);
        Ok((device, entries))
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
