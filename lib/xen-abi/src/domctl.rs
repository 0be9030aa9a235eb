//! `HYPERVISOR_domctl` (`domctl.h`), the control domain's operations on others, in the layout of interface version
//! 0x18 (this interface is not stable between Xen releases; microhv and its Domain-0 are built together).

use crate::xen::{DomId, DomainHandle, XenctlBitmap};

/// A request with another version is refused with `EACCES`.
pub const XEN_DOMCTL_INTERFACE_VERSION: u32 = 0x18;

abi_numbers! { u32;
    XEN_DOMCTL_CREATEDOMAIN = 1;
    XEN_DOMCTL_DESTROYDOMAIN = 2;
    XEN_DOMCTL_PAUSEDOMAIN = 3;
    XEN_DOMCTL_UNPAUSEDOMAIN = 4;
    XEN_DOMCTL_GETDOMAININFO = 5;
    XEN_DOMCTL_SETVCPUAFFINITY = 9;
    XEN_DOMCTL_SHADOW_OP = 10;
    XEN_DOMCTL_MAX_MEM = 11;
    XEN_DOMCTL_SETVCPUCONTEXT = 12;
    XEN_DOMCTL_GETVCPUCONTEXT = 13;
    XEN_DOMCTL_GETVCPUINFO = 14;
    XEN_DOMCTL_MAX_VCPUS = 15;
    XEN_DOMCTL_SCHEDULER_OP = 16;
    XEN_DOMCTL_SETDOMAINHANDLE = 17;
    XEN_DOMCTL_SETTIMEOFFSET = 24;
    XEN_DOMCTL_GETVCPUAFFINITY = 25;
    XEN_DOMCTL_RESUMEDOMAIN = 27;
    XEN_DOMCTL_SENDTRIGGER = 28;
    XEN_DOMCTL_GETHVMCONTEXT = 33;
    XEN_DOMCTL_SETHVMCONTEXT = 34;
    XEN_DOMCTL_ASSIGN_DEVICE = 37;
    XEN_DOMCTL_DEASSIGN_DEVICE = 47;
    XEN_DOMCTL_GETHVMCONTEXT_PARTIAL = 55;
    XEN_DOMCTL_SETNODEAFFINITY = 68;
    XEN_DOMCTL_GETNODEAFFINITY = 69;
}

abi_flags! {
    /// `xen_domctl_createdomain.flags`.
    pub struct CreateFlags: u32 {
        const HVM = 1 << 0;
        const HAP = 1 << 1;
        const S3_INTEGRITY = 1 << 2;
        const OOS_OFF = 1 << 3;
        const XS_DOMAIN = 1 << 4;
        const IOMMU = 1 << 5;
        const NESTED_VIRT = 1 << 6;
        const VPMU = 1 << 7;
        const TRAP_UNMAPPED_ACCESSES = 1 << 8;
    }

    /// `xen_domctl_getdomaininfo.flags`; the shutdown code is in bits 16 to 23.
    pub struct DominfFlags: u32 {
        const DYING = 1 << 0;
        const HVM_GUEST = 1 << 1;
        const SHUTDOWN = 1 << 2;
        const PAUSED = 1 << 3;
        const BLOCKED = 1 << 4;
        const RUNNING = 1 << 5;
        const DEBUGGED = 1 << 6;
        const XS_DOMAIN = 1 << 7;
        const HAP = 1 << 8;
    }

    /// `xen_arch_domainconfig.emulation_flags` of x86.
    pub struct EmulationFlags: u32 {
        const LAPIC = 1 << 0;
        const HPET = 1 << 1;
        const PM = 1 << 2;
        const RTC = 1 << 3;
        const IOAPIC = 1 << 4;
        const PIC = 1 << 5;
        const VGA = 1 << 6;
        const IOMMU = 1 << 7;
        const PIT = 1 << 8;
        const USE_PIRQ = 1 << 9;
        const VPCI = 1 << 10;
    }

    /// `xen_domctl_vcpuaffinity.flags`.
    pub struct AffinityFlags: u32 {
        const HARD = 1 << 0;
        const SOFT = 1 << 1;
        const FORCE = 1 << 2;
    }
}

/// Mask of the shutdown code after the shift.
pub const XEN_DOMINF_SHUTDOWNMASK: u32 = 255;
/// Where the shutdown code starts.
pub const XEN_DOMINF_SHUTDOWNSHIFT: u32 = 16;
/// `max_vcpu_id` of a domain without vCPUs.
pub const XEN_INVALID_MAX_VCPU_ID: u32 = u32::MAX;

impl DominfFlags {
    /// The shutdown code (`SHUTDOWN_*`), meaningful with [`DominfFlags::SHUTDOWN`].
    pub fn shutdown_code(self) -> u32 {
        self.bits() >> XEN_DOMINF_SHUTDOWNSHIFT & XEN_DOMINF_SHUTDOWNMASK
    }
}

