//! The timer that ends waiting at a deadline.

use spin::Mutex;
use xen_abi::Errno;
use xen_abi::event_channel::EvtchnPort;
use xen_abi::vcpu::{
    SingleshotFlags, VCPUOP_SET_SINGLESHOT_TIMER, VCPUOP_STOP_SINGLESHOT_TIMER,
    VcpuSetSingleshotTimer,
};
use xen_abi::xen::VIRQ_TIMER;

use super::Port;
use crate::hypercall;
use crate::time::Instant;

static TIMER: Mutex<Timer> = Mutex::new(Timer {
    port: None,
    armed: None,
});

struct Timer {
    port: Option<Port>,
    /// The deadline that the hypervisor knows.
    armed: Option<Instant>,
}

/// Takes the timer's channel, which otherwise the first wait with a deadline does.
pub fn bind_timer() -> Result<(), Errno> {
    let mut timer = TIMER.lock();
    if timer.port.is_none() {
        timer.port = Some(Port::bind_virq(VIRQ_TIMER)?);
    }
    Ok(())
}

#[expect(unsafe_code, reason = "hypercall with a structure of plain numbers")]
pub(super) fn arm(deadline: Instant) -> Result<(), Errno> {
    bind_timer()?;
    let mut timer = TIMER.lock();
    // A timer that fired is not armed any more, whatever we last asked for.
    if timer
        .armed
        .is_some_and(|armed| armed == deadline && Instant::now() < armed)
    {
        return Ok(());
    }
    let mut op = VcpuSetSingleshotTimer {
        timeout_abs_ns: deadline.as_nanos(),
        flags: SingleshotFlags::empty(),
        _pad: 0,
    };
    // SAFETY: the structure carries no address.
    unsafe { hypercall::vcpu_op(VCPUOP_SET_SINGLESHOT_TIMER, &mut op) }?;
    timer.armed = Some(deadline);
    Ok(())
}

#[expect(unsafe_code, reason = "hypercall without a structure")]
pub(super) fn disarm() {
    let mut timer = TIMER.lock();
    // One that has fired needs no stopping.
    if timer
        .armed
        .take()
        .is_some_and(|armed| Instant::now() < armed)
    {
        // SAFETY: no argument is read.
        let _ = unsafe { hypercall::vcpu_op(VCPUOP_STOP_SINGLESHOT_TIMER, &mut 0_u64) };
    }
}

/// The timer's port: [`take_pending`] yields it when a deadline passed. Nobody else need care about it.
pub fn is_timer(port: EvtchnPort) -> bool {
    TIMER
        .lock()
        .port
        .as_ref()
        .is_some_and(|timer| timer.number() == port)
}
