//! `xl uptime`.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use xen_abi::DomId;

use super::options::{Given, Known};
use super::{FAILURE, find_domain};
use crate::app::App;
use crate::host::Host;

pub(super) const UPTIME: Known = Known {
    letters: "s",
    long: &[],
};

/// Prints since when domains run.
pub(super) fn uptime<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    let short = given.has('s');
    let mut domids: Vec<DomId> = Vec::new();
    for word in &given.arguments {
        match find_domain(app, word) {
            Some(domid) => domids.push(domid),
            None => return FAILURE,
        }
    }
    if domids.is_empty() {
        domids.push(crate::app::DOMAIN_0);
        domids.extend(app.guests.keys());
    }
    let now = app.host.now();
    if !short {
        app.say(&format!("{:<33} {:>4} {}", "Name", "ID", "Uptime"));
    }
    for domid in domids {
        let name = app.name_of(domid);
        let created = app.guests.get(&domid).map_or(0, |guest| guest.created);
        let up = text(now.saturating_sub(created) / 1_000_000_000, short);
        if short {
            let clock = text(now / 1_000_000_000, false);
            app.say(&format!(" {clock} up {up}, {name} ({domid})"));
        } else {
            app.say(&format!("{name:<33} {domid:>4} {up}"));
        }
    }
    0
}

fn text(seconds: u64, short: bool) -> String {
    let (days, hours) = (seconds / 86400, seconds / 3600 % 24);
    let minutes = seconds / 60 % 60;
    let clock = if short {
        format!("{hours:>2}:{minutes:02}")
    } else {
        format!("{hours:>2}:{minutes:02}:{:02}", seconds % 60)
    };
    match days {
        0 => clock,
        1 => format!("1 day, {clock}"),
        days => format!("{days} days, {clock}"),
    }
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn as_xl_says_it() {
        assert_eq!(text(59, false), " 0:00:59");
        assert_eq!(text(86_400 + 3_661, false), "1 day,  1:01:01");
        assert_eq!(text(3 * 86_400 + 36_000, true), "3 days, 10:00");
    }
}
