//! `xl mem-set` and `xl mem-max`: how much memory a domain should have, and how much it may have.

use alloc::format;
use alloc::string::{String, ToString};

use xen_abi::DomId;

use super::options::Given;
use super::{FAILURE, find_domain};
use crate::app::App;
use crate::guest;
use crate::host::Host;

/// Asks a guest's balloon driver for a size, and holds it to that.
pub(super) fn set<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    size(app, given, "dynamic", set_target)
}

/// Changes the limit alone.
pub(super) fn max<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    size(app, given, "static", set_limit)
}

fn size<H: Host>(
    app: &mut App<'_, H>,
    given: &Given,
    what: &str,
    set: fn(&mut App<'_, H>, DomId, u64) -> Result<(), String>,
) -> i32 {
    let [domain, text, ..] = given.arguments.as_slice() else {
        return FAILURE;
    };
    let Some(domid) = find_domain(app, domain) else {
        return FAILURE;
    };
    let Some(kib) = kib(text) else {
        app.complain(&format!("invalid memory size: {text}"));
        return FAILURE;
    };
    let done = if app.is_guest(domid) {
        set(app, domid, kib)
    } else {
        let name = app.name_of(domid);
        Err(format!(
            "{name} is no guest: its memory is what loader.conf says"
        ))
    };
    match done {
        Ok(()) => 0,
        Err(reason) => {
            app.complain(&format!("libxl: error: Domain {domid}:{reason}"));
            app.complain(&format!(
                "cannot set domid {domid} {what} max memory to : {text}"
            ));
            FAILURE
        }
    }
}

fn set_target<H: Host>(app: &mut App<'_, H>, domid: DomId, kib: u64) -> Result<(), String> {
    let home = format!("/local/domain/{domid}/memory");
    let most = app.store_number(&format!("{home}/static-max"));
    let most = u64::try_from(most)
        .map_err(|_| format!("cannot get memory info from {home}/static-max"))?;
    if kib > most {
        return Err("memory_dynamic_max must be less than or equal to memory_static_max".into());
    }
    if kib < LEAST {
        return Err(format!(
            "a target of {kib} KiB is below the least of {LEAST} KiB"
        ));
    }
    limit(app, domid, kib)?;
    let target = format!("{home}/target");
    app.host
        .store_write(&target, &kib.to_string())
        .map_err(|errno| format!("xenstore: {errno}"))?;
    if let Some(config) = config(app, domid) {
        // It is made again with what it has.
        config.memory = Some(kib.div_ceil(1024));
    }
    Ok(())
}

fn set_limit<H: Host>(app: &mut App<'_, H>, domid: DomId, kib: u64) -> Result<(), String> {
    let target = format!("/local/domain/{domid}/memory/target");
    let least = u64::try_from(app.store_number(&target))
        .map_err(|_| format!("cannot get memory info from {target}"))?;
    if kib < least {
        return Err(
            "memory_static_max must be greater than or or equal to memory_dynamic_max".into(),
        );
    }
    limit(app, domid, kib)
}

/// Less than this no kernel can give back without its end (libxl leaves that to the operator).
const LEAST: u64 = 4096;

fn limit<H: Host>(app: &mut App<'_, H>, domid: DomId, kib: u64) -> Result<(), String> {
    let pages = guest::page_limit(kib / 4);
    app.host
        .set_max_pages(domid, pages)
        .map_err(|errno| format!("xc_domain_setmaxmem domid={domid} memkb={kib} failed: {errno}"))
}

fn config<'app, H: Host>(
    app: &'app mut App<'_, H>,
    domid: DomId,
) -> Option<&'app mut xl_config::DomainConfig> {
    app.guests.get_mut(&domid)?.config.as_mut()
}

/// KiB from a number with `b k m g t` behind it, MiB without (xl's `parse_mem_size_kb`).
fn kib(text: &str) -> Option<u64> {
    let end = text
        .bytes()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(end)?;
    let number: u64 = digits.parse().ok()?;
    let shifted = |shift: u32| number.checked_mul(1 << shift);
    let kib = match unit {
        "b" | "B" => Some(number >> 10),
        "k" | "K" => Some(number),
        "" | "m" | "M" => shifted(10),
        "g" | "G" => shifted(20),
        "t" | "T" => shifted(30),
        _ => None,
    }?;
    /// More than any machine has: 2^48 bytes.
    const MOST: u64 = 1 << 38;
    (kib <= MOST).then_some(kib)
}

#[cfg(test)]
mod tests {
    use super::kib;

    #[test]
    fn sizes_as_xl_reads_them() {
        assert_eq!(kib("256"), Some(256 << 10));
        assert_eq!(kib("256m"), Some(256 << 10));
        assert_eq!(kib("1G"), Some(1 << 20));
        assert_eq!(kib("1t"), Some(1 << 30));
        assert_eq!(kib("512k"), Some(512));
        assert_eq!(kib("8192b"), Some(8));
        for wrong in [
            "",
            "m",
            "-1",
            "1mb",
            "1x",
            "99999999999999999999",
            "999999t",
        ] {
            assert_eq!(kib(wrong), None, "{wrong}");
        }
    }
}
