//! `xl top`: who uses CPUs and memory, as xentop shows it (tools/xentop).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use xen_abi::DomId;
use xen_abi::domctl::{DominfFlags, XenDomctlGetdomaininfo};
use xen_abi::sched::SHUTDOWN_CRASH;

use super::FAILURE;
use super::options::{Given, Known};
use crate::app::App;
use crate::host::Host;

pub(super) const TOP: Known = Known {
    letters: "bfd:i:",
    long: &[
        ("batch", 'b'),
        ("full-name", 'f'),
        ("delay", 'd'),
        ("iterations", 'i'),
    ],
};
pub(super) const TOP_HELP: &str = "\
-b, --batch             Output in batch mode, no keys
-d, --delay=SECONDS     Seconds between updates (default 3)
-f, --full-name         Output the full domain name (not truncated)
-i, --iterations=NUMBER Number of updates before it ends

q leaves.";

const SECOND: u64 = 1_000_000_000;

/// CPU time of each domain when it was looked at last, and when that was.
#[derive(Default)]
struct Before {
    at: u64,
    times: BTreeMap<DomId, u64>,
}

/// Shows the table again and again until `q`; once for scripts.
pub(super) fn top<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    let number = |letter| given.value(letter).map(str::parse::<u64>);
    let (delay, rounds) = match (number('d').unwrap_or(Ok(3)), number('i').transpose()) {
        (Ok(delay), Ok(rounds)) if delay > 0 => (delay, rounds),
        _ => {
            app.complain("xl top: -d and -i want numbers");
            return FAILURE;
        }
    };
    // A script and the host have no keys to leave with.
    let script = app.options.prompt_status || app.remote.speaks;
    let batch = given.has('b') || script;
    let mut rounds = rounds.or(script.then_some(1)).unwrap_or(u64::MAX);
    let mut before = Before::default();
    loop {
        let Some(table) = table(app, given.has('f'), batch, &mut before) else {
            app.complain("libxl_list_domain failed.");
            return FAILURE;
        };
        if !batch {
            app.host.print(b"\x1b[H\x1b[2J");
        }
        app.show(&table);
        rounds = rounds.saturating_sub(1);
        let deadline = app.host.now().saturating_add(delay.saturating_mul(SECOND));
        if rounds == 0 || left(app, deadline) {
            return 0;
        }
    }
}

/// Waits until `deadline`; true if the operator wants to leave.
fn left<H: Host>(app: &mut App<'_, H>, deadline: u64) -> bool {
    const LEAVING: &[u8] = b"qQ\x03\x1b\x1d";
    while app.host.now() < deadline {
        if app.remote.speaks {
            // The keys are the operator's.
            if app.interrupted() {
                return true;
            }
            app.pump(Some(deadline));
            continue;
        }
        let place = app.typed.iter().position(|byte| LEAVING.contains(byte));
        if let Some(place) = place {
            app.typed.drain(..=place);
            return true;
        }
        app.pump(Some(deadline));
    }
    false
}

fn table<H: Host>(
    app: &mut App<'_, H>,
    full: bool,
    batch: bool,
    before: &mut Before,
) -> Option<String> {
    let (domains, machine) = (app.host.domains().ok()?, app.host.physinfo().ok()?);
    let now = app.host.now();
    let total = machine.total_pages.saturating_mul(4);
    let mut text = String::new();
    if !batch {
        let version = app.host.version();
        let seconds = now / SECOND;
        text.push_str(&format!(
            "xentop - {:02}:{:02}:{:02}   Xen {}.{}{}\n{}\n",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60,
            version.major,
            version.minor,
            version.extra,
            summary(&domains)
        ));
        let free = machine.free_pages.saturating_mul(4);
        text.push_str(&format!(
            "Mem: {total}k total, {}k used, {free}k free    CPUs: {} @ {}MHz\n",
            total.saturating_sub(free),
            machine.nr_cpus,
            machine.cpu_khz / 1000
        ));
    }
    text.push_str(HEAD);
    let elapsed = now.saturating_sub(before.at);
    let mut times = BTreeMap::new();
    for info in &domains {
        times.insert(info.domain, info.cpu_time);
        let last = before.times.get(&info.domain);
        let ran = last.map_or(0, |last| info.cpu_time.saturating_sub(*last));
        let devices = app.guests.get(&info.domain).map(|guest| &guest.devices);
        let count = |kind| devices.map_or(0, |all| all.iter().filter(|d| d.kind == kind).count());
        let (nets, disks) = (count("vif"), count("vbd"));
        let mut name = app.name_of(info.domain);
        if !full {
            name = name.chars().take(10).collect();
        }
        let held = info.tot_pages.saturating_mul(4);
        let most = info.max_pages.saturating_mul(4);
        text.push_str(&format!(
            "{name:>10} {} {:>10} {:>6} {held:>10} {:>6} {most:>10} {:>9} {:>5} {nets:>4} {disks:>4}\n",
            state(info),
            info.cpu_time / SECOND,
            percent(ran, elapsed),
            percent(held, total),
            percent(most, total),
            info.nr_online_vcpus,
        ));
    }
    *before = Before { at: now, times };
    Some(text)
}

const HEAD: &str =
    "      NAME  STATE   CPU(sec) CPU(%)     MEM(k) MEM(%)  MAXMEM(k) MAXMEM(%) VCPUS NETS VBDS\n";

/// `part` of `whole` in percent with one digit.
fn percent(part: u64, whole: u64) -> String {
    let tenths = u128::from(part) * 1000 / u128::from(whole.max(1));
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// xentop's letters: dying, shut down, blocked, crashed, paused, running.
fn state(info: &XenDomctlGetdomaininfo) -> String {
    let letters = states(info).into_iter().zip("dsbcpr".chars());
    let letters = letters.map(|(is, letter)| if is { letter } else { '-' });
    letters.collect()
}

fn states(info: &XenDomctlGetdomaininfo) -> [bool; 6] {
    let has = |flag| info.flags.contains(flag);
    let shut_down = has(DominfFlags::SHUTDOWN);
    let crashed = shut_down && info.flags.shutdown_code() == SHUTDOWN_CRASH;
    [
        has(DominfFlags::DYING),
        shut_down && !crashed,
        has(DominfFlags::BLOCKED),
        crashed,
        has(DominfFlags::PAUSED),
        has(DominfFlags::RUNNING),
    ]
}

fn summary(domains: &[XenDomctlGetdomaininfo]) -> String {
    let names = [
        (5, "running"),
        (2, "blocked"),
        (4, "paused"),
        (3, "crashed"),
        (0, "dying"),
        (1, "shutdown"),
    ];
    let parts: Vec<String> = names
        .iter()
        .map(|&(index, name)| {
            let counted = domains.iter().filter(|info| states(info)[index]).count();
            counted.to_string() + " " + name
        })
        .collect();
    format!("{} domains: {}", domains.len(), parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_shares() {
        let mut info = XenDomctlGetdomaininfo {
            flags: DominfFlags::BLOCKED | DominfFlags::PAUSED,
            ..Default::default()
        };
        assert_eq!(state(&info), "--b-p-");
        info.flags = DominfFlags::SHUTDOWN | DominfFlags::from_bits_retain(SHUTDOWN_CRASH << 16);
        assert_eq!(state(&info), "---c--");
        assert_eq!(
            summary(&[info]),
            "1 domains: 0 running, 0 blocked, 0 paused, 1 crashed, 0 dying, 0 shutdown"
        );
        assert_eq!(percent(1, 3), "33.3");
        assert_eq!(percent(5, 0), "500.0");
        assert_eq!(HEAD.len(), 91);
    }
}
