//! `sched_op`: a domain's say in its own scheduling.

use xen_abi::Errno;
use xen_abi::sched::{self as abi, SchedPoll, SchedRemoteShutdown, SchedShutdown};

use super::{Caller, DONE, Outcome, Result, target};
use crate::domain::{self, events};
use crate::guest_args::GuestArgs;
use crate::{arch, timers};

/// Ports that one `SCHEDOP_poll` may name, as in Xen.
const MAX_POLL_PORTS: u32 = 128;

/// `sched_op(cmd, arg)`.
pub fn call(caller: &mut Caller<'_>) -> Result {
    let argument = caller.argument(1);
    match caller.argument(0) as u32 {
        abi::SCHEDOP_YIELD => Ok(Outcome::Yield),
        abi::SCHEDOP_BLOCK => {
            // Like `sti; hlt`: the upcall is allowed from here on, and one that waits ends the block at once.
            caller.vcpu.unmask_upcall();
            caller.vcpu.wait_for_event();
            Ok(Outcome::Block)
        }
        abi::SCHEDOP_SHUTDOWN => {
            let shutdown: SchedShutdown = caller.read(argument)?;
            if shutdown.reason > abi::SHUTDOWN_MAX {
                return Err(Errno::EINVAL);
            }
            domain::shut_down(&caller.vcpu.domain, shutdown.reason);
            Ok(Outcome::Yield)
        }
        abi::SCHEDOP_SHUTDOWN_CODE => Ok(DONE),
        abi::SCHEDOP_POLL => poll(caller, argument),
        abi::SCHEDOP_REMOTE_SHUTDOWN => {
            caller.check_privilege()?;
            let shutdown: SchedRemoteShutdown = caller.read(argument)?;
            let domain = target(caller, shutdown.domain_id)?;
            if shutdown.reason > abi::SHUTDOWN_MAX {
                return Err(Errno::EINVAL);
            }
            domain::shut_down(&domain, shutdown.reason);
            Ok(DONE)
        }
        _ => Err(Errno::ENOSYS),
    }
}

/// Waits until one of some ports is pending, or a time has passed; masked ports count.
fn poll(caller: &Caller<'_>, argument: u64) -> Result {
    let request: SchedPoll = caller.read(argument)?;
    if request.nr_ports > MAX_POLL_PORTS {
        return Err(Errno::EINVAL);
    }
    let vcpu = caller.vcpu;
    let now = arch::timer::now_ns();
    if request.timeout != 0 && request.timeout <= now {
        return Ok(DONE);
    }
    // First say that we poll, then look: an event between the two wakes us.
    events::start_poll(vcpu);
    let mut ports = caller.memory(request.ports);
    for index in 0..request.nr_ports as usize {
        let port: u32 = match ports.get(index) {
            Ok(port) => port,
            Err(errno) => {
                events::stop_poll(vcpu);
                return Err(errno);
            }
        };
        let (exists, pending) = {
            let table = vcpu.domain.evtchn.lock();
            (table.status(port).is_some(), table.is_pending(port))
        };
        if !exists || pending {
            events::stop_poll(vcpu);
            return if exists { Ok(DONE) } else { Err(Errno::EINVAL) };
        }
    }
    vcpu.timers
        .set_poll((request.timeout != 0).then_some(request.timeout));
    timers::arm(vcpu);
    Ok(Outcome::Block)
}
