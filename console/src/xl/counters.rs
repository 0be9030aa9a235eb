//! `xl debug-exits`: what performance work reads.

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use xen_abi::DomId;
use xen_abi::hypercall;
use xen_abi::microhv::ExitReason;

use super::options::Given;
use super::{FAILURE, find_domain};
use crate::app::App;
use crate::host::Host;

/// Prints the counters of domains; those that are 0 are left out.
pub(super) fn exits<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    let mut domids: Vec<DomId> = Vec::new();
    for word in &given.arguments {
        match find_domain(app, word) {
            Some(domid) => domids.push(domid),
            None => return FAILURE,
        }
    }
    if given.arguments.is_empty() {
        match app.host.domains() {
            Ok(domains) => domids.extend(domains.iter().map(|info| info.domain)),
            Err(errno) => {
                app.complain(&format!("cannot list the domains: {errno}"));
                return FAILURE;
            }
        }
    }
    app.say(&format!(
        "{:<24} {:>4} {:<40} {:>12}",
        "Name", "ID", "Counter", "Count"
    ));
    for domid in domids {
        let name = app.name_of(domid);
        let counters = match app.host.exits(domid) {
            Ok(counters) => counters,
            Err(errno) => {
                app.complain(&format!("{name}: {errno}"));
                return FAILURE;
            }
        };
        let reasons = ExitReason::ALL.iter().zip(counters.exits);
        let reasons = reasons.map(|(reason, count)| (format!("exit {}", reason.name()), count));
        let calls = (0..).zip(counters.hypercalls).map(|(number, count)| {
            let name = hypercall::name(number).unwrap_or("unknown");
            (format!("hypercall {number} {name}"), count)
        });
        let total: u64 = counters.exits.iter().sum();
        let others = [
            ("exits".to_string(), total),
            ("events received".to_string(), counters.events_received),
            ("events sent".to_string(), counters.events_sent),
            ("grant pages copied".to_string(), counters.grant_copies),
            ("grant pages mapped".to_string(), counters.grant_maps),
            ("interrupts posted".to_string(), counters.interrupts_posted),
        ];
        for (counter, count) in reasons
            .chain(calls)
            .chain(others)
            .filter(|&(_, count)| count != 0)
        {
            app.say(&format!("{name:<24} {domid:>4} {counter:<40} {count:>12}"));
        }
    }
    0
}
