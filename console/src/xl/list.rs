//! `xl list`, `vm-list`, `domid`, `domname`.

use alloc::format;
use alloc::string::String;
use alloc::vec;

use xen_abi::DomId;
use xen_abi::domctl::{DominfFlags, XenDomctlGetdomaininfo};
use xl_config::Uuid;

use super::json::Json;
use super::options::{Given, Known};
use super::{FAILURE, describe_named, details, find_domain, seconds};
use crate::app::App;
use crate::host::Host;

pub(super) const LIST: Known = Known {
    letters: "lvZcn",
    long: &[
        ("long", 'l'),
        ("verbose", 'v'),
        ("context", 'Z'),
        ("cpupool", 'c'),
        ("numa", 'n'),
    ],
};
pub(super) const LIST_HELP: &str = "\
-l, --long              Output all VM details
-v, --verbose           Prints out UUIDs and security context
-Z, --context           Prints out security context
-c, --cpupool           Prints the cpupool the domain is in
-n, --numa              Prints out NUMA node affinity";

/// Prints the table.
pub(super) fn list<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    let domains = match given.arguments.as_slice() {
        [] => match app.host.domains() {
            Ok(domains) => domains,
            Err(_) => {
                app.complain("libxl_list_domain failed.");
                return FAILURE;
            }
        },
        [word] => {
            // A number is looked up below, where xl has another message for it.
            let Some(domid) = word.parse().ok().or_else(|| find_domain(app, word)) else {
                return FAILURE;
            };
            match app.host.domain(domid) {
                Ok(info) => vec![info],
                Err(_) => {
                    app.complain(&format!("Error: Domain '{word}' does not exist."));
                    return FAILURE;
                }
            }
        }
        _ => {
            describe_named(app, "list");
            return FAILURE;
        }
    };
    if given.has('l') {
        let all = domains.iter().map(|info| details::running(app, info));
        let all = Json::List(all.collect());
        app.say(&format!("{all}"));
        return 0;
    }
    let verbose = given.has('v');
    let mut head =
        String::from("Name                                        ID   Mem VCPUs\tState\tTime(s)");
    if verbose {
        head.push_str("   UUID                            Reason-Code\tSecurity Label");
    } else if given.has('Z') {
        head.push_str("   Security Label");
    }
    if given.has('c') {
        head.push_str("         Cpupool");
    }
    if given.has('n') {
        head.push_str(" NODE Affinity");
    }
    app.say(&head);
    for info in &domains {
        let name = app.name_of(info.domain);
        let mut line = line(&name, info);
        if verbose {
            let shutdown = info.flags.contains(DominfFlags::SHUTDOWN);
            let reason = if shutdown {
                format!("{:x}", info.flags.shutdown_code())
            } else {
                String::from("-")
            };
            line.push_str(&format!(" {} {reason:>8}", Uuid(info.handle)));
        }
        if verbose || given.has('Z') {
            line.push_str(&format!(" {:>16}", "-"));
        }
        if given.has('c') {
            line.push_str(&format!("{:>16}", "Pool-0"));
        }
        if given.has('n') {
            // One node, and every domain may have its memory there.
            line.push_str(" all");
        }
        app.say(&line);
    }
    0
}

/// One domain in the table.
fn line(name: &str, info: &XenDomctlGetdomaininfo) -> String {
    let letter = |flag, letter| {
        if info.flags.contains(flag) {
            letter
        } else {
            '-'
        }
    };
    let reason = if info.flags.contains(DominfFlags::SHUTDOWN) {
        "-rscwS"
            .chars()
            .nth(info.flags.shutdown_code() as usize)
            .unwrap_or('?')
    } else {
        '-'
    };
    format!(
        "{name:<40} {:>5} {:>5} {:>5}     {}{}{}{}{reason}{}  {:>8}",
        info.domain,
        info.tot_pages / 256,
        info.nr_online_vcpus,
        letter(DominfFlags::RUNNING, 'r'),
        letter(DominfFlags::BLOCKED, 'b'),
        letter(DominfFlags::PAUSED, 'p'),
        letter(DominfFlags::SHUTDOWN, 's'),
        letter(DominfFlags::DYING, 'd'),
        seconds(info.cpu_time),
    )
}

/// Prints guests with their UUIDs.
pub(super) fn vm_list<H: Host>(app: &mut App<'_, H>, _: &Given) -> i32 {
    app.say("UUID                                  ID    name");
    let guests: vec::Vec<String> = app
        .guests
        .iter()
        .filter(|(_, guest)| guest.config.is_some())
        .map(|(domid, guest)| format!("{}  {domid}    {:<30}", Uuid(guest.handle), guest.name))
        .collect();
    for line in guests {
        app.say(&line);
    }
    0
}

/// Prints a domain's number.
pub(super) fn domid<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    let name = given
        .arguments
        .first()
        .map(String::as_str)
        .unwrap_or_default();
    match app.named(name) {
        Some(domid) => {
            app.say(&format!("{domid}"));
            0
        }
        None => {
            app.complain(&format!(
                "Can't get domid of domain name '{name}', maybe this domain does not exist."
            ));
            FAILURE
        }
    }
}

/// Prints a domain's name.
pub(super) fn domname<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    let word = given
        .arguments
        .first()
        .map(String::as_str)
        .unwrap_or_default();
    let Ok(domid) = word.parse::<DomId>() else {
        app.complain("Invalid domain id.\n");
        return FAILURE;
    };
    if app.host.domain(domid).is_err() {
        app.complain(&format!(
            "Can't get domain name of domain id '{domid}', maybe this domain does not exist."
        ));
        return FAILURE;
    }
    let name = app.name_of(domid);
    app.say(&name);
    0
}
