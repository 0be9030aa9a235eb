//! Raising events: from a port's pending bit to a vCPU that looks.

use core::sync::atomic::Ordering;

use super::{Domain, Vcpu};
use crate::evtchn::Notify;
use crate::types::DomId;

/// Does what a delivery left to do once the table is unlocked.
pub fn act(domain: &Domain, notify: Notify) {
    if let Some(vcpu) = notify.upcall.and_then(|id| domain.vcpu(id)) {
        domain.events_received.fetch_add(1, Ordering::Relaxed);
        vcpu.deliver_upcall();
    }
    if notify.poll.is_some() {
        // Whoever polls looks at its ports itself: waking it for another port costs one more look.
        let pollers = domain.pollers.load(Ordering::SeqCst);
        for id in 0..u32::BITS {
            if pollers & 1 << id != 0
                && let Some(vcpu) = domain.vcpu(id)
            {
                end_poll(&vcpu);
            }
        }
    }
}

/// Raises a per-vCPU VIRQ.
pub fn raise_virq(vcpu: &Vcpu, virq: u32) {
    let notify = vcpu.domain.evtchn.lock().raise_virq(virq, vcpu.id);
    act(&vcpu.domain, notify);
}

/// Raises a global VIRQ in Domain-0, whose vCPU 0 has them all.
pub fn tell_operator(virq: u32) {
    if let Some(dom0) = super::find(DomId(0)) {
        let notify = dom0.evtchn.lock().raise_virq(virq, 0);
        act(&dom0, notify);
    }
}

/// Raises the port to which device interrupt `device` is bound.
pub fn raise_device(domain: &Domain, port: u32, device: u32) {
    let notify = domain.evtchn.lock().raise_device(port, device);
    act(domain, notify);
}

/// The vCPU waits for ports from now on; its next look decides whether it sleeps.
pub fn start_poll(vcpu: &Vcpu) {
    vcpu.wait_for_poll();
    vcpu.domain.pollers.fetch_or(1 << vcpu.id, Ordering::SeqCst);
}

/// The vCPU does not wait for ports any more.
pub fn stop_poll(vcpu: &Vcpu) {
    vcpu.domain
        .pollers
        .fetch_and(!(1 << vcpu.id), Ordering::SeqCst);
    vcpu.timers.set_poll(None);
    vcpu.end_poll();
}

/// A port it may wait for is pending, or its time is over.
pub fn end_poll(vcpu: &Vcpu) {
    stop_poll(vcpu);
    vcpu.kick();
}
