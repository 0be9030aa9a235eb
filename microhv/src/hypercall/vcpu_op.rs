//! `vcpu_op`: starting and stopping vCPUs, their registered memory areas, their timers.

use xen_abi::Errno;
use xen_abi::vcpu::{
    self as abi, SingleshotFlags, VcpuGetPhysid, VcpuRegisterArea, VcpuRegisterVcpuInfo,
    VcpuSetPeriodicTimer, VcpuSetSingleshotTimer,
};
use xen_abi::xen::VcpuTimeInfo;

use super::{Caller, DONE, Outcome, Result};
use crate::domain::{Vcpu, events};
use crate::evtchn::VcpuInfoRef;
use crate::mm::{PageArc, frame_table};
use crate::timers::{GuestArea, MIN_PERIOD_NS};
use crate::types::{Gfn, PAGE_SIZE};
use crate::{arch, timers};

/// `vcpu_op(cmd, vcpuid, arg)`; a domain operates on its own vCPUs only.
pub fn call(caller: &mut Caller<'_>) -> Result {
    let argument = caller.argument(2);
    let id = u32::try_from(caller.argument(1)).map_err(|_| Errno::ENOENT)?;
    let vcpu = caller.vcpu.domain.vcpu(id).ok_or(Errno::ENOENT)?;
    match caller.argument(0) as u32 {
        abi::VCPUOP_INITIALISE => return super::hvm_context::initialise(caller, &vcpu, argument),
        abi::VCPUOP_UP => {
            if !vcpu.is_initialised() {
                return Err(Errno::EINVAL);
            }
            vcpu.bring_up();
        }
        abi::VCPUOP_DOWN => {
            vcpu.take_down();
            return Ok(Outcome::Yield);
        }
        abi::VCPUOP_IS_UP => return Ok(Outcome::Value(u64::from(vcpu.is_online()))),
        abi::VCPUOP_GET_RUNSTATE_INFO => caller.write(argument, &vcpu.runstate.now())?,
        abi::VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA => {
            let request: VcpuRegisterArea = caller.read(argument)?;
            let area = linear_area(caller, request.addr, size_of::<abi::VcpuRunstateInfo>())?;
            let mut areas = vcpu.areas.lock();
            areas.runstate = area;
            areas.publish_runstate(&vcpu.runstate.times());
        }
        abi::VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA => {
            let request: VcpuRegisterArea = caller.read(argument)?;
            let area = linear_area(caller, request.addr, size_of::<VcpuTimeInfo>())?;
            let mut areas = vcpu.areas.lock();
            areas.time = area;
            areas.publish_time(&timers::time_info());
        }
        abi::VCPUOP_REGISTER_VCPU_INFO => return register_vcpu_info(caller, &vcpu, argument),
        abi::VCPUOP_SET_PERIODIC_TIMER => {
            let request: VcpuSetPeriodicTimer = caller.read(argument)?;
            if request.period_ns < MIN_PERIOD_NS {
                return Err(Errno::EINVAL);
            }
            vcpu.timers.set_periodic(Some(request.period_ns));
            timers::arm(&vcpu);
        }
        abi::VCPUOP_STOP_PERIODIC_TIMER => vcpu.timers.set_periodic(None),
        abi::VCPUOP_SET_SINGLESHOT_TIMER | abi::VCPUOP_STOP_SINGLESHOT_TIMER
            if vcpu.id != caller.vcpu.id =>
        {
            return Err(Errno::EINVAL);
        }
        abi::VCPUOP_SET_SINGLESHOT_TIMER => {
            let request: VcpuSetSingleshotTimer = caller.read(argument)?;
            let past = request.timeout_abs_ns < arch::timer::now_ns();
            if request.flags.contains(SingleshotFlags::FUTURE) && past {
                return Err(Errno::ETIME);
            }
            vcpu.timers.set_singleshot(Some(request.timeout_abs_ns));
            timers::arm(&vcpu);
        }
        abi::VCPUOP_STOP_SINGLESHOT_TIMER => vcpu.timers.set_singleshot(None),
        abi::VCPUOP_SEND_NMI => {
            vcpu.vlapic.post_nmi();
            vcpu.kick();
        }
        abi::VCPUOP_GET_PHYSID => {
            let phys_id = u64::from(vcpu.id);
            caller.write(argument, &VcpuGetPhysid { phys_id })?;
        }
        _ => return Err(Errno::ENOSYS),
    }
    Ok(DONE)
}

/// `set_timer_op(timeout)`: the one-shot timer of the calling vCPU; zero stops it.
pub fn set_timer(caller: &Caller<'_>) -> Result {
    let timeout = caller.argument(0);
    let vcpu = caller.vcpu;
    vcpu.timers
        .set_singleshot((timeout != 0).then_some(timeout));
    timers::arm(vcpu);
    Ok(DONE)
}

/// The memory at the caller's linear address `at`, held; address 0 takes a registration back.
fn linear_area(caller: &Caller<'_>, at: u64, size: usize) -> Result<Option<GuestArea>> {
    if at == 0 {
        return Ok(None);
    }
    let last = at.checked_add(size as u64 - 1).ok_or(Errno::EFAULT)?;
    let first = linear_frame(caller, at)?;
    let crosses = at / PAGE_SIZE as u64 != last / PAGE_SIZE as u64;
    let second = crosses.then(|| linear_frame(caller, last)).transpose()?;
    Ok(Some(GuestArea {
        first,
        offset: at as usize % PAGE_SIZE,
        second,
    }))
}

fn linear_frame(caller: &Caller<'_>, at: u64) -> Result<crate::mm::FrameRef> {
    let gpa = caller
        .translation()
        .translate(&*caller.vcpu.domain, at, true)
        .ok_or(Errno::EFAULT)?;
    let p2m = caller.vcpu.domain.p2m.lock();
    p2m.own_frame(Gfn::containing(gpa)).ok_or(Errno::EFAULT)
}

/// Moves `vcpu`'s `vcpu_info` to a page of the guest's choice, once.
fn register_vcpu_info(caller: &Caller<'_>, vcpu: &PageArc<Vcpu>, argument: u64) -> Result {
    let request: VcpuRegisterVcpuInfo = caller.read(argument)?;
    let domain = &caller.vcpu.domain;
    let frame = domain
        .p2m
        .lock()
        .own_frame(Gfn(request.mfn))
        .ok_or(Errno::EINVAL)?;
    // Not a clone: at the largest count the frame would be lost for good.
    let again = frame_table::get(frame.mfn()).ok_or(Errno::EINVAL)?;
    let info = VcpuInfoRef::new(again, request.offset as usize).ok_or(Errno::EINVAL)?;
    let notify = domain
        .evtchn
        .lock()
        .register_vcpu_info(vcpu.id, frame, request.offset)?;
    vcpu.set_info(info);
    events::act(domain, notify);
    Ok(DONE)
}
