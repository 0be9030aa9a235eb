//! Devices that come and go while their guest runs.

use alloc::format;
use alloc::string::{String, ToString};

use xen_abi::DomId;
use xl_config::{Disk, Vif};

use super::App;
use super::devices::Described;
use crate::guest::Device;
use crate::host::Host;

/// Frontend and backend have this long to let go of a device (libxl: `LIBXL_DESTROY_TIMEOUT`).
const DETACH_WAIT: u64 = 10_000_000_000;
/// The xenbus state of a device that is not in use any more.
const CLOSED: i64 = 6;

/// What to do with a frontend that does not let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Force {
    /// The device stays.
    Never,
    /// It is taken away from it.
    InTheEnd,
    /// It is not asked.
    AtOnce,
}

impl<H: Host> App<'_, H> {
    /// Gives a guest one more disk; it has it again when it is restarted.
    pub(crate) fn attach_disk(&mut self, domid: DomId, disk: Disk) -> Result<(), String> {
        self.may_have_devices(domid)?;
        let described = self.disk_device(domid, &disk, false)?;
        self.attach_device(domid, described)?;
        if let Some(config) = self.config_of(domid) {
            config.disks.push(disk);
        }
        Ok(())
    }

    /// Gives a guest one more network interface; it has it again when it is restarted.
    pub(crate) fn attach_vif(&mut self, domid: DomId, mut vif: Vif) -> Result<(), String> {
        self.may_have_devices(domid)?;
        // libxl's way: one more than the highest.
        let numbers = self.guests.get(&domid).map(|guest| {
            let vifs = guest.devices.iter().filter(|device| device.kind == "vif");
            vifs.map(|device| device.number.saturating_add(1)).max()
        });
        let number = vif.devid.or(numbers.flatten()).unwrap_or(0);
        vif.devid = Some(number);
        let described = self.vif_device(domid, &vif, number)?;
        self.attach_device(domid, described)?;
        if let Some(config) = self.config_of(domid) {
            config.vifs.push(vif);
        }
        Ok(())
    }

    fn may_have_devices(&self, domid: DomId) -> Result<(), String> {
        if self.is_guest(domid) {
            return Ok(());
        }
        let name = self.name_of(domid);
        Err(format!("{name} is no guest: its devices are fixed"))
    }

    fn config_of(&mut self, domid: DomId) -> Option<&mut xl_config::DomainConfig> {
        self.guests.get_mut(&domid)?.config.as_mut()
    }

    /// Describes a device in the store and waits for its backend. Nothing is left of one that fails.
    fn attach_device(&mut self, domid: DomId, described: Described) -> Result<(), String> {
        let device = described.device.clone();
        let back = device.backend_path();
        if self.store_number(&format!("{back}/state")) >= 0 {
            return Err("device already exists in xenstore".to_string());
        }
        let name = self.name_of(domid);
        let written = self.describe(described);
        let written = written.map_err(|errno| format!("xenstore: {errno}"));
        let taken = written.and_then(|()| self.wait_for_backend(&device));
        let what = format!("{} {}", device.kind, device.number);
        match &taken {
            Ok(()) => self.log_life(&name, &format!("{what} attached ({back})")),
            Err(reason) => {
                self.log_life(&name, &format!("{what} not attached: {reason}"));
                self.drop_device(domid, &device);
            }
        }
        taken
    }

    /// Takes a device from a guest.
    pub(crate) fn detach_device(
        &mut self,
        domid: DomId,
        device: &Device,
        force: Force,
    ) -> Result<(), String> {
        self.may_have_devices(domid)?;
        let name = self.name_of(domid);
        let what = format!("{} {}", device.kind, device.number);
        let mut released = self.release(device, force == Force::AtOnce);
        if !released && force == Force::InTheEnd {
            released = self.release(device, true);
        }
        if !released && force == Force::Never {
            let back = device.backend_path();
            let reason = format!("unable to remove device with path {back}: the guest holds it");
            self.log_life(&name, &format!("{what} not detached: {reason}"));
            return Err(reason);
        }
        self.drop_device(domid, device);
        if let Some(config) = self.config_of(domid) {
            match device.kind {
                "vbd" => config
                    .disks
                    .retain(|disk| disk.number.number != device.number),
                _ => {
                    // Numbers that nobody chose are given in order.
                    let place = config
                        .vifs
                        .iter()
                        .zip(0..)
                        .position(|(vif, index)| vif.devid.unwrap_or(index) == device.number);
                    place.map(|place| config.vifs.remove(place));
                }
            }
        }
        self.log_life(&name, &format!("{what} detached"));
        Ok(())
    }

    /// Has the backend let go of a device. Whether it did in time.
    fn release(&mut self, device: &Device, forced: bool) -> bool {
        if !self.take_away(device, forced) {
            return true;
        }
        let deadline = self.host.now().saturating_add(DETACH_WAIT);
        let path = format!("{}/state", device.backend_path());
        let state = self.wait_for(&path, deadline, |state| state == CLOSED || state < 0);
        state == CLOSED || state < 0
    }

    /// Forgets a device, in the store and here.
    fn drop_device(&mut self, domid: DomId, device: &Device) {
        let mut last = true;
        if let Some(guest) = self.guests.get_mut(&domid) {
            guest.devices.retain(|other| other != device);
            last = guest.devices.iter().all(|other| other.kind != device.kind);
        }
        self.forget_device(device, last);
    }
}
