//! The control domain's privileges: life cycle, memory and start state of other domains, machine information. Everybody else gets
//! `EPERM`.

mod foreign;
mod machine;
mod physmap;

pub use foreign::{ForeignView, ForeignWindow};
pub use machine::*;
pub use physmap::{seed_grants, set_memory_map};

use crate::hypercall;
use alloc::vec;
use alloc::vec::Vec;
use xen_abi::domctl::*;
use xen_abi::hvm::op::{HVMOP_GET_PARAM, HVMOP_SET_PARAM, HvmParam};
use xen_abi::hvm::save::*;
use xen_abi::memory::{MemoryReservation, XENMEM_POPULATE_PHYSMAP};
use xen_abi::xen::{DOMID_INVALID, XenctlBitmap};
use xen_abi::{DomId, Errno};
use zerocopy::{Immutable, IntoBytes};

/// Issues a domctl whose union has no address in it.
fn plain<T: IntoBytes + Immutable>(cmd: u32, domain: DomId, arm: &T) -> Result<Domctl, Errno> {
    let mut request = Domctl::new(cmd, domain).with(arm);
    #[expect(unsafe_code, reason = "hypercall with a structure of plain numbers")]
    // SAFETY: callers pass arms without addresses.
    unsafe { hypercall::domctl(&mut request) }?;
    Ok(request)
}

/// Creates a domain, paused, without memory, with the vCPUs that `config` asks for. `domain`: the id wanted, or `None` for the next free one.
pub fn create_domain(
    domain: Option<DomId>,
    config: &XenDomctlCreatedomain,
) -> Result<DomId, Errno> {
    plain(
        XEN_DOMCTL_CREATEDOMAIN,
        domain.unwrap_or(DOMID_INVALID),
        config,
    )
    .map(|reply| reply.domain)
}

/// Destroys a domain. Repeats while the hypervisor says that it is not finished (`ERESTART`, `EAGAIN`).
pub fn destroy_domain(domain: DomId) -> Result<(), Errno> {
    loop {
        match plain(XEN_DOMCTL_DESTROYDOMAIN, domain, &0_u64) {
            Ok(_) => return Ok(()),
            Err(Errno::ERESTART | Errno::EAGAIN) => crate::event::yield_now(),
            Err(errno) => return Err(errno),
        }
    }
}

/// Stops a domain's vCPUs; counts.
pub fn pause_domain(domain: DomId) -> Result<(), Errno> {
    plain(XEN_DOMCTL_PAUSEDOMAIN, domain, &0_u64).map(drop)
}

/// Undoes one pause.
pub fn unpause_domain(domain: DomId) -> Result<(), Errno> {
    plain(XEN_DOMCTL_UNPAUSEDOMAIN, domain, &0_u64).map(drop)
}

/// Information on `domain`, or on the next one above it that exists (Xen's rule: compare the `domain` field). `ESRCH`: none.
pub fn domain_info(domain: DomId) -> Result<XenDomctlGetdomaininfo, Errno> {
    plain(
        XEN_DOMCTL_GETDOMAININFO,
        domain,
        &XenDomctlGetdomaininfo::default(),
    )
    .map(|reply| reply.get())
}

/// Limit of a domain's memory in KiB.
pub fn set_max_memory(domain: DomId, kib: u64) -> Result<(), Errno> {
    plain(
        XEN_DOMCTL_MAX_MEM,
        domain,
        &XenDomctlMaxMem { max_memkb: kib },
    )
    .map(drop)
}

/// Number of a domain's vCPUs.
pub fn set_max_vcpus(domain: DomId, max: u32) -> Result<(), Errno> {
    plain(XEN_DOMCTL_MAX_VCPUS, domain, &XenDomctlMaxVcpus { max }).map(drop)
}

/// State of one vCPU.
pub fn vcpu_info(domain: DomId, vcpu: u32) -> Result<XenDomctlGetvcpuinfo, Errno> {
    plain(
        XEN_DOMCTL_GETVCPUINFO,
        domain,
        &XenDomctlGetvcpuinfo {
            vcpu,
            ..Default::default()
        },
    )
    .map(|reply| reply.get())
}

/// A domain's UUID.
pub fn set_handle(domain: DomId, handle: xen_abi::xen::DomainHandle) -> Result<(), Errno> {
    plain(
        XEN_DOMCTL_SETDOMAINHANDLE,
        domain,
        &XenDomctlSetdomainhandle { handle },
    )
    .map(drop)
}

/// The fair-share weight of a domain (1 to 65535, 256 is normal) and its cap in percent of a CPU (0: none).
pub fn set_scheduling(domain: DomId, weight: u16, cap: u16) -> Result<(), Errno> {
    let arm = XenDomctlSchedulerOp {
        sched_id: XEN_SCHEDULER_CREDIT2,
        cmd: XEN_DOMCTL_SCHEDOP_PUTINFO,
        credit: XenDomctlSchedCredit { weight, cap },
        ..Default::default()
    };
    plain(XEN_DOMCTL_SCHEDULER_OP, domain, &arm).map(drop)
}

