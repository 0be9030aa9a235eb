//! The boot-time domains: Domain-0 and those that loader.conf lists.
//!
//! A domain that cannot be built is named with the line, the value and the reason, and the others are built all the same.

mod construct;
mod images;
mod memory;
mod plan;

use core::fmt;
use core::sync::atomic::Ordering;

use config::Diagnostic;
use config::loader_conf::Value;

use super::list;
use crate::boot::Orders;
use crate::hypercall::FIRST_GUEST;
use crate::types::DomId;
use construct::build;
use plan::Plan;

/// The store domain: all others are told of it.
const XENSTORE: &str = "xenstore";

/// Something is not built; the log says what and why.
#[derive(Clone, Copy, Debug)]
pub struct Refused;

impl From<Diagnostic<'_>> for Refused {
    /// A mistake in loader.conf, which is told with all others of the file.
    fn from(_: Diagnostic<'_>) -> Self {
        Self
    }
}

/// Builds Domain-0 and the domains of loader.conf, and lets them run.
///
/// # Errors
/// There is no Domain-0: without it the machine is of no use.
pub fn boot_domains(orders: &Orders) -> Result<(), Refused> {
    let Orders { archive, conf, .. } = orders;
    // The number of a domain is its place in the list, even if one before it cannot be built.
    let place = |name: &str| {
        conf.domains()
            .position(|domain| domain.is_ok_and(|domain| domain.name.text == name))
    };
    let store = place(XENSTORE).map_or(DomId(1), |place| DomId(place as u16 + 1));
    let images = match place(images::OWNER) {
        Some(_) => images::find(conf, archive),
        None => images::Images::new(),
    };
    let dom0 = build(&Plan::of_dom0(orders)?, DomId(0), archive, &images, store)?;
    let mut id = 0;
    for domain in conf.domains() {
        id += 1;
        // Malformed settings have been named with the rest of loader.conf.
        let Ok(domain) = domain else { continue };
        let built = Plan::of_domain(conf, &domain, &dom0)
            .and_then(|plan| build(&plan, DomId(id), archive, &images, store));
        if built.is_err() {
            log::error!("domain {} is not built", domain.name.text);
        }
    }
    FIRST_GUEST.store(u64::from(id) + 1, Ordering::Relaxed);
    list::reserve_up_to(id);
    // Only now: assigning a device moves others' registers for a moment (sizing BARs), and QEMU 7.2 with a thread a CPU
    // misdirects accesses that a CPU makes while another changes the memory map.
    list::all_from(0).for_each(|domain| domain.unpause());
    Ok(())
}

/// The place in loader.conf that a message is about; without a setting, the default was at fault.
struct Cite<'a> {
    suffix: &'static str,
    domain: &'a str,
    value: Option<Value<'a>>,
}

impl fmt::Display for Cite<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            suffix,
            domain,
            value,
        } = self;
        match value {
            Some(value) => {
                let place = value.raw();
                write!(
                    f,
                    "loader.conf:{}:{}: {domain}{suffix}: \"{value}\"",
                    place.line, place.column
                )
            }
            None => write!(f, "domain {domain}"),
        }
    }
}
