//! Hypercall numbers (`xen.h`) and the shape of the hypercall page.

abi_numbers! { u32;
    HYPERVISOR_SET_TRAP_TABLE = 0;
    HYPERVISOR_MMU_UPDATE = 1;
    HYPERVISOR_PLATFORM_OP = 7;
    HYPERVISOR_MEMORY_OP = 12;
    HYPERVISOR_MULTICALL = 13;
    HYPERVISOR_SET_TIMER_OP = 15;
    HYPERVISOR_XEN_VERSION = 17;
    HYPERVISOR_CONSOLE_IO = 18;
    HYPERVISOR_GRANT_TABLE_OP = 20;
    HYPERVISOR_VM_ASSIST = 21;
    HYPERVISOR_VCPU_OP = 24;
    HYPERVISOR_MMUEXT_OP = 26;
    HYPERVISOR_XSM_OP = 27;
    HYPERVISOR_NMI_OP = 28;
    HYPERVISOR_SCHED_OP = 29;
    HYPERVISOR_CALLBACK_OP = 30;
    HYPERVISOR_XENOPROF_OP = 31;
    HYPERVISOR_EVENT_CHANNEL_OP = 32;
    HYPERVISOR_PHYSDEV_OP = 33;
    HYPERVISOR_HVM_OP = 34;
    HYPERVISOR_SYSCTL = 35;
    HYPERVISOR_DOMCTL = 36;
    HYPERVISOR_KEXEC_OP = 37;
    HYPERVISOR_TMEM_OP = 38;
    HYPERVISOR_ARGO_OP = 39;
    HYPERVISOR_XENPMU_OP = 40;
    HYPERVISOR_DM_OP = 41;
    HYPERVISOR_HYPFS_OP = 42;
    HYPERVISOR_ARCH_0 = 48;
    HYPERVISOR_ARCH_1 = 49;
    /// microhv's own operations, see [`crate::microhv`].
    HYPERVISOR_MICROHV_OP = 60;
}

/// Hypercalls are numbered below this; the per-domain counters have this many slots.
pub const NR_HYPERCALLS: usize = 64;

/// Each hypercall's stub starts at `number * 32` in the hypercall page (`arch-x86/xen-x86_64.h`).
pub const HYPERCALL_PAGE_STUB_BYTES: usize = 32;

/// The name of a hypercall as Xen writes it, without `__HYPERVISOR_`.
pub fn name(number: u32) -> Option<&'static str> {
    Some(match number {
        HYPERVISOR_SET_TRAP_TABLE => "set_trap_table",
        HYPERVISOR_MMU_UPDATE => "mmu_update",
        HYPERVISOR_PLATFORM_OP => "platform_op",
        HYPERVISOR_MEMORY_OP => "memory_op",
        HYPERVISOR_MULTICALL => "multicall",
        HYPERVISOR_SET_TIMER_OP => "set_timer_op",
        HYPERVISOR_XEN_VERSION => "xen_version",
        HYPERVISOR_CONSOLE_IO => "console_io",
        HYPERVISOR_GRANT_TABLE_OP => "grant_table_op",
        HYPERVISOR_VM_ASSIST => "vm_assist",
        HYPERVISOR_VCPU_OP => "vcpu_op",
        HYPERVISOR_MMUEXT_OP => "mmuext_op",
        HYPERVISOR_XSM_OP => "xsm_op",
        HYPERVISOR_NMI_OP => "nmi_op",
        HYPERVISOR_SCHED_OP => "sched_op",
        HYPERVISOR_CALLBACK_OP => "callback_op",
        HYPERVISOR_XENOPROF_OP => "xenoprof_op",
        HYPERVISOR_EVENT_CHANNEL_OP => "event_channel_op",
        HYPERVISOR_PHYSDEV_OP => "physdev_op",
        HYPERVISOR_HVM_OP => "hvm_op",
        HYPERVISOR_SYSCTL => "sysctl",
        HYPERVISOR_DOMCTL => "domctl",
        HYPERVISOR_KEXEC_OP => "kexec_op",
        HYPERVISOR_TMEM_OP => "tmem_op",
        HYPERVISOR_ARGO_OP => "argo_op",
        HYPERVISOR_XENPMU_OP => "xenpmu_op",
        HYPERVISOR_DM_OP => "dm_op",
        HYPERVISOR_HYPFS_OP => "hypfs_op",
        HYPERVISOR_ARCH_0 => "arch_0",
        HYPERVISOR_ARCH_1 => "arch_1",
        HYPERVISOR_MICROHV_OP => "microhv_op",
        _ => return None,
    })
}