/// Weight and cap, as [`set_scheduling`] sets them.
pub fn scheduling(domain: DomId) -> Result<(u16, u16), Errno> {
    let arm = XenDomctlSchedulerOp {
        sched_id: XEN_SCHEDULER_CREDIT2,
        cmd: XEN_DOMCTL_SCHEDOP_GETINFO,
        ..Default::default()
    };
    let reply = plain(XEN_DOMCTL_SCHEDULER_OP, domain, &arm)?;
    let arm: XenDomctlSchedulerOp = reply.get();
    Ok((arm.credit.weight, arm.credit.cap))
}

/// Sends one of `XEN_DOMCTL_SENDTRIGGER_*` to a vCPU; `ENOSYS` for what such a domain does not know.
pub fn send_trigger(domain: DomId, vcpu: u32, trigger: u32) -> Result<(), Errno> {
    let arm = XenDomctlSendtrigger { trigger, vcpu };
    plain(XEN_DOMCTL_SENDTRIGGER, domain, &arm).map(drop)
}

/// Physical CPUs that a vCPU may run on: one bit each, little-endian, in `cpus`.
pub fn set_affinity(domain: DomId, vcpu: u32, cpus: &[u8]) -> Result<(), Errno> {
    let mut bitmap = cpus.to_vec();
    affinity(XEN_DOMCTL_SETVCPUAFFINITY, domain, vcpu, &mut bitmap)
}

/// Reads what [`set_affinity`] sets, for `cpu_count` CPUs.
pub fn get_affinity(domain: DomId, vcpu: u32, cpu_count: usize) -> Result<Vec<u8>, Errno> {
    let mut bitmap = vec![0; cpu_count.div_ceil(8)];
    affinity(XEN_DOMCTL_GETVCPUAFFINITY, domain, vcpu, &mut bitmap)?;
    Ok(bitmap)
}

fn affinity(cmd: u32, domain: DomId, vcpu: u32, bitmap: &mut [u8]) -> Result<(), Errno> {
    let nr_bits = u32::try_from(bitmap.len() * 8).map_err(|_| Errno::E2BIG)?;
    let cpumap_hard = XenctlBitmap {
        bitmap: bitmap.as_mut_ptr() as u64,
        nr_bits,
        _pad: 0,
    };
    let arm = XenDomctlVcpuaffinity {
        vcpu,
        flags: AffinityFlags::HARD,
        cpumap_hard,
        ..Default::default()
    };
    let mut request = Domctl::new(cmd, domain).with(&arm);
    #[expect(unsafe_code, reason = "hypercall with a buffer")]
    // SAFETY: the bitmap is borrowed mutably and as long as said.
    unsafe { hypercall::domctl(&mut request) }.map(drop)
}

/// Gives a domain memory: `1 << order` pages at each of `gfns`. `ENOMEM` with fewer pages given: the first return value of the error
/// says how many extents were.
pub fn populate(domain: DomId, gfns: &[u64], order: u32) -> Result<(), (usize, Errno)> {
    // The hypervisor may write the list; it is the caller's, so a copy.
    let mut frames = gfns.to_vec();
    let mut done = 0;
    while done < frames.len() {
        let rest = &mut frames[done..];
        let mut op = MemoryReservation {
            extent_start: rest.as_mut_ptr() as u64,
            nr_extents: rest.len() as u64,
            extent_order: order,
            domid: domain,
            ..Default::default()
        };
        #[expect(unsafe_code, reason = "hypercall with a buffer")]
        // SAFETY: the list is borrowed mutably and as long as said; the memory is the other domain's.
        let result = unsafe { hypercall::memory_op(XENMEM_POPULATE_PHYSMAP, &mut op) };
        match result {
            // Xen answers with the number of extents done, fewer than asked when memory is out.
            Ok(0) => return Err((done, Errno::ENOMEM)),
            Ok(count) => done += (count as usize).min(frames.len() - done),
            Err(errno) => return Err((done, errno)),
        }
    }
    Ok(())
}

/// Pages of a large extent, as an order: 2 MiB. microhv takes no larger ones, which it would have to clear in one go.
const LARGE: u32 = 9;
/// How many extents one call asks for.
const BATCH: u64 = 512;

