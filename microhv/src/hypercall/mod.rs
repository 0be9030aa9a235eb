//! Hypercalls: which exist, who may call them, and how their arguments come in.
//!
//! The numbers, structures and errors are Xen's (see `xen-abi`). What a stock kernel asks for and microhv lacks
//! answers `-ENOSYS` and is logged once per number.

mod budget;
mod caller;
mod console_io;
mod domctl;
mod event_channel;
mod grant_table;
mod hvm_context;
mod hvm_op;
mod memory;
mod microhv_op;
mod physmap;
mod sched_op;
mod sysctl;
#[cfg(test)]
mod tests;
mod vcpu_op;
mod version;

use core::sync::atomic::{AtomicU64, Ordering};

use xen_abi::Errno;
use xen_abi::hypercall as nr;

use crate::console;
use crate::domain::{self, Domain, Vcpu};
use crate::exit::After;
use crate::mm::PageArc;
use crate::types::DomId;
use crate::vcpu::VcpuRun;

pub use caller::Caller;
pub use event_channel::Events;
pub use grant_table::Grants;
pub use memory::populate;

/// How a hypercall ends, errors apart.
pub enum Outcome {
    /// It returns this value.
    Value(u64),
    /// It returns 0, and the vCPU waits for an event.
    Block,
    /// It returns 0, and another vCPU may have the CPU.
    Yield,
    /// Something more urgent waits: the guest issues it again with these first three arguments.
    Again([u64; 3]),
}

/// Success without a value.
const DONE: Outcome = Outcome::Value(0);

type Result<T = Outcome> = core::result::Result<T, Errno>;

/// Handles the hypercall in `run`'s registers; the result is in its rax afterwards.
pub fn dispatch(vcpu: &Vcpu, run: &mut VcpuRun) -> After {
    let mut caller = Caller::new(vcpu, run);
    let number = caller.number();
    vcpu.count_hypercall(number);
    budget::begin();
    let result = match caller.check_mode() {
        Ok(()) => call(&mut caller, number),
        Err(errno) => Err(errno),
    };
    let (value, after) = match result {
        Ok(Outcome::Value(value)) => (value, After::Resume),
        Ok(Outcome::Block) => (0, After::Block),
        Ok(Outcome::Yield) => (0, After::Yield),
        Ok(Outcome::Again(arguments)) => {
            caller.repeat(arguments);
            return After::Yield;
        }
        Err(errno) => {
            if vcpu.domain.id.0 < FIRST_GUEST.load(Ordering::Relaxed) as u16 {
                log_refused(&caller, number, errno);
            }
            (errno.to_ret() as u64, After::Resume)
        }
    };
    caller.set_result(value);
    after
}

/// Domains below this number are ours: their refused hypercalls are logged.
pub static FIRST_GUEST: AtomicU64 = AtomicU64::new(u16::MAX as u64);

fn call(caller: &mut Caller<'_>, number: u32) -> Result {
    match number {
        nr::HYPERVISOR_MEMORY_OP => memory::call(caller),
        nr::HYPERVISOR_XEN_VERSION => version::call(caller),
        nr::HYPERVISOR_CONSOLE_IO => console_io::call(caller),
        nr::HYPERVISOR_GRANT_TABLE_OP => grant_table::call(caller),
        nr::HYPERVISOR_VM_ASSIST => vm_assist(caller),
        nr::HYPERVISOR_VCPU_OP => vcpu_op::call(caller),
        nr::HYPERVISOR_SET_TIMER_OP => vcpu_op::set_timer(caller),
        nr::HYPERVISOR_SCHED_OP => sched_op::call(caller),
        nr::HYPERVISOR_EVENT_CHANNEL_OP => event_channel::call(caller),
        nr::HYPERVISOR_HVM_OP => hvm_op::call(caller),
        nr::HYPERVISOR_SYSCTL => sysctl::call(caller),
        nr::HYPERVISOR_DOMCTL => domctl::call(caller),
        nr::HYPERVISOR_MICROHV_OP => microhv_op::call(caller),
        _ => {
            log_once(number);
            Err(Errno::ENOSYS)
        }
    }
}

/// Logs what was refused to one of ours. What finds no room is only counted, since it may have become an enemy; the next line
/// says how many.
fn log_refused(caller: &Caller<'_>, number: u32, errno: Errno) {
    static LEFT_OUT: AtomicU64 = AtomicU64::new(0);
    if console::is_crowded() {
        LEFT_OUT.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let left_out = LEFT_OUT.swap(0, Ordering::Relaxed);
    if left_out > 0 {
        log::debug!("{left_out} refused hypercalls were not logged");
    }
    log::debug!(
        "{}: hypercall {} ({:#x}, {:#x}) refused: {errno:?}",
        *caller.vcpu.domain,
        nr::name(number).unwrap_or("?"),
        caller.argument(0),
        caller.argument(1),
    );
}

/// Says once that a hypercall is not there.
fn log_once(number: u32) {
    static SEEN: AtomicU64 = AtomicU64::new(0);
    let bit = 1u64.checked_shl(number).unwrap_or(0);
    if bit != 0 && SEEN.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
        log::info!(
            "hypercall {number} ({}) is not implemented: guests get ENOSYS",
            nr::name(number).unwrap_or("unknown")
        );
    }
}

/// `vm_assist`: the only assist that means anything to a PVH guest is on for all of them anyway.
fn vm_assist(caller: &Caller<'_>) -> Result {
    match caller.argument(1) as u32 {
        xen_abi::xen::VMASST_TYPE_RUNSTATE_UPDATE_FLAG => Ok(DONE),
        _ => Err(Errno::EINVAL),
    }
}

/// Calls `f` with domain `id`, if there is one; `own` need not be looked up.
fn with_domain<R>(own: &Domain, id: DomId, f: impl FnOnce(&Domain) -> R) -> Option<R> {
    if id == own.id {
        return Some(f(own));
    }
    domain::find(id).map(|domain| f(&domain))
}

/// The domain that `id` means to `caller`: itself, or, with the control privilege, any.
///
/// # Errors
/// `ESRCH` if there is no such domain, else `EPERM` without the privilege: Xen looks in this order.
fn target(caller: &Caller<'_>, id: u16) -> Result<PageArc<Domain>> {
    let own = &caller.vcpu.domain;
    if id == xen_abi::DOMID_SELF || id == own.id.0 {
        return Ok(own.clone());
    }
    let found = domain::find(DomId(id)).ok_or(Errno::ESRCH)?;
    if !own.privileged {
        return Err(Errno::EPERM);
    }
    Ok(found)
}
