//! `grant_table_op`: what the grant room needs to know of the caller, of other domains and of address spaces.

use core::sync::atomic::Ordering;

use xen_abi::grant_table::{GNTTABOP_COPY, GNTTABOP_MAP_GRANT_REF};

use super::physmap::place;
use super::{Caller, Outcome, Result, budget, with_domain};
use crate::domain::{Domain, flush};
use crate::grant::{self, CannotMap, Environment, Table};
use crate::guest_args::Progress;
use crate::mm::FrameRef;
use crate::paging::Access;
use crate::types::{DomId, Gfn, Mfn};

/// Grants as seen from one domain.
pub struct Grants<'a>(pub &'a Domain);

impl Environment for Grants<'_> {
    fn caller(&self) -> DomId {
        self.0.id
    }

    fn privileged(&self) -> bool {
        self.0.privileged
    }

    fn with_table<R>(&self, domain: DomId, f: impl FnOnce(&mut Table) -> R) -> Option<R> {
        with_domain(self.0, domain, |domain| f(&mut domain.grant.lock()))
    }

    fn frame(&self, domain: DomId, gfn: Gfn) -> Option<(FrameRef, bool)> {
        with_domain(self.0, domain, |domain| domain.p2m.lock().frame(gfn)).flatten()
    }

    fn map(&self, gfn: Gfn, frame: FrameRef, write: bool) -> core::result::Result<(), CannotMap> {
        place(self.0, gfn, frame, Access::data(write), false).map_err(|_| CannotMap)
    }

    fn unmap(&self, gfn: Gfn, mfn: Mfn) -> Option<FrameRef> {
        let mut p2m = self.0.p2m.lock();
        // A domain may map what it granted to itself: the owner does not matter, the page does.
        if p2m.lookup(gfn)?.mfn != mfn {
            return None;
        }
        p2m.remove(gfn).ok().flatten()
    }

    fn flush(&self) {
        flush::flush(self.0);
    }

    fn preempt(&self) -> bool {
        budget::is_spent()
    }
}

/// `grant_table_op(cmd, list, count)`.
pub fn call(caller: &Caller<'_>) -> Result {
    let command = caller.argument(0) as u32;
    let list = caller.argument(1);
    let count = caller.argument(2) as u32;
    let domain = &caller.vcpu.domain;
    let mut memory = caller.memory(list);
    let progress = grant::op(&Grants(domain), command, &mut memory, count)?;
    let done = match progress {
        Progress::Done(_) => count,
        Progress::Preempted(done) => done,
    };
    if command == GNTTABOP_COPY {
        domain
            .grant_copies
            .fetch_add(done.into(), Ordering::Relaxed);
    } else if command == GNTTABOP_MAP_GRANT_REF {
        domain.grant_maps.fetch_add(done.into(), Ordering::Relaxed);
    }
    match progress {
        Progress::Done(value) => Ok(Outcome::Value(value)),
        Progress::Preempted(done) => Ok(Outcome::Again([
            u64::from(command),
            list + u64::from(done) * grant::entry_size(command) as u64,
            u64::from(count - done),
        ])),
    }
}
