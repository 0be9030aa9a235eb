//! `volume create|list|resize|destroy`, microhv's own: what `zfs create -V`, `list`, `set volsize` and `destroy` do for bhyve and
//! Xen on FreeBSD. Messages are zfs's.

use alloc::format;
use alloc::string::{String, ToString};

use super::options::{Given, Known};
use super::{FAILURE, USAGE};
use crate::app::{App, Change};
use crate::host::Host;
use crate::partitions::{human, size};

pub(super) const VOLUME: Known = Known {
    letters: "V:f",
    long: &[("force", 'f')],
};
pub(super) const VOLUME_USAGE: &str =
    "create -V SIZE NAME | list | resize -V SIZE [-f] NAME | destroy NAME";
pub(super) const VOLUME_HELP: &str = "\
-V SIZE                 Size, with K, M, G or T behind it; rounded up to whole MiB.
-f, --force             Shrink: what is behind the new end is lost.";

/// Volumes of the machine's disk.
pub(super) fn volume<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    let words: alloc::vec::Vec<&str> = given.arguments.iter().map(String::as_str).collect();
    let sectors = given.value('V').map(size);
    let (verb, name, change) = match (words.as_slice(), sectors) {
        (["list"], None) => return list(app),
        (["create", name], Some(Ok(sectors))) => ("create", *name, Change::Create(sectors)),
        (["resize", name], Some(Ok(sectors))) => {
            ("resize", *name, Change::Resize(sectors, given.has('f')))
        }
        (["destroy", name], None) => ("destroy", *name, Change::Destroy),
        ([verb @ ("create" | "resize"), name], Some(Err(error))) => {
            app.complain(&format!("cannot {verb} '{name}': {error}"));
            return FAILURE;
        }
        _ => {
            app.complain(&format!("usage: volume {VOLUME_USAGE}"));
            return USAGE;
        }
    };
    let changed = app.change_volume(name, change);
    if let Err(reason) = &changed {
        app.complain(&format!("cannot {verb} '{name}': {reason}"));
    }
    // Nobody waits for what other commands left to do.
    let wiped = match changed.is_ok() && change != Change::Destroy {
        true => app.await_wiping(),
        false => app.resume_wiping().map(|()| true),
    };
    match wiped {
        Ok(true) if changed.is_ok() => 0,
        Ok(true) => FAILURE,
        Ok(false) => {
            app.say("it goes on meanwhile: volume list says how far it is");
            FAILURE
        }
        Err(reason) => {
            app.complain(&reason);
            FAILURE
        }
    }
}

fn list<H: Host>(app: &mut App<'_, H>) -> i32 {
    let table = match app.open_table() {
        Ok(table) => table,
        Err(reason) => {
            app.complain(&format!("cannot list volumes: {reason}"));
            return FAILURE;
        }
    };
    if let Err(reason) = app.resume_wiping() {
        app.complain(&reason);
    }
    app.say(&format!("{:<36} {:>8}  {}", "NAME", "SIZE", "USED BY"));
    for partition in table.partitions() {
        let users = app.users(&partition).join(", ");
        let progress = app.wiper.progress(&partition);
        let used = match (partition.protected, users.as_str()) {
            _ if partition.unwiped => match progress {
                Some(percent) => format!("(is being wiped: {percent}%)"),
                None => "(not wiped yet)".to_string(),
            },
            (Some(what), "") => format!("({what})"),
            (Some(what), users) => format!("{users} ({what})"),
            (None, "") => "-".to_string(),
            (None, users) => users.to_string(),
        };
        let size = human(partition.sectors);
        app.say(&format!("{:<36} {size:>8}  {used}", partition.name));
    }
    let free = table.free();
    let all: u64 = free.iter().map(|(_, sectors)| sectors).sum();
    let most = free.iter().map(|(_, sectors)| *sectors).max();
    app.say(&format!(
        "{} free, {} in one piece",
        human(all),
        human(most.unwrap_or(0))
    ));
    0
}
