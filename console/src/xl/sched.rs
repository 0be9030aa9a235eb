//! `xl sched-credit2`: weights. The scheduler is not Xen's credit2 but has its weights; it has no caps and no rate limit.

use alloc::format;
use alloc::string::String;

use xen_abi::DomId;

use super::options::{Given, Known};
use super::{FAILURE, find_domain};
use crate::app::App;
use crate::host::Host;

pub(super) const CREDIT2: Known = Known {
    letters: "d:w:c:p:r:s",
    long: &[
        ("domain", 'd'),
        ("weight", 'w'),
        ("cap", 'c'),
        ("schedparam", 's'),
        ("ratelimit_us", 'r'),
        ("cpupool", 'p'),
    ],
};
pub(super) const CREDIT2_HELP: &str = "\
-d DOMAIN, --domain=DOMAIN     Domain to modify
-w WEIGHT, --weight=WEIGHT     Weight (int)
-c CAP,    --cap=CAP           Cap (int); 0 only: CPU time is not limited
-s         --schedparam        Query scheduler parameters
-p CPUPOOL, --cpupool=CPUPOOL  Restrict output to CPUPOOL";

/// Shows or changes the share of the CPUs that domains have.
pub(super) fn credit2<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    let (weight, cap) = (given.value('w'), given.value('c'));
    let changes = weight.is_some() || cap.is_some();
    if given.has('p') && (given.has('d') || changes) {
        app.complain("Specifying a cpupool is not allowed with other options.");
        return FAILURE;
    }
    let Some(domain) = given.value('d').map(String::from) else {
        if changes {
            app.complain("Must specify a domain.");
            return FAILURE;
        }
        return all(app, given);
    };
    let Some(domid) = find_domain(app, &domain) else {
        return FAILURE;
    };
    if !changes {
        head(app);
        return line(app, domid);
    }
    let refused = match (weight.map(number), cap.map(number)) {
        (Some(weight), _) if !(1..=65535).contains(&weight) => {
            Some("Cpu weight out of range, valid values are within range from 1 to 65535")
        }
        (_, Some(cap)) if cap != 0 => {
            Some("Cpu cap out of range, 0 only: CPU time is shared by weight and not limited")
        }
        (None, _) => return 0, // a cap of 0 is what is
        (Some(weight), _) => {
            let weight = u16::try_from(weight).unwrap_or(u16::MAX);
            match app.host.set_weight(domid, weight, 0) {
                Ok(()) => {
                    if let Some(guest) = app.guests.get_mut(&domid)
                        && let Some(config) = &mut guest.config
                    {
                        // It is made again with the weight that it has.
                        config.cpu_weight = weight.into();
                    }
                    return 0;
                }
                Err(_) => Some("Setting domain sched credit2"),
            }
        }
    };
    if let Some(refused) = refused {
        app.say(&format!("libxl: error: Domain {domid}:{refused}"));
    }
    app.complain("libxl_domain_sched_params_set failed.");
    FAILURE
}

/// The pool, and all domains in it.
fn all<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    if let Some(pool) = given
        .value('p')
        .filter(|pool| !matches!(*pool, "Pool-0" | "0"))
    {
        let text = format!("unknown cpupool '{pool}'");
        app.complain(&text);
        return FAILURE;
    }
    if given.has('r') && given.has('s') {
        app.complain("libxl: error: there is no rate limit to set: who has waited longest for his share runs first");
        app.complain("libxl_sched_credit2_params_set failed.");
        return FAILURE;
    }
    app.say("Cpupool Pool-0: ratelimit=0us");
    if given.has('s') {
        return 0;
    }
    let Ok(domains) = app.host.domains() else {
        app.complain("libxl_list_domain failed.");
        return FAILURE;
    };
    head(app);
    let lines = domains.iter().map(|info| line(app, info.domain));
    lines.max().unwrap_or(0)
}

fn head<H: Host>(app: &mut App<'_, H>) {
    app.say(&format!(
        "{:<33} {:>4} {:>6} {:>4}",
        "Name", "ID", "Weight", "Cap"
    ));
}

fn line<H: Host>(app: &mut App<'_, H>, domid: DomId) -> i32 {
    let Ok(weight) = app.host.weight(domid) else {
        app.complain("libxl_domain_sched_params_get failed.");
        return FAILURE;
    };
    let name = app.name_of(domid);
    app.say(&format!("{name:<33} {domid:>4} {weight:>6} {:>4}", 0));
    0
}

/// As strtol: what is no number is 0.
fn number(text: &str) -> i64 {
    let text = text.trim_start();
    let end = text
        .bytes()
        .enumerate()
        .position(|(index, byte)| !(byte.is_ascii_digit() || index == 0 && byte == b'-'));
    let digits = text.get(..end.unwrap_or(text.len())).unwrap_or_default();
    // Too long for a number: out of every range.
    digits
        .parse()
        .unwrap_or(if digits.is_empty() || digits == "-" {
            0
        } else {
            i64::MAX
        })
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_as_strtol_reads_them() {
        assert_eq!(
            ["12", "-3", "7x", "x", "", "-"].map(number),
            [12, -3, 7, 0, 0, 0]
        );
        assert_eq!(number("99999999999999999999"), i64::MAX);
    }
}
