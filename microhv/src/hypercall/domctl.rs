//! `domctl`: creating, watching and ending domains, for the control domain.

use core::sync::atomic::Ordering;

use xen_abi::Errno;
use xen_abi::domctl::{
    self as abi, AffinityFlags, Domctl, DominfFlags, XEN_DOMINF_SHUTDOWNSHIFT,
    XenDomctlCreatedomain, XenDomctlGetdomaininfo, XenDomctlGetvcpuinfo, XenDomctlMaxMem,
    XenDomctlMaxVcpus, XenDomctlSchedulerOp, XenDomctlSendtrigger, XenDomctlSetdomainhandle,
    XenDomctlVcpuaffinity,
};
use xen_abi::xen::XenctlBitmap;

use super::{Caller, DONE, Outcome, Result, hvm_context};
use crate::arch;
use crate::domain::{self, Domain, MAX_VCPUS, Vcpu, destroy};
use crate::guest_args::GuestArgs;
use crate::mm::PageArc;
use crate::types::DomId;

/// `domctl(arg)`.
pub fn call(caller: &Caller<'_>) -> Result {
    let argument = caller.argument(0);
    let mut request: Domctl = caller.read(argument)?;
    if request.interface_version != abi::XEN_DOMCTL_INTERFACE_VERSION {
        return Err(Errno::EACCES);
    }
    caller.check_privilege()?;
    match request.cmd {
        abi::XEN_DOMCTL_CREATEDOMAIN => create(&mut request)?,
        abi::XEN_DOMCTL_GETDOMAININFO => {
            // As Xen: the first domain with this number or a higher one.
            let found = domain::next_from(request.domain).ok_or(Errno::ESRCH)?;
            request.domain = found.id.0;
            request.set(&info(&found));
        }
        _ => {
            let domain = domain::find(DomId(request.domain)).ok_or(Errno::ESRCH)?;
            if request.cmd == abi::XEN_DOMCTL_DESTROYDOMAIN {
                if domain.privileged {
                    return Err(Errno::EINVAL);
                }
                if !destroy::step(&domain) {
                    return Ok(Outcome::Again([argument, 0, 0]));
                }
                return Ok(DONE);
            }
            on_domain(caller, &domain, &mut request)?;
        }
    }
    caller.write(argument, &request)?;
    Ok(DONE)
}

fn create(request: &mut Domctl) -> Result<()> {
    let arm: XenDomctlCreatedomain = request.get();
    if arm.max_vcpus == 0 || arm.max_vcpus as usize > MAX_VCPUS {
        return Err(Errno::EINVAL);
    }
    let wanted = (request.domain != 0 && request.domain < xen_abi::xen::DOMID_FIRST_RESERVED)
        .then_some(DomId(request.domain));
    let domain = domain::create(wanted, arm.handle, false)?;
    domain.max_vcpus.store(arm.max_vcpus, Ordering::Relaxed);
    crate::timers::publish_wallclock(&domain);
    request.domain = domain.id.0;
    Ok(())
}

fn on_domain(caller: &Caller<'_>, domain: &PageArc<Domain>, request: &mut Domctl) -> Result<()> {
    match request.cmd {
        abi::XEN_DOMCTL_PAUSEDOMAIN => {
            if domain.id == caller.vcpu.domain.id {
                return Err(Errno::EINVAL);
            }
            domain.pause();
        }
        abi::XEN_DOMCTL_UNPAUSEDOMAIN => domain.unpause(),
        abi::XEN_DOMCTL_RESUMEDOMAIN => domain.resume(),
        abi::XEN_DOMCTL_MAX_MEM => {
            let arm: XenDomctlMaxMem = request.get();
            domain.max_pages.store(arm.max_memkb / 4, Ordering::Relaxed);
        }
        abi::XEN_DOMCTL_MAX_VCPUS => {
            create_vcpus(domain, request.get::<XenDomctlMaxVcpus>().max)?;
        }
        abi::XEN_DOMCTL_SETHVMCONTEXT => hvm_context::set(caller, domain, &request.get())?,
        abi::XEN_DOMCTL_GETVCPUINFO => {
            let mut arm: XenDomctlGetvcpuinfo = request.get();
            let vcpu = domain.vcpu(arm.vcpu).ok_or(Errno::ESRCH)?;
            arm.online = u8::from(vcpu.is_online());
            arm.blocked = u8::from(vcpu.sched.is_waiting());
            arm.running = u8::from(vcpu.sched.running_on().is_some());
            arm.cpu_time = vcpu.sched.cpu_time();
            arm.cpu = vcpu.sched.cpu() as u32;
            request.set(&arm);
        }
        abi::XEN_DOMCTL_SETVCPUAFFINITY => {
            let arm: XenDomctlVcpuaffinity = request.get();
            let vcpu = domain.vcpu(arm.vcpu).ok_or(Errno::ESRCH)?;
            set_affinity(caller, &vcpu, &arm)?;
        }
        abi::XEN_DOMCTL_GETVCPUAFFINITY => {
            let arm: XenDomctlVcpuaffinity = request.get();
            let vcpu = domain.vcpu(arm.vcpu).ok_or(Errno::ESRCH)?;
            if arm.flags.contains(AffinityFlags::HARD) {
                write_bitmap(caller, &arm.cpumap_hard, vcpu.sched.affinity())?;
            }
            if arm.flags.contains(AffinityFlags::SOFT) {
                write_bitmap(caller, &arm.cpumap_soft, u64::MAX)?;
            }
        }
        abi::XEN_DOMCTL_SCHEDULER_OP => {
            let mut arm: XenDomctlSchedulerOp = request.get();
            match arm.cmd {
                abi::XEN_DOMCTL_SCHEDOP_PUTINFO => {
                    if arm.credit.weight == 0 {
                        return Err(Errno::EINVAL);
                    }
                    domain
                        .weight
                        .store(u32::from(arm.credit.weight), Ordering::Relaxed);
                }
                abi::XEN_DOMCTL_SCHEDOP_GETINFO => {
                    arm.credit.weight = domain.weight.load(Ordering::Relaxed) as u16;
                    request.set(&arm);
                }
                _ => return Err(Errno::EINVAL),
            }
        }
        abi::XEN_DOMCTL_SETDOMAINHANDLE => {
            *domain.handle.lock() = request.get::<XenDomctlSetdomainhandle>().handle;
        }
        abi::XEN_DOMCTL_SENDTRIGGER => {
            let arm: XenDomctlSendtrigger = request.get();
            let vcpu = domain.vcpu(arm.vcpu).ok_or(Errno::ESRCH)?;
            match arm.trigger {
                abi::XEN_DOMCTL_SENDTRIGGER_NMI => vcpu.vlapic.post_nmi(),
                // No power button: PVH guests have no such ACPI device here.
                _ => return Err(Errno::ENOSYS),
            }
            vcpu.kick();
        }
        // The clock starts at the machine's; guests keep their own offsets.
        abi::XEN_DOMCTL_SETTIMEOFFSET => {}
        _ => return Err(Errno::ENOSYS),
    }
    Ok(())
}

