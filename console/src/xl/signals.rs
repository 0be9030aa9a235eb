//! `xl trigger` and `xl sysrq`: small messages to a guest.

use alloc::format;
use alloc::string::String;

use xen_abi::Errno;
use xen_abi::domctl::XEN_DOMCTL_SENDTRIGGER_NMI;

use super::options::Given;
use super::{FAILURE, describe_named, find_domain};
use crate::app::App;
use crate::host::Host;

/// Sends an NMI to a vCPU. The other triggers are known and refused: unlike xl, with exit code 1.
pub(super) fn trigger<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    let [domain, name, rest @ ..] = given.arguments.as_slice() else {
        return FAILURE;
    };
    let Some(domid) = find_domain(app, domain) else {
        return FAILURE;
    };
    let lacking = match name.to_ascii_lowercase().as_str() {
        "nmi" => None,
        "power" => {
            Some("a PVH guest has no ACPI power button; xl shutdown asks it through xenstore")
        }
        "sleep" | "s3resume" => Some("a PVH guest has no ACPI sleep states"),
        "reset" => Some("a PVH guest has no reset button; xl reboot asks it through xenstore"),
        "init" => Some("INIT would leave a vCPU that nobody starts again"),
        _ => {
            app.complain(&format!("Invalid trigger \"{name}\""));
            return FAILURE;
        }
    };
    if let Some(lacking) = lacking {
        app.complain(&format!(
            "libxl: error: Domain {domid}:Send trigger '{name}' failed: {lacking}"
        ));
        return FAILURE;
    }
    let vcpu = rest.first().map(|vcpu| vcpu.parse::<u32>());
    let vcpu = match vcpu {
        Some(Ok(vcpu)) => vcpu,
        Some(Err(_)) => {
            app.say("Invalid vcpuid, using default vcpuid=0.\n");
            0
        }
        None => 0,
    };
    if !app.is_guest(domid) {
        // None of our own domains handles one: it would be its end.
        let name = app.name_of(domid);
        app.complain(&format!(
            "libxl: error: Domain {domid}:Send trigger 'nmi' failed: {name} is no guest"
        ));
        return FAILURE;
    }
    match app.host.trigger(domid, vcpu, XEN_DOMCTL_SENDTRIGGER_NMI) {
        Ok(()) => 0,
        Err(errno) => {
            let why = match errno {
                Errno::ESRCH => format!("it has no vCPU {vcpu}"),
                errno => format!("{errno}"),
            };
            app.complain(&format!(
                "libxl: error: Domain {domid}:Send trigger 'nmi' failed: {why}"
            ));
            FAILURE
        }
    }
}

/// Sends a letter to the guest kernel's SysRq.
pub(super) fn sysrq<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    let [domain, key, ..] = given.arguments.as_slice() else {
        return FAILURE;
    };
    let Some(domid) = find_domain(app, domain) else {
        return FAILURE;
    };
    let mut keys = key.chars().filter(char::is_ascii_graphic);
    let (Some(letter), None, 1) = (keys.next(), keys.next(), key.len()) else {
        app.say("Invalid sysrq.\n");
        describe_named(app, "sysrq");
        return FAILURE;
    };
    if !app.is_guest(domid) {
        let name = app.name_of(domid);
        app.complain(&format!("{name} is no guest: it knows no sysrq"));
        return FAILURE;
    }
    let path = format!("/local/domain/{domid}/control/sysrq");
    match app.host.store_write(&path, &String::from(letter)) {
        Ok(()) => 0,
        Err(errno) => {
            app.complain(&format!("libxl: error: Domain {domid}:xenstore: {errno}"));
            FAILURE
        }
    }
}
