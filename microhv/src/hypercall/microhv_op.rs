//! `microhv_op`: our own hypercall, for devices of driver domains and for counters.

use core::sync::atomic::Ordering;

use xen_abi::Errno;
use xen_abi::microhv::{
    Exits, GetDevice, Holdings, Info, MICROHV_EXITS, MICROHV_GET_DEVICE, MICROHV_HOLDINGS,
    MICROHV_INFO, MICROHV_MSIX_BIND, MsixBind,
};

use super::{Caller, DONE, Result};
use crate::domain;
use crate::mm::{self, frames};
use crate::pci;
use crate::types::DomId;

/// `microhv_op(cmd, arg)`.
pub fn call(caller: &Caller<'_>) -> Result {
    let argument = caller.argument(1);
    let domain = &caller.vcpu.domain;
    match caller.argument(0) as u32 {
        MICROHV_GET_DEVICE => {
            let request: GetDevice = caller.read(argument)?;
            let device = pci::describe(domain.id, request.index)?;
            caller.write(argument, &device)?;
        }
        MICROHV_MSIX_BIND => {
            let mut request: MsixBind = caller.read(argument)?;
            request.port = pci::msix_bind(domain, pci::Sbdf(request.sbdf), request.entry)?;
            caller.write(argument, &request)?;
        }
        MICROHV_EXITS => {
            caller.check_privilege()?;
            let mut request: Exits = caller.read(argument)?;
            count(&mut request)?;
            caller.write(argument, &request)?;
        }
        MICROHV_HOLDINGS => {
            caller.check_privilege()?;
            let request: Holdings = caller.read(argument)?;
            caller.write(argument, &holdings(request.domid)?)?;
        }
        MICROHV_INFO => {
            caller.check_privilege()?;
            let own = mm::own_memory();
            caller.write(
                argument,
                &Info {
                    image_bytes: own.image,
                    used_bytes: own.total(),
                    page_table_bytes: own.page_tables,
                    total_bytes: frames::total_frames() * 4096,
                },
            )?;
        }
        _ => return Err(Errno::ENOSYS),
    }
    Ok(DONE)
}

fn count(request: &mut Exits) -> Result<()> {
    let target = domain::find(DomId(request.domid)).ok_or(Errno::ESRCH)?;
    *request = Exits {
        domid: request.domid,
        ..Default::default()
    };
    target.for_each_vcpu(|vcpu| {
        for (total, counter) in request.exits.iter_mut().zip(&vcpu.exits) {
            *total += counter.load(Ordering::Relaxed);
        }
        for (total, counter) in request.hypercalls.iter_mut().zip(&vcpu.hypercalls) {
            *total += counter.load(Ordering::Relaxed);
        }
    });
    request.grant_copies = target.grant_copies.load(Ordering::Relaxed);
    request.interrupts_posted = target.interrupts_posted.load(Ordering::Relaxed);
    request.grant_maps = target.grant_maps.load(Ordering::Relaxed);
    request.events_sent = target.events_sent.load(Ordering::Relaxed);
    request.events_received = target.events_received.load(Ordering::Relaxed);
    Ok(())
}

fn holdings(domid: u16) -> Result<Holdings> {
    let target = domain::find(DomId(domid)).ok_or(Errno::ESRCH)?;
    let ports = target.evtchn.lock().ports_in_use();
    let (grants_used, grants_mapped) = {
        let grant = target.grant.lock();
        (grant.entries_in_use(), grant.mappings_in_use())
    };
    let pages = target.p2m.lock().ram_pages();
    Ok(Holdings {
        domid,
        ports,
        grants_used,
        grants_mapped,
        pages,
        ..Default::default()
    })
}