/// Brings the number of vCPUs to `count`; they are offline.
fn create_vcpus(domain: &PageArc<Domain>, count: u32) -> Result<()> {
    if count == 0 || count > domain.max_vcpus.load(Ordering::Relaxed) {
        return Err(Errno::EINVAL);
    }
    for id in domain.vcpu_count()..count {
        Vcpu::create(domain, id).ok_or(Errno::ENOMEM)?;
    }
    Ok(())
}

fn set_affinity(caller: &Caller<'_>, vcpu: &Vcpu, arm: &XenDomctlVcpuaffinity) -> Result<()> {
    if !arm.flags.contains(AffinityFlags::HARD) {
        // Soft affinity is a hint that this scheduler does not take.
        return Err(Errno::ENOSYS);
    }
    let wanted = read_bitmap(caller, &arm.cpumap_hard)?;
    let existing = match arch::cpu_count() {
        count @ 0..64 => (1 << count) - 1,
        _ => u64::MAX,
    };
    if wanted & existing == 0 {
        return Err(Errno::EINVAL);
    }
    vcpu.sched.set_affinity(wanted);
    vcpu.kick();
    // As Xen: the caller learns what is in effect.
    write_bitmap(caller, &arm.cpumap_hard, wanted & existing)
}

fn read_bitmap(caller: &Caller<'_>, map: &XenctlBitmap) -> Result<u64> {
    let mut bytes = [0; 8];
    let length = (map.nr_bits as usize).div_ceil(8).min(bytes.len());
    caller.memory(map.bitmap).read(0, &mut bytes[..length])?;
    Ok(u64::from_le_bytes(bytes))
}

fn write_bitmap(caller: &Caller<'_>, map: &XenctlBitmap, value: u64) -> Result<()> {
    let bytes = value.to_le_bytes();
    let length = (map.nr_bits as usize).div_ceil(8).min(bytes.len());
    caller.memory(map.bitmap).write(0, &bytes[..length])
}

/// What `xl list` shows of `domain`.
pub fn info(domain: &Domain) -> XenDomctlGetdomaininfo {
    let mut flags = DominfFlags::HVM_GUEST | DominfFlags::HAP;
    let mut cpu_time = 0;
    let mut online = 0;
    let mut running = false;
    let mut all_blocked = true;
    domain.for_each_vcpu(|vcpu| {
        cpu_time += vcpu.sched.cpu_time();
        if vcpu.is_online() {
            online += 1;
            all_blocked &= vcpu.sched.is_waiting();
            running |= vcpu.sched.running_on().is_some();
        }
    });
    flags.set(DominfFlags::DYING, domain.is_dying());
    flags.set(DominfFlags::PAUSED, domain.is_paused());
    flags.set(DominfFlags::RUNNING, running);
    flags.set(DominfFlags::BLOCKED, all_blocked && !running);
    if let Some(reason) = domain.shutdown_reason() {
        flags |= DominfFlags::SHUTDOWN
            | DominfFlags::from_bits_retain((reason & 0xff) << XEN_DOMINF_SHUTDOWNSHIFT);
    }
    XenDomctlGetdomaininfo {
        domain: domain.id.0,
        flags,
        tot_pages: domain.p2m.lock().ram_pages(),
        max_pages: domain.max_pages.load(Ordering::Relaxed),
        cpu_time,
        nr_online_vcpus: online,
        max_vcpu_id: domain.vcpu_count().wrapping_sub(1),
        handle: *domain.handle.lock(),
        gpaddr_bits: 48,
        ..Default::default()
    }
}
