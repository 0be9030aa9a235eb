//! `hvm_op`: parameters between a domain and its creator, and how events reach a vCPU.

use xen_abi::Errno;
use xen_abi::hvm::op::{
    HVMOP_FLUSH_TLBS, HVMOP_GET_PARAM, HVMOP_GET_TIME, HVMOP_PAGETABLE_DYING,
    HVMOP_SET_EVTCHN_UPCALL_VECTOR, HVMOP_SET_PARAM, HvmEvtchnUpcallVector, HvmParam,
};
use xen_abi::hvm::params::{
    HVM_PARAM_CALLBACK_IRQ, HVM_PARAM_CALLBACK_TYPE_SHIFT, HVM_PARAM_CALLBACK_TYPE_VECTOR,
    HVM_PARAM_CONSOLE_EVTCHN, HVM_PARAM_CONSOLE_PFN, HVM_PARAM_STORE_EVTCHN, HVM_PARAM_STORE_PFN,
};

use super::{Caller, DONE, Result, target};
use crate::arch::timer;
use crate::domain::flush::flush;

/// Vectors below this belong to the CPU's exceptions.
const FIRST_VECTOR: u8 = 0x10;

/// `hvm_op(op, arg)`.
pub fn call(caller: &Caller<'_>) -> Result {
    let argument = caller.argument(1);
    match caller.argument(0) as u32 {
        HVMOP_SET_PARAM => return set_param(caller, &caller.read(argument)?),
        HVMOP_GET_PARAM => {
            let mut request: HvmParam = caller.read(argument)?;
            let domain = target(caller, request.domid)?;
            request.value = domain.params.get(request.index).ok_or(Errno::EINVAL)?;
            caller.write(argument, &request)?;
        }
        HVMOP_SET_EVTCHN_UPCALL_VECTOR => {
            let request: HvmEvtchnUpcallVector = caller.read(argument)?;
            if request.vector < FIRST_VECTOR {
                return Err(Errno::EINVAL);
            }
            let vcpu = caller.vcpu.domain.vcpu(request.vcpu).ok_or(Errno::ENOENT)?;
            vcpu.set_upcall_vector(request.vector);
        }
        // Every vCPU of the caller starts with an empty TLB at its next entry.
        HVMOP_FLUSH_TLBS => flush(&caller.vcpu.domain),
        // Nested paging keeps no shadows: nothing to free, as in Xen with HAP.
        HVMOP_PAGETABLE_DYING => {}
        HVMOP_GET_TIME => caller.write(argument, &timer::now_ns())?,
        _ => return Err(Errno::ENOSYS),
    }
    Ok(DONE)
}

fn set_param(caller: &Caller<'_>, request: &HvmParam) -> Result {
    let domain = target(caller, request.domid)?;
    let by_creator = caller.vcpu.domain.privileged;
    match request.index {
        HVM_PARAM_CALLBACK_IRQ => {
            let vector = request.value as u8;
            match request.value >> HVM_PARAM_CALLBACK_TYPE_SHIFT {
                HVM_PARAM_CALLBACK_TYPE_VECTOR if vector >= FIRST_VECTOR => {
                    domain.set_callback_vector(Some(vector));
                }
                0 if request.value == 0 => domain.set_callback_vector(None),
                // Linux says so when each vCPU has a vector of its own.
                0 if domain
                    .vcpu(0)
                    .is_some_and(|vcpu| vcpu.has_own_upcall_vector()) =>
                {
                    domain.set_callback_vector(None);
                }
                // No interrupt controller to raise a line on.
                _ => return Err(Errno::EINVAL),
            }
        }
        HVM_PARAM_STORE_PFN
        | HVM_PARAM_STORE_EVTCHN
        | HVM_PARAM_CONSOLE_PFN
        | HVM_PARAM_CONSOLE_EVTCHN
            if !by_creator =>
        {
            return Err(Errno::EPERM);
        }
        _ => {}
    }
    let known = domain.params.set(request.index, request.value);
    known.map(|()| DONE).ok_or(Errno::EINVAL)
}
