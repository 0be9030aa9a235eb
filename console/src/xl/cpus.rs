//! `xl vcpu-list` and `xl vcpu-pin`.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use config::Span;
use config::cpu_list::CpuList;
use xen_abi::DomId;

use super::options::{Given, Known};
use super::{FAILURE, cpu_set, find_domain, seconds};
use crate::app::App;
use crate::host::Host;

pub(super) const PIN: Known = Known {
    letters: "fi",
    long: &[("force", 'f'), ("ignore-global-affinity-masks", 'i')],
};

pub(super) const SET: Known = Known {
    letters: "i",
    long: &[("ignore-host", 'i')],
};
pub(super) const SET_HELP: &str =
    "-i, --ignore-host  Don't limit the vCPU based on the host CPU count";

/// Prints the table.
pub(super) fn list<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    let Ok(physinfo) = app.host.physinfo() else {
        app.complain("libxl_physinfo failed.");
        return FAILURE;
    };
    let cpus = physinfo.max_cpu_id.saturating_add(1);
    let mut domids: Vec<DomId> = Vec::new();
    if given.arguments.is_empty() {
        match app.host.domains() {
            Ok(domains) => domids.extend(domains.iter().map(|info| info.domain)),
            Err(_) => {
                app.complain("libxl_list_domain failed.");
                return FAILURE;
            }
        }
    }
    for word in &given.arguments {
        match find_domain(app, word) {
            Some(domid) => domids.push(domid),
            None => return FAILURE,
        }
    }
    app.say(&format!(
        "{:<32} {:>5} {:>5} {:>5} {:>5} {:>9} {}",
        "Name", "ID", "VCPU", "CPU", "State", "Time(s)", "Affinity (Hard / Soft)"
    ));
    for domid in domids {
        let name = app.name_of(domid);
        let count = app
            .host
            .domain(domid)
            .map_or(0, |info| info.max_vcpu_id.wrapping_add(1));
        for vcpu in 0..count {
            let Ok(info) = app.host.vcpu(domid, vcpu) else {
                continue;
            };
            let affinity = app.host.affinity(domid, vcpu).unwrap_or(u64::MAX);
            let (cpu, state) = if info.online == 0 {
                ("-".to_string(), "--p".to_string())
            } else {
                let letter = |flag: u8, letter| if flag != 0 { letter } else { '-' };
                let state = format!(
                    "{}{}-",
                    letter(info.running, 'r'),
                    letter(info.blocked, 'b')
                );
                (info.cpu.to_string(), state)
            };
            app.say(&format!(
                "{name:<32} {domid:>5} {vcpu:>5} {cpu:>5}   {state} {:>9}  {} / all",
                seconds(info.cpu_time),
                cpu_set(affinity, cpus)
            ));
        }
    }
    0
}

/// Sets the CPUs of a vCPU, or of all of a domain.
pub(super) fn pin<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    let [domain, vcpu, hard, rest @ ..] = given.arguments.as_slice() else {
        return FAILURE;
    };
    let Some(domid) = find_domain(app, domain) else {
        return FAILURE;
    };
    let count = app
        .host
        .domain(domid)
        .map_or(0, |info| info.max_vcpu_id.wrapping_add(1));
    let vcpus: Vec<u32> = match vcpu.parse() {
        Ok(vcpu) => alloc::vec![vcpu],
        Err(_) if vcpu == "all" => (0..count).collect(),
        Err(_) => {
            app.complain(&format!("Error: Invalid argument {vcpu} as VCPU."));
            return FAILURE;
        }
    };
    if rest.iter().any(|soft| soft != "-" && soft != "all") {
        app.complain("soft affinity is not supported");
        return FAILURE;
    }
    if hard == "-" {
        return 0;
    }
    let Some(cpus) = parse_cpus(hard) else {
        app.complain(&format!("Invalid pcpu range: {hard}."));
        return FAILURE;
    };
    for vcpu in vcpus {
        if app.host.set_affinity(domid, vcpu, cpus).is_err() {
            app.complain(&format!("Could not set affinity for vcpu `{vcpu}'."));
            return FAILURE;
        }
    }
    0
}

/// Has a guest take vCPUs off or bring them back.
pub(super) fn set<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    let [domain, count, ..] = given.arguments.as_slice() else {
        return FAILURE;
    };
    let Some(domid) = find_domain(app, domain) else {
        return FAILURE;
    };
    let digits = count.bytes().take_while(u8::is_ascii_digit).count();
    let count = count.get(..digits).and_then(|digits| digits.parse().ok());
    let Some(count) = count.filter(|&count: &u32| i32::try_from(count).is_ok()) else {
        app.complain("Error: Invalid argument.");
        return FAILURE;
    };
    let (Ok(info), Ok(physinfo)) = (app.host.domain(domid), app.host.physinfo()) else {
        return FAILURE;
    };
    let cpus = physinfo.max_cpu_id.saturating_add(1);
    if !given.has('i') && count > info.nr_online_vcpus && count > cpus {
        app.complain(&format!(
            "You are overcommmitting! You have {cpus} physical CPUs and want {count} vCPUs! \
             Aborting, use --ignore-host to continue"
        ));
        return FAILURE;
    }
    /// libxl's `ERROR_FAIL`.
    const ERROR_FAIL: i32 = -3;
    let most = info.max_vcpu_id.wrapping_add(1);
    let refused = if !app.is_guest(domid) {
        Some(format!("{} is no guest", app.name_of(domid)))
    } else if count > most {
        Some(format!(
            "Requested {count} VCPUs, however maxcpus is {most}!"
        ))
    } else if count == 0 {
        // libxl writes it, and kernels keep their first CPU all the same.
        Some("a guest cannot do without its first vCPU".to_string())
    } else {
        let write = (0..most).try_for_each(|vcpu| {
            let path = format!("/local/domain/{domid}/cpu/{vcpu}/availability");
            let state = if vcpu < count { "online" } else { "offline" };
            app.host.store_write(&path, state)
        });
        write.err().map(|errno| format!("xenstore: {errno}"))
    };
    if let Some(refused) = refused {
        app.complain(&format!("libxl: error: Domain {domid}:{refused}"));
        app.complain(&format!(
            "libxl_set_vcpuonline failed domid={domid} max_vcpus={count}, rc: {ERROR_FAIL}"
        ));
        return FAILURE;
    }
    if let Some(guest) = app.guests.get_mut(&domid)
        && let Some(config) = &mut guest.config
    {
        // It is made again with what it has.
        config.vcpus = count;
    }
    0
}

fn parse_cpus(text: &str) -> Option<u64> {
    let text: String = text.split_whitespace().collect();
    let list = CpuList::parse(Span::new(&text)).ok()?;
    list.words().first().copied().filter(|&set| set != 0)
}