/// Gives a domain all of `[first, first + pages)`, with the largest extents that fit.
pub fn populate_range(domain: DomId, first: u64, pages: u64) -> Result<(), Errno> {
    let (mut gfn, end) = (first, first.checked_add(pages).ok_or(Errno::EINVAL)?);
    while gfn < end {
        let (order, count) = next_batch(gfn, end);
        let gfns: Vec<u64> = (0..count).map(|index| gfn + (index << order)).collect();
        match populate(domain, &gfns, order) {
            Ok(()) => gfn += count << order,
            // No run that long is free: smaller pieces for the next one.
            Err((done, Errno::ENOMEM)) if order > 0 => {
                gfn += (done as u64) << order;
                let small: Vec<u64> = (gfn..gfn + (1 << order)).collect();
                populate(domain, &small, 0).map_err(|(_, errno)| errno)?;
                gfn += small.len() as u64;
            }
            Err((_, errno)) => return Err(errno),
        }
    }
    Ok(())
}

/// The order of the largest extents with which to go on at `gfn`, before `end`, and how many of them to ask for.
fn next_batch(gfn: u64, end: u64) -> (u32, u64) {
    let large = 1 << LARGE;
    if gfn.is_multiple_of(large) && end - gfn >= large {
        (LARGE, ((end - gfn) / large).min(BATCH))
    } else {
        (0, end.min((gfn + 1).next_multiple_of(large)) - gfn)
    }
}

/// Sets a HVM parameter (`HVM_PARAM_*`) of a domain.
pub fn set_param(domain: DomId, index: u32, value: u64) -> Result<(), Errno> {
    param(HVMOP_SET_PARAM, domain, index, value).map(drop)
}

/// Reads a HVM parameter of a domain (`DOMID_SELF` for one's own needs no privilege).
pub fn get_param(domain: DomId, index: u32) -> Result<u64, Errno> {
    param(HVMOP_GET_PARAM, domain, index, 0)
}

fn param(cmd: u32, domain: DomId, index: u32, value: u64) -> Result<u64, Errno> {
    let mut op = HvmParam {
        domid: domain,
        pad: 0,
        index,
        value,
    };
    #[expect(unsafe_code, reason = "hypercall with a structure of plain numbers")]
    // SAFETY: the structure carries no address.
    unsafe { hypercall::hvm_op(cmd, &mut op) }?;
    Ok(op.value)
}

/// Sets the registers of vCPU 0 of a domain that has not run yet.
pub fn set_cpu_context(domain: DomId, cpu: &HvmHwCpu) -> Result<(), Errno> {
    let mut buffer = context_records(cpu);
    let arm = XenDomctlHvmcontext {
        size: buffer.len() as u32,
        _pad: 0,
        buffer: buffer.as_mut_ptr() as u64,
    };
    let mut request = Domctl::new(XEN_DOMCTL_SETHVMCONTEXT, domain).with(&arm);
    #[expect(unsafe_code, reason = "hypercall with a buffer")]
    // SAFETY: the buffer is borrowed mutably and as long as said.
    unsafe { hypercall::domctl(&mut request) }.map(drop)
}

/// HEADER, CPU and END records.
fn context_records(cpu: &HvmHwCpu) -> Vec<u8> {
    let header = HvmSaveHeader {
        magic: HVM_FILE_MAGIC,
        version: HVM_FILE_VERSION,
        ..Default::default()
    };
    let mut buffer = Vec::new();
    let mut record = |typecode, bytes: &[u8]| {
        let descriptor = HvmSaveDescriptor {
            typecode,
            instance: 0,
            length: bytes.len() as u32,
        };
        buffer.extend_from_slice(descriptor.as_bytes());
        buffer.extend_from_slice(bytes);
    };
    record(HVM_SAVE_CODE_HEADER, header.as_bytes());
    record(HVM_SAVE_CODE_CPU, cpu.as_bytes());
    record(HVM_SAVE_CODE_END, &[]);
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Every page is asked for once, in extents that microhv takes and in no more calls than need be.
        #[test]
        fn batches_cover_a_range(first in 0u64..1 << 21, pages in 1u64..1 << 21) {
            let (mut gfn, end, mut calls) = (first, first + pages, 0);
            while gfn < end {
                let (order, count) = next_batch(gfn, end);
                prop_assert!(order == 0 || order == LARGE);
                prop_assert!((1..=BATCH).contains(&count) && gfn.is_multiple_of(1 << order));
                gfn += count << order;
                calls += 1;
            }
            prop_assert_eq!(gfn, end);
            prop_assert!(calls <= 2 + pages.div_ceil(BATCH << LARGE));
        }
    }

    #[test]
    fn context_has_the_three_records() {
        let bytes = context_records(&HvmHwCpu {
            rip: 0x1234,
            ..Default::default()
        });
        let cpu = size_of::<HvmHwCpu>();
        assert_eq!(bytes.len(), 8 + 24 + 8 + cpu + 8);
        assert_eq!(bytes[..8], [1, 0, 0, 0, 24, 0, 0, 0]);
        assert_eq!(bytes[32..36], [2, 0, 0, 0]);
        assert_eq!(bytes[40 + core::mem::offset_of!(HvmHwCpu, rip)], 0x34);
        assert_eq!(bytes[bytes.len() - 8..], [0; 8]);
    }
}
