//! `HYPERVISOR_hvm_op` (`hvm/hvm_op.h`).

use crate::xen::DomId;

abi_numbers! { u32;
    HVMOP_SET_PARAM = 0;
    HVMOP_GET_PARAM = 1;
    HVMOP_FLUSH_TLBS = 5;
    HVMOP_PAGETABLE_DYING = 9;
    HVMOP_GET_TIME = 10;
    HVMOP_XENTRACE = 11;
    HVMOP_GET_MEM_TYPE = 15;
    HVMOP_SET_EVTCHN_UPCALL_VECTOR = 23;
    HVMOP_GUEST_REQUEST_VM_EVENT = 24;
    HVMOP_ALTP2M = 25;
}

abi_struct! {
    /// `struct xen_hvm_param`.
    pub struct HvmParam {
        domid: DomId,
        pad: u16,
        index: u32,
        value: u64,
    }

    /// `struct xen_hvm_evtchn_upcall_vector`.
    pub struct HvmEvtchnUpcallVector {
        vcpu: u32,
        vector: u8,
        _pad: [u8; 3],
    }

    /// `struct xen_hvm_get_time`.
    pub struct HvmGetTime {
        now: u64,
    }

    /// `struct xen_hvm_pagetable_dying`.
    pub struct HvmPagetableDying {
        domid: DomId,
        pad: [u16; 3],
        gpa: u64,
    }
}
