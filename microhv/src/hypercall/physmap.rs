//! `XENMEM_add_to_physmap[_batch]`: special pages and other domains' pages at an address of the caller's choice.

use xen_abi::Errno;
use xen_abi::memory::{
    self as abi, AddToPhysmap, AddToPhysmapBatch, MEMOP_EXTENT_SHIFT, XENMAPIDX_GRANT_TABLE_STATUS,
};

use super::{Caller, DONE, Outcome, Result, budget, target};
use crate::domain::{self, Domain, flush};
use crate::guest_args::GuestArgs;
use crate::mm::{FrameRef, frame_table};
use crate::paging::Access;
use crate::types::{DomId, Gfn};

/// `XENMEM_add_to_physmap`: one page.
pub fn add(caller: &Caller<'_>, argument: u64) -> Result {
    let request: AddToPhysmap = caller.read(argument)?;
    let domain = target(caller, request.domid)?;
    let frame = special(&domain, request.space, request.idx)?;
    // As for `memory::give_back`, Domain-0's mappings of others may go too.
    place(
        &domain,
        Gfn(request.gpfn),
        frame,
        Access::ALL,
        domain.privileged,
    )?;
    Ok(DONE)
}

/// `XENMEM_add_to_physmap_batch`: many pages, each with an error of its own.
pub fn add_batch(caller: &Caller<'_>, argument: u64, start: u64) -> Result {
    let request: AddToPhysmapBatch = caller.read(argument)?;
    let domain = target(caller, request.domid)?;
    let source = match u32::from(request.space) {
        abi::XENMAPSPACE_GMFN_FOREIGN => {
            caller.check_privilege()?;
            Some(domain::find(DomId(request.foreign_domid)).ok_or(Errno::ESRCH)?)
        }
        _ => None,
    };
    // One for each array, so that each remembers the page it is in.
    let mut idxs = caller.memory(request.idxs);
    let mut gpfns = caller.memory(request.gpfns);
    let mut errs = caller.memory(request.errs);
    for index in start..u64::from(request.size) {
        if index > start && budget::is_spent() {
            return Ok(Outcome::Again([
                u64::from(abi::XENMEM_ADD_TO_PHYSMAP_BATCH) | index << MEMOP_EXTENT_SHIFT,
                argument,
                0,
            ]));
        }
        let index = index as usize;
        let idx: u64 = idxs.get(index)?;
        let gpfn: u64 = gpfns.get(index)?;
        let frame = match &source {
            Some(foreign) => foreign_page(foreign, Gfn(idx)),
            None => special(&domain, u32::from(request.space), idx).map(|f| (f, Access::ALL)),
        };
        let placed = frame.and_then(|(frame, access)| {
            place(&domain, Gfn(gpfn), frame, access, domain.privileged)
        });
        let status = placed.err().map_or(0, |errno| -(i32::from(errno.number())));
        errs.put(index, &status)?;
    }
    Ok(DONE)
}

/// Maps `frame` at `gfn`, in place of memory of the domain's own that was there; with `over_foreign` also in place of
/// other domains' memory that it has mapped.
pub fn place(
    domain: &Domain,
    gfn: Gfn,
    frame: FrameRef,
    access: Access,
    over_foreign: bool,
) -> Result<()> {
    let old = {
        let mut p2m = domain.p2m.lock();
        if !over_foreign && !p2m.is_own_or_free(gfn) {
            return Err(Errno::EINVAL);
        }
        p2m.add_frame(gfn, frame, access)?
    };
    if old.is_some() {
        flush::flush(domain);
    }
    drop(old);
    Ok(())
}

/// A page that microhv keeps for the domain, or one of the domain's own that moves.
fn special(domain: &Domain, space: u32, idx: u64) -> Result<FrameRef> {
    match space {
        // Not a clone: the guest decides how often it maps the page, and this one refuses before the count is full.
        abi::XENMAPSPACE_SHARED_INFO if idx == 0 => {
            frame_table::get(domain.shared_info.mfn()).ok_or(Errno::ENOMEM)
        }
        abi::XENMAPSPACE_GRANT_TABLE if idx & XENMAPIDX_GRANT_TABLE_STATUS == 0 => {
            let index = u32::try_from(idx).map_err(|_| Errno::EINVAL)?;
            domain.grant.lock().frame(index)
        }
        abi::XENMAPSPACE_GMFN => {
            let frame = domain.p2m.lock().remove_own(Gfn(idx))?;
            flush::flush(domain);
            frame.ok_or(Errno::EINVAL)
        }
        abi::XENMAPSPACE_SHARED_INFO | abi::XENMAPSPACE_GRANT_TABLE => Err(Errno::EINVAL),
        _ => Err(Errno::ENOSYS),
    }
}

/// A page of another domain; what that one cannot write, the mapper cannot either.
fn foreign_page(foreign: &Domain, gfn: Gfn) -> Result<(FrameRef, Access)> {
    let (frame, writable) = foreign.p2m.lock().frame(gfn).ok_or(Errno::ENOENT)?;
    Ok((frame, Access::data(writable)))
}
