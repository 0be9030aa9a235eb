//! Ending a domain: stop it, take its devices away, undo its ties to others, free its memory.
//!
//! Done in steps of bounded length: the control domain's hypercall is issued again until nothing is left.

use core::sync::atomic::Ordering;

use super::{Domain, events, list};
use crate::evtchn;
use crate::hypercall::{Events, Grants};
use crate::mm::PageArc;
use crate::{grant, pci, timers};

/// Pages that one step frees at most.
const PAGES_A_STEP: u64 = 4096;

/// Does some of the work; true when the domain is gone.
pub fn step(domain: &PageArc<Domain>) -> bool {
    if !domain.dying.swap(true, Ordering::SeqCst) {
        domain.evtchn.lock().begin_death();
        domain.grant.lock().begin_death();
        domain.for_each_vcpu(|vcpu| vcpu.kick());
    }
    let mut running = false;
    domain.for_each_vcpu(|vcpu| running |= vcpu.sched.running_on().is_some());
    if running {
        return false;
    }
    // From here on nothing executes in it. Its devices first: they do not obey the tables of the CPUs.
    pci::release(domain);
    if !evtchn::close_all(&Events(domain), domain.id) {
        return false;
    }
    if !grant::release_mappings(&Grants(domain), domain.id) {
        return false;
    }
    domain.for_each_vcpu(|vcpu| timers::forget(vcpu));
    domain.p2m.lock().io = None;
    if !domain.p2m.lock().tear_down(PAGES_A_STEP) {
        return false;
    }
    domain.clear_vcpus();
    list::remove(domain.id);
    log::info!("{} is destroyed", **domain);
    events::tell_operator(xen_abi::xen::VIRQ_DOM_EXC);
    true
}
