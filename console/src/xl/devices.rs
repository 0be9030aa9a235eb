//! `xl network-list` and `xl block-list`.

use alloc::format;
use alloc::vec::Vec;

use xen_abi::DomId;

use super::options::Given;
use super::{FAILURE, find_domain};
use crate::app::App;
use crate::guest::Device;
use crate::host::Host;

/// Prints the interfaces of domains.
pub(super) fn network_list<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    app.say(&format!(
        "{:<3} {:<2} {:<17} {:<6} {:<5} {:<6} {:>5}/{:<5} {:<30}",
        "Idx", "BE", "Mac Addr.", "handle", "state", "evt-ch", "tx-", "rx-ring-ref", "BE-path"
    ));
    let mut list = Vec::new();
    for word in &given.arguments {
        match find_domain(app, word) {
            Some(domid) => list.extend(devices(app, domid, "vif")),
            None => return FAILURE,
        }
    }
    for device in list {
        let front = device.frontend_path();
        // The backend's half: the guest can write anything into its own.
        let mac = format!("{}/mac", device.backend_path());
        let mac = app.host.store_read(&mac).unwrap_or_default();
        let state = app.store_number(&format!("{front}/state"));
        // A frontend with several queues has a directory for each; the first stands for all.
        let queue = if app.store_number(&format!("{front}/queue-0/tx-ring-ref")) >= 0 {
            format!("{front}/queue-0")
        } else {
            front
        };
        let mut port = app.store_number(&format!("{queue}/event-channel"));
        if port < 0 {
            port = app.store_number(&format!("{queue}/event-channel-tx"));
        }
        let tx = app.store_number(&format!("{queue}/tx-ring-ref"));
        let rx = app.store_number(&format!("{queue}/rx-ring-ref"));
        app.say(&format!(
            "{:<3} {:<2} {mac:<17}{:>6} {state:>5} {port:>6} {tx:>5}/{rx:<11} {:<30}",
            device.number,
            device.backend,
            device.number,
            device.backend_path()
        ));
    }
    0
}

/// Prints the disks of domains.
pub(super) fn block_list<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    app.say(&format!(
        "{:<5} {:<3} {:<6} {:<5} {:<6} {:<8} {:<30}",
        "Vdev", "BE", "handle", "state", "evt-ch", "ring-ref", "BE-path"
    ));
    let mut list = Vec::new();
    for word in &given.arguments {
        match app.find(word) {
            Some(domid) => list.extend(devices(app, domid, "vbd")),
            // As xl does: the others are listed all the same.
            None => app.say(&format!("{word} is an invalid domain identifier")),
        }
    }
    for device in list {
        let front = device.frontend_path();
        let state = app.store_number(&format!("{front}/state"));
        let queue = if app.store_number(&format!("{front}/queue-0/event-channel")) >= 0 {
            format!("{front}/queue-0")
        } else {
            front
        };
        let port = app.store_number(&format!("{queue}/event-channel"));
        let mut ring = app.store_number(&format!("{queue}/ring-ref"));
        if ring < 0 {
            ring = app.store_number(&format!("{queue}/ring-ref0"));
        }
        app.say(&format!(
            "{:<5} {:<3} {:<6} {state:<5} {port:<6} {ring:<8} {:<30}",
            device.number,
            device.backend,
            device.frontend,
            device.backend_path()
        ));
    }
    0
}

/// A domain's devices of one kind.
fn devices<H: Host>(app: &App<'_, H>, domid: DomId, kind: &str) -> Vec<Device> {
    let devices = app.guests.get(&domid).map(|guest| guest.devices.iter());
    let devices = devices.into_iter().flatten();
    devices
        .filter(|device| device.kind == kind)
        .cloned()
        .collect()
}