abi_struct! {
    /// `struct xen_arch_domainconfig` of x86.
    pub struct XenArchDomainconfig {
        emulation_flags: EmulationFlags,
        misc_flags: u32,
    }

    /// `struct xen_domctl_createdomain`. The domain's id is in and out in [`Domctl::domain`]
    /// (`DOMID_INVALID` or 0 lets the hypervisor choose).
    pub struct XenDomctlCreatedomain {
        ssidref: u32,
        handle: DomainHandle,
        flags: CreateFlags,
        iommu_opts: u32,
        max_vcpus: u32,
        /// Highest port allowed.
        max_evtchn_port: u32,
        /// Negative: the default.
        max_grant_frames: i32,
        max_maptrack_frames: i32,
        grant_opts: u32,
        altp2m_opts: u16,
        altp2m_nr: u16,
        vmtrace_size: u32,
        cpupool_id: u32,
        arch: XenArchDomainconfig,
    }

    /// `struct xen_domctl_getdomaininfo`.
    pub struct XenDomctlGetdomaininfo {
        domain: DomId,
        pad1: u16,
        flags: DominfFlags,
        tot_pages: u64,
        max_pages: u64,
        outstanding_pages: u64,
        shr_pages: u64,
        paged_pages: u64,
        /// Guest frame of the shared info page.
        shared_info_frame: u64,
        /// Nanoseconds, all vCPUs.
        cpu_time: u64,
        nr_online_vcpus: u32,
        max_vcpu_id: u32,
        ssidref: u32,
        handle: DomainHandle,
        cpupool: u32,
        gpaddr_bits: u8,
        pad2: [u8; 7],
        arch_config: XenArchDomainconfig,
    }

    /// `struct xen_domctl_max_mem`.
    pub struct XenDomctlMaxMem {
        max_memkb: u64,
    }

    /// `struct xen_domctl_max_vcpus`.
    pub struct XenDomctlMaxVcpus {
        max: u32,
    }

    /// `struct xen_domctl_getvcpuinfo`: `vcpu` in, the rest out.
    pub struct XenDomctlGetvcpuinfo {
        vcpu: u32,
        online: u8,
        blocked: u8,
        running: u8,
        _pad0: u8,
        /// Nanoseconds.
        cpu_time: u64,
        /// Physical CPU it runs or last ran on.
        cpu: u32,
        _pad1: u32,
    }

    /// `struct xen_domctl_vcpuaffinity`.
    pub struct XenDomctlVcpuaffinity {
        vcpu: u32,
        flags: AffinityFlags,
        cpumap_hard: XenctlBitmap,
        cpumap_soft: XenctlBitmap,
    }

    /// `struct xen_domctl_sched_credit` and `_credit2`.
    pub struct XenDomctlSchedCredit {
        weight: u16,
        cap: u16,
    }

    /// `struct xen_domctl_scheduler_op`; the union's credit arm stands first in `u`.
    pub struct XenDomctlSchedulerOp {
        sched_id: u32,
        cmd: u32,
        credit: XenDomctlSchedCredit,
        _pad0: u32,
        _pad1: u64,
    }

    /// `struct xen_domctl_setdomainhandle`.
    pub struct XenDomctlSetdomainhandle {
        handle: DomainHandle,
    }

    /// `struct xen_domctl_settimeoffset`.
    pub struct XenDomctlSettimeoffset {
        time_offset_seconds: i64,
    }

    /// `struct xen_domctl_hvmcontext`: records of [`crate::hvm::save`] in the caller's memory.
    pub struct XenDomctlHvmcontext {
        /// In: bytes of the buffer; out: bytes needed or written.
        size: u32,
        _pad: u32,
        /// Guest address; zero asks for the size.
        buffer: u64,
    }

    /// `struct xen_domctl_sendtrigger`.
    pub struct XenDomctlSendtrigger {
        trigger: u32,
        vcpu: u32,
    }

    /// `struct xen_domctl`: what the hypercall's one argument points to. The union is read and written with
    /// [`Domctl::get`] and [`Domctl::set`].
    pub struct Domctl {
        cmd: u32,
        interface_version: u32,
        domain: DomId,
        _pad: [u16; 3],
        u: [u64; 16],
    }
}

abi_numbers! { u32;
    XEN_SCHEDULER_CREDIT = 5;
    XEN_SCHEDULER_CREDIT2 = 6;
    XEN_SCHEDULER_RTDS = 8;
    XEN_SCHEDULER_NULL = 9;
    XEN_DOMCTL_SCHEDOP_PUTINFO = 0;
    XEN_DOMCTL_SCHEDOP_GETINFO = 1;
    XEN_DOMCTL_SCHEDOP_PUTVCPUINFO = 2;
    XEN_DOMCTL_SCHEDOP_GETVCPUINFO = 3;
    XEN_DOMCTL_SENDTRIGGER_NMI = 0;
    XEN_DOMCTL_SENDTRIGGER_RESET = 1;
    XEN_DOMCTL_SENDTRIGGER_INIT = 2;
    XEN_DOMCTL_SENDTRIGGER_POWER = 3;
    XEN_DOMCTL_SENDTRIGGER_SLEEP = 4;
}

impl Domctl {
    /// A request with the current interface version and a zeroed union.
    pub fn new(cmd: u32, domain: DomId) -> Self {
        Domctl {
            cmd,
            interface_version: XEN_DOMCTL_INTERFACE_VERSION,
            domain,
            ..Default::default()
        }
    }
}

abi_union!(Domctl);
