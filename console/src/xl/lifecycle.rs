//! `xl destroy`, `shutdown`, `reboot`, `pause`, `unpause`, `console`, `rename`.

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use xen_abi::{DomId, Errno};

use super::options::{Given, Known};
use super::{FAILURE, USAGE, find_domain};
use crate::app::{App, DOMAIN_0, XENSTORE};
use crate::host::Host;

pub(super) const DESTROY: Known = Known {
    letters: "f",
    long: &[],
};
pub(super) const DESTROY_HELP: &str = "-f                      Permit destroying xenstore.";
pub(super) const SHUTDOWN: Known = Known {
    letters: "awF",
    long: &[("all", 'a'), ("wait", 'w')],
};
pub(super) const SHUTDOWN_HELP: &str = "\
-a, --all               All guest domains.
-w, --wait              Wait for the guest(s); Ctrl-C ends the waiting.";
pub(super) const CONSOLE: Known = Known {
    letters: "t:n:e:",
    long: &[("type", 't'), ("num", 'n')],
};
pub(super) const CONSOLE_HELP: &str = "\
-t <type>       console type, pv
-n <number>     console number, 0

Ctrl-] leaves the console.";

/// Destroys a domain.
pub(super) fn destroy<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    let Some(domid) = argument(app, given) else {
        return FAILURE;
    };
    if domid == DOMAIN_0 {
        app.complain("Not destroying domain 0.");
        return FAILURE;
    }
    if app.name_of(domid) == XENSTORE && !given.has('f') {
        app.complain(
            "Not destroying xenstore, without which no guest can be created; use -f to force.",
        );
        return FAILURE;
    }
    if app.destroy(domid) { 0 } else { FAILURE }
}

/// Asks guests to shut down.
pub(super) fn shutdown<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    ask(app, given, "poweroff", "Shutting down", "shutdown")
}

/// Asks guests to restart.
pub(super) fn reboot<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    ask(app, given, "reboot", "Rebooting", "reboot")
}

fn ask<H: Host>(app: &mut App<'_, H>, given: &Given, what: &str, says: &str, verb: &str) -> i32 {
    let domids: Vec<DomId> = if given.has('a') {
        let guests = app
            .guests
            .iter()
            .filter(|(_, guest)| guest.config.is_some());
        guests.map(|(&domid, _)| domid).collect()
    } else if given.arguments.is_empty() {
        app.complain("You must specify -a or a domain id.\n");
        return FAILURE;
    } else {
        match argument(app, given) {
            Some(domid) => alloc::vec![domid],
            None => return FAILURE,
        }
    };
    let created = |domid: &DomId| app.guests.get(domid).map_or(0, |guest| guest.created);
    let waited: Vec<(DomId, u64)> = domids
        .iter()
        .map(|domid| (*domid, created(domid)))
        .collect();
    for &domid in &domids {
        app.say(&format!("{says} domain {domid}"));
        if !app.is_guest(domid) {
            let name = app.name_of(domid);
            app.complain(&format!(
                "{verb} failed: {name} is no guest (poweroff ends the machine)"
            ));
            return FAILURE;
        }
        if let Err(error) = app.ask(domid, what) {
            app.complain(&format!("{verb} failed: {error}"));
            return FAILURE;
        }
    }
    if given.has('w') {
        app.say(&format!("Waiting for {} domains", domids.len()));
        for (domid, created) in waited {
            // A guest that is made again may have the same number.
            while app
                .guests
                .get(&domid)
                .is_some_and(|guest| guest.created == created && !guest.settled)
            {
                if app.interrupted() {
                    return FAILURE;
                }
                app.pump(None);
            }
            app.say(&format!("Domain {domid} has been shut down"));
        }
    }
    0
}

/// Pauses a domain.
pub(super) fn pause<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    control(app, given, "pause", H::pause_domain)
}

/// Lets a paused domain run.
pub(super) fn unpause<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    control(app, given, "unpause", H::unpause_domain)
}

fn control<H: Host>(
    app: &mut App<'_, H>,
    given: &Given,
    verb: &str,
    call: fn(&mut H, DomId) -> Result<(), Errno>,
) -> i32 {
    let Some(domid) = argument(app, given) else {
        return FAILURE;
    };
    match call(&mut app.host, domid) {
        Ok(()) => 0,
        Err(errno) => {
            app.complain(&format!("{verb} of domain {domid} failed: {errno}"));
            FAILURE
        }
    }
}

/// Connects the operator to a guest's console.
pub(super) fn console<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    if given.value('t').is_some_and(|kind| kind != "pv") {
        app.complain("console type not supported: only pv");
        return USAGE;
    }
    if given.value('n').is_some_and(|number| number != "0") {
        app.complain("console number not supported: only 0");
        return USAGE;
    }
    let Some(domid) = argument(app, given) else {
        return FAILURE;
    };
    if !app
        .guests
        .get(&domid)
        .is_some_and(|guest| guest.console_open)
    {
        let name = app.name_of(domid);
        app.complain(&format!(
            "{name} has no console here; xl dmesg has the logs of service domains"
        ));
        return FAILURE;
    }
    app.attach(domid);
    0
}

/// Gives a guest another name.
pub(super) fn rename<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    let Some(domid) = argument(app, given) else {
        return FAILURE;
    };
    let Some(name) = given.arguments.get(1).cloned() else {
        return USAGE;
    };
    let refused = if app.named(&name).is_some_and(|other| other != domid) {
        Some(format!("Domain with name \"{name}\" already exists."))
    } else if !xl_config::is_name(&name) {
        Some(format!("no domain can have the name \"{name}\""))
    } else if !app.is_guest(domid) {
        Some("only guests can be renamed".to_string())
    } else {
        let home = format!("/local/domain/{domid}");
        let vm = app.host.store_read(&format!("{home}/vm"));
        let written = app.host.store_write(&format!("{home}/name"), &name);
        let written = written.and_then(|()| match vm {
            Ok(vm) => app.host.store_write(&format!("{vm}/name"), &name),
            Err(_) => Ok(()),
        });
        written.err().map(|errno| format!("xenstore: {errno}"))
    };
    if let Some(refused) = refused {
        let domain = given.arguments.first().cloned().unwrap_or_default();
        app.complain(&format!("libxl: error: {refused}"));
        app.complain(&format!("Can't rename domain '{domain}'."));
        return FAILURE;
    }
    if let Some(guest) = app.guests.get_mut(&domid) {
        if let Some(config) = &mut guest.config {
            config.name.clone_from(&name);
        }
        guest.name = name;
    }
    0
}

/// The domain that the first argument names.
fn argument<H: Host>(app: &mut App<'_, H>, given: &Given) -> Option<DomId> {
    let word = given.arguments.first().cloned().unwrap_or_default();
    find_domain(app, &word)
}
