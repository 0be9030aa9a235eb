//! `event_channel_op`: what the event channel room needs to know of the caller and of other domains.

use core::sync::atomic::Ordering;

use xen_abi::Errno;
use xen_abi::event_channel::EVTCHNOP_SEND;

use super::{Caller, Outcome, Result, budget, with_domain};
use crate::domain::{Domain, events};
use crate::evtchn::{self, Environment, Notify, Table};
use crate::guest_args::Progress;
use crate::mm::FrameRef;
use crate::pci;
use crate::serial;
use crate::types::{DomId, Gfn};

/// Event channels as seen from one domain.
pub struct Events<'a>(pub &'a Domain);

impl Environment for Events<'_> {
    fn caller(&self) -> DomId {
        self.0.id
    }

    fn privileged(&self) -> bool {
        self.0.privileged
    }

    fn with_table<R>(&self, domain: DomId, f: impl FnOnce(&mut Table) -> R) -> Option<R> {
        with_domain(self.0, domain, |domain| f(&mut domain.evtchn.lock()))
    }

    fn notify(&self, domain: DomId, notify: Notify) {
        if notify == Notify::NONE {
            return;
        }
        // One that is gone needs no telling.
        let _ = with_domain(self.0, domain, |domain| events::act(domain, notify));
    }

    fn frame(&self, gfn: Gfn) -> Option<FrameRef> {
        self.0.p2m.lock().own_frame(gfn)
    }

    fn bind_pirq(&self, pirq: u32) -> Result<u32> {
        if !self.0.privileged {
            // As Xen for a number at or above the domain's `nr_pirqs`.
            return Err(Errno::EINVAL);
        }
        serial::bind(pirq, |device| self.0.evtchn.lock().bind_device(device))
    }

    fn unbind_device(&self, domain: DomId, device: u32) {
        serial::unbind(device);
        pci::unbind(domain, device);
    }

    fn preempt(&self) -> bool {
        budget::is_spent()
    }
}

/// `event_channel_op(cmd, arg)`.
pub fn call(caller: &Caller<'_>) -> Result {
    let mut memory = caller.memory(caller.argument(1));
    let domain = &caller.vcpu.domain;
    let command = caller.argument(0) as u32;
    let progress = evtchn::op(&Events(domain), command, &mut memory)?;
    if command == EVTCHNOP_SEND {
        domain.events_sent.fetch_add(1, Ordering::Relaxed);
    }
    match progress {
        Progress::Done(value) => Ok(Outcome::Value(value)),
        // The same operation again goes on where it was: what is closed stays closed.
        Progress::Preempted(_) => Ok(Outcome::Again([caller.argument(0), caller.argument(1), 0])),
    }
}
