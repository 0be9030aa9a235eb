//! `xl create` and `xl config-update`: configurations, from a file or the command line.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use xen_abi::DomId;
use xl_config::{Action, DomainConfig};

use super::options::{Given, Known};
use super::{FAILURE, USAGE, describe_named, details, find_domain};
use crate::app::App;
use crate::host::Host;

pub(super) const CREATE: Known = Known {
    letters: "AFVcdef:inpqv",
    long: &[
        ("defconfig", 'f'),
        ("dryrun", 'n'),
        ("ignore-global-affinity-masks", 'i'),
        ("quiet", 'q'),
        ("vncviewer", 'V'),
        ("vncviewer-autopass", 'A'),
    ],
};
pub(super) const CREATE_HELP: &str = "\
-c                      Connect to the console after the domain is created.
-d                      Enable debug messages: prints the resulting configuration.
-e                      Do not wait in the background for the death of the domain:
                        what on_poweroff and its like say is not done.
-F                      Run in foreground until death of the domain; Ctrl-C ends the waiting.
-f FILE, --defconfig=FILE
                        Use the given configuration file.
-h                      Print this help.
-n, --dryrun            Dry run - prints the resulting configuration
                        (as global option: -N).
-p                      Leave the domain paused after it is created.
-q, --quiet             Quiet.
-v                      Say each step (as global option, too).";
pub(super) const UPDATE: Known = Known {
    letters: "dqf:",
    long: &[("defconfig", 'f')],
};
pub(super) const UPDATE_HELP: &str = "\
-h                      Print this help.
-f FILE, --defconfig=FILE
                        Use the given configuration file.
-d                      Enable debug messages.";

/// Creates a guest.
pub(super) fn create<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    let Some((source, settings)) = sources(given, &given.arguments) else {
        describe_named(app, "create");
        return USAGE;
    };
    let Some(source) = source else {
        app.complain("'xl create' requires a config file.");
        return USAGE;
    };
    if !given.has('q') {
        app.say(&format!("Parsing config from {source}"));
    }
    if given.has('n') || given.has('d') {
        match app.read_config(&source, &settings) {
            Ok(config) => show(app, &config, given.has('n')),
            Err(failure) => {
                app.complain(&failure.message);
                return failure.status;
            }
        }
        if given.has('n') {
            return 0;
        }
    }
    if given.has('V') || given.has('A') {
        app.say("there is no VNC display to connect to");
    }
    app.verbose = given.has('v');
    let created = app.create_from_file(&source, &settings, given.has('p'));
    app.verbose = false;
    let domid = match created {
        Ok(domid) => domid,
        Err(failure) => {
            app.complain(&failure.message);
            return failure.status;
        }
    };
    if given.has('e')
        && let Some(config) = app.guests.get_mut(&domid).and_then(|g| g.config.as_mut())
    {
        unattended(config);
    }
    if given.has('c') {
        app.attach(domid);
    } else if given.has('F') {
        return wait(app, domid);
    }
    0
}

/// Replaces the configuration from which a guest is made again.
pub(super) fn config_update<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    app.say(
        "WARNING: xl now has better capability to manage domain configuration, avoid using this command when possible",
    );
    let (domain, rest) = match given.arguments.split_first() {
        Some((domain, rest)) => (domain, rest),
        None => return FAILURE,
    };
    let Some(domid) = find_domain(app, domain) else {
        return FAILURE;
    };
    if !app.is_guest(domid) {
        app.complain(&format!("{} is no guest", app.name_of(domid)));
        return FAILURE;
    }
    let Some((source, settings)) = sources(given, rest) else {
        describe_named(app, "create");
        return USAGE;
    };
    let Some(source) = source else {
        app.complain("Config file not specified");
        return FAILURE;
    };
    let config = match app.read_config(&source, &settings) {
        Ok(config) => config,
        Err(failure) => {
            app.complain(&failure.message);
            return failure.status;
        }
    };
    if given.has('d') || given.has('n') {
        show(app, &config, true);
    } else {
        for warning in &config.warnings {
            app.say(&format!("{warning}"));
        }
    }
    if given.has('n') {
        return 0;
    }
    app.say(&format!("setting dom{domid} configuration"));
    if let Some(guest) = app.guests.get_mut(&domid) {
        guest.config = Some(config);
        guest.source = source;
    }
    0
}

/// The file, and the settings that override its own; `None` for two files.
fn sources(given: &Given, arguments: &[String]) -> Option<(Option<String>, Vec<String>)> {
    let (settings, files): (Vec<String>, Vec<String>) = arguments
        .iter()
        .cloned()
        .partition(|word| word.contains('='));
    let mut files = given.value('f').map(String::from).into_iter().chain(files);
    let file = files.next();
    files.next().is_none().then_some((file, settings))
}

fn show<H: Host>(app: &mut App<'_, H>, config: &DomainConfig, warn: bool) {
    if warn {
        for warning in &config.warnings {
            app.say(&format!("{warning}"));
        }
    }
    app.say(&format!("{}", details::planned(config)));
}

/// Whatever happens to the guest, it stays as it is.
fn unattended(config: &mut DomainConfig) {
    for action in [
        &mut config.on_poweroff,
        &mut config.on_reboot,
        &mut config.on_crash,
        &mut config.on_watchdog,
        &mut config.on_soft_reset,
    ] {
        *action = Action::Preserve;
    }
}

/// Waits until the guest, or what was made of it again, has ended.
fn wait<H: Host>(app: &mut App<'_, H>, domid: DomId) -> i32 {
    let name = app.name_of(domid);
    app.say(&format!("Waiting for domain {name} (domid {domid}) to die"));
    while let Some(domid) = app.named(&name)
        && app.guests.get(&domid).is_some_and(|guest| !guest.settled)
    {
        if app.interrupted() {
            return FAILURE;
        }
        app.pump(None);
    }
    0
}
