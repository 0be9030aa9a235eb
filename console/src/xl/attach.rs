//! `xl block-attach`, `block-detach`, `network-attach`, `network-detach` (tools/xl/xl_block.c, xl_nic.c).

use alloc::format;
use alloc::string::ToString;

use xen_abi::DomId;
use xl_config::{Disk, Mac, Vdev, Vif};

use super::options::{Given, Known};
use super::{FAILURE, find_domain};
use crate::app::{App, Force};
use crate::guest::Device;
use crate::host::Host;

pub(super) const DETACH: Known = Known {
    letters: "f",
    long: &[("force", 'f')],
};
pub(super) const DETACH_HELP: &str =
    "-f, --force        do not wait for the domain to release the device";

/// Gives a guest a disk.
pub(super) fn block_attach<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    let Some((domain, parts)) = given.arguments.split_first() else {
        return FAILURE;
    };
    let Some(domid) = app.find(domain) else {
        app.complain(&format!("{domain} is an invalid domain identifier"));
        return FAILURE;
    };
    // The parts of a specification may come as words of their own.
    let spec = parts.join(",");
    let disk = match Disk::parse(&spec) {
        Ok(disk) => disk,
        Err(error) => {
            app.complain(&format!(
                "command line: config parsing error in disk specification: {error} in `{spec}'"
            ));
            return FAILURE;
        }
    };
    let result = app.attach_disk(domid, disk);
    end(app, result, "libxl_device_disk_add")
}

/// Takes a disk from a guest.
pub(super) fn block_detach<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    let [domain, name, ..] = given.arguments.as_slice() else {
        return FAILURE;
    };
    let Some(domid) = find_domain(app, domain) else {
        return FAILURE;
    };
    let number = Vdev::parse(name).map(|vdev| vdev.number);
    let device = device(app, domid, |device| {
        device.kind == "vbd" && Some(device.number) == number
    });
    let Some(device) = device else {
        app.complain(&format!("Error: Device {name} not connected."));
        return FAILURE;
    };
    let (force, call) = match given.has('f') {
        true => (Force::AtOnce, "libxl_device_disk_destroy"),
        false => (Force::Never, "libxl_device_disk_safe_remove"),
    };
    let result = app.detach_device(domid, &device, force);
    end(app, result, call)
}

/// Gives a guest a network interface.
pub(super) fn network_attach<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    let Some((domain, parts)) = given.arguments.split_first() else {
        return FAILURE;
    };
    let Some(domid) = find_domain(app, domain) else {
        return FAILURE;
    };
    match Vif::parse(&parts.join(",")) {
        Ok(vif) => {
            let result = app.attach_vif(domid, vif);
            end(app, result, "libxl_device_nic_add")
        }
        Err(error) => {
            app.complain(&error.to_string());
            FAILURE
        }
    }
}

/// Takes a network interface from a guest, by its number or its address.
pub(super) fn network_detach<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    let [domain, name, ..] = given.arguments.as_slice() else {
        return FAILURE;
    };
    let Some(domid) = find_domain(app, domain) else {
        return FAILURE;
    };
    let found = match Mac::parse(name) {
        Some(mac) => {
            let vifs = app.guests.get(&domid).map(|guest| guest.devices.clone());
            let mut vifs = vifs.unwrap_or_default().into_iter();
            vifs.find(|device| {
                let path = format!("{}/mac", device.backend_path());
                let theirs = app.host.store_read(&path).unwrap_or_default();
                device.kind == "vif" && Mac::parse(&theirs) == Some(mac)
            })
        }
        None => {
            let number = name.parse::<u32>().ok();
            device(app, domid, |device| {
                device.kind == "vif" && Some(device.number) == number
            })
        }
    };
    let Some(device) = found else {
        app.complain(&format!("Unknown device {name}."));
        return FAILURE;
    };
    let result = app.detach_device(domid, &device, Force::InTheEnd);
    end(app, result, "libxl_device_nic_del")
}

/// The guest's device of which `is_it` says so.
fn device<H: Host>(
    app: &App<'_, H>,
    domid: DomId,
    is_it: impl Fn(&Device) -> bool,
) -> Option<Device> {
    let guest = app.guests.get(&domid)?;
    guest.devices.iter().find(|device| is_it(device)).cloned()
}

/// Says what went wrong, as libxl and then xl do.
fn end<H: Host>(
    app: &mut App<'_, H>,
    result: Result<(), alloc::string::String>,
    call: &str,
) -> i32 {
    match result {
        Ok(()) => 0,
        Err(reason) => {
            app.complain(&reason);
            app.complain(&format!("{call} failed."));
            FAILURE
        }
    }
}
