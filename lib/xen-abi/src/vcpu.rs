//! `HYPERVISOR_vcpu_op(cmd, vcpuid, arg)` (`vcpu.h`, `hvm/hvm_vcpu.h`).

abi_numbers! { u32;
    VCPUOP_INITIALISE = 0;
    VCPUOP_UP = 1;
    VCPUOP_DOWN = 2;
    VCPUOP_IS_UP = 3;
    VCPUOP_GET_RUNSTATE_INFO = 4;
    VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA = 5;
    VCPUOP_SET_PERIODIC_TIMER = 6;
    VCPUOP_STOP_PERIODIC_TIMER = 7;
    VCPUOP_SET_SINGLESHOT_TIMER = 8;
    VCPUOP_STOP_SINGLESHOT_TIMER = 9;
    VCPUOP_REGISTER_VCPU_INFO = 10;
    VCPUOP_SEND_NMI = 11;
    VCPUOP_GET_PHYSID = 12;
    VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA = 13;
    VCPUOP_REGISTER_RUNSTATE_PHYS_AREA = 14;
    VCPUOP_REGISTER_VCPU_TIME_PHYS_AREA = 15;
}

abi_numbers! { i32;
    RUNSTATE_RUNNING = 0;
    RUNSTATE_RUNNABLE = 1;
    RUNSTATE_BLOCKED = 2;
    RUNSTATE_OFFLINE = 3;
}

/// Bit of `state_entry_time` that says an update is under way (after `VMASST_TYPE_runstate_update_flag`).
pub const XEN_RUNSTATE_UPDATE: u64 = 1 << 63;

abi_flags! {
    /// `vcpu_set_singleshot_timer.flags`.
    pub struct SingleshotFlags: u32 {
        /// Fail with `ETIME` if the time has passed.
        const FUTURE = 1 << 0;
    }
}

abi_struct! {
    /// `struct vcpu_runstate_info`.
    pub struct VcpuRunstateInfo {
        state: i32,
        _pad: u32,
        /// System time, nanoseconds.
        state_entry_time: u64,
        /// Nanoseconds in each state.
        time: [u64; 4],
    }

    /// `struct vcpu_register_runstate_memory_area` and `struct vcpu_register_time_memory_area`.
    pub struct VcpuRegisterArea {
        /// Guest linear address, or physical with the `_PHYS_AREA` operations.
        addr: u64,
    }

    /// `struct vcpu_set_periodic_timer`.
    pub struct VcpuSetPeriodicTimer {
        period_ns: u64,
    }

    /// `struct vcpu_set_singleshot_timer`.
    pub struct VcpuSetSingleshotTimer {
        /// Absolute system time, nanoseconds.
        timeout_abs_ns: u64,
        flags: SingleshotFlags,
        _pad: u32,
    }

    /// `struct vcpu_register_vcpu_info`.
    pub struct VcpuRegisterVcpuInfo {
        mfn: u64,
        offset: u32,
        rsvd: u32,
    }

    /// `struct vcpu_get_physid`.
    pub struct VcpuGetPhysid {
        phys_id: u64,
    }

    /// `struct vcpu_hvm_x86_32`: start state of a 32-bit vCPU.
    pub struct VcpuHvmX86_32 {
        eax: u32,
        ecx: u32,
        edx: u32,
        ebx: u32,
        esp: u32,
        ebp: u32,
        esi: u32,
        edi: u32,
        eip: u32,
        eflags: u32,
        cr0: u32,
        cr3: u32,
        cr4: u32,
        pad1: u32,
        efer: u64,
        cs_base: u32,
        ds_base: u32,
        ss_base: u32,
        es_base: u32,
        tr_base: u32,
        cs_limit: u32,
        ds_limit: u32,
        ss_limit: u32,
        es_limit: u32,
        tr_limit: u32,
        cs_ar: u16,
        ds_ar: u16,
        ss_ar: u16,
        es_ar: u16,
        tr_ar: u16,
        pad2: [u16; 3],
    }

    /// `struct vcpu_hvm_x86_64`: start state of a 64-bit vCPU.
    pub struct VcpuHvmX86_64 {
        rax: u64,
        rcx: u64,
        rdx: u64,
        rbx: u64,
        rsp: u64,
        rbp: u64,
        rsi: u64,
        rdi: u64,
        rip: u64,
        rflags: u64,
        cr0: u64,
        cr3: u64,
        cr4: u64,
        efer: u64,
    }
}

/// `vcpu_hvm_context.mode`: the union holds [`VcpuHvmX86_32`].
pub const VCPU_HVM_MODE_32B: u32 = 0;
/// `vcpu_hvm_context.mode`: the union holds [`VcpuHvmX86_64`].
pub const VCPU_HVM_MODE_64B: u32 = 1;
