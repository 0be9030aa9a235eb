//! `HYPERVISOR_sysctl` (`sysctl.h`), machine-wide control operations, interface version 0x16.

use crate::xen::DomId;

/// A request with another version is refused with `EACCES`.
pub const XEN_SYSCTL_INTERFACE_VERSION: u32 = 0x16;

abi_numbers! { u32;
    XEN_SYSCTL_READCONSOLE = 1;
    XEN_SYSCTL_PHYSINFO = 3;
    XEN_SYSCTL_SCHED_ID = 4;
    XEN_SYSCTL_PERFC_OP = 5;
    XEN_SYSCTL_GETDOMAININFOLIST = 6;
    XEN_SYSCTL_DEBUG_KEYS = 7;
    XEN_SYSCTL_GETCPUINFO = 8;
    XEN_SYSCTL_AVAILHEAP = 9;
    XEN_SYSCTL_CPUTOPOINFO = 16;
    XEN_SYSCTL_NUMAINFO = 17;
}

abi_flags! {
    /// `xen_sysctl_physinfo.capabilities`.
    pub struct PhysCapabilities: u32 {
        const HVM = 1 << 0;
        const PV = 1 << 1;
        const DIRECTIO = 1 << 2;
        const HAP = 1 << 3;
        const SHADOW = 1 << 4;
        const IOMMU_HAP_PT_SHARE = 1 << 5;
        const VMTRACE = 1 << 6;
        const VPMU = 1 << 7;
        const GNTTAB_V1 = 1 << 8;
        const GNTTAB_V2 = 1 << 9;
    }
}

abi_struct! {
    /// `struct xen_sysctl_readconsole`.
    pub struct XenSysctlReadconsole {
        /// Non-zero: empty the ring after reading.
        clear: u8,
        /// Non-zero: start at `index`, else at the oldest byte.
        incremental: u8,
        pad0: u8,
        pad1: u8,
        /// In: where to start; out: where the next read starts.
        index: u32,
        /// Guest address.
        buffer: u64,
        /// In: bytes of the buffer; out: bytes written.
        count: u32,
        _pad: u32,
    }

    /// `struct xen_sysctl_physinfo`: all out.
    pub struct XenSysctlPhysinfo {
        threads_per_core: u32,
        cores_per_socket: u32,
        nr_cpus: u32,
        max_cpu_id: u32,
        nr_nodes: u32,
        max_node_id: u32,
        cpu_khz: u32,
        capabilities: PhysCapabilities,
        arch_capabilities: u32,
        pad: u32,
        total_pages: u64,
        free_pages: u64,
        scrub_pages: u64,
        outstanding_pages: u64,
        max_mfn: u64,
        hw_cap: [u32; 8],
    }

    /// `struct xen_sysctl_sched_id`.
    pub struct XenSysctlSchedId {
        sched_id: u32,
    }

    /// `struct xen_sysctl_getdomaininfolist`.
    pub struct XenSysctlGetdomaininfolist {
        first_domain: DomId,
        _pad0: u16,
        max_domains: u32,
        /// Guest address of `max_domains` [`crate::domctl::XenDomctlGetdomaininfo`].
        buffer: u64,
        /// Out.
        num_domains: u32,
        _pad1: u32,
    }

    /// `struct xen_sysctl_debug_keys`.
    pub struct XenSysctlDebugKeys {
        keys: u64,
        nr_keys: u32,
        _pad: u32,
    }

    /// `struct xen_sysctl_cpuinfo`.
    pub struct XenSysctlCpuinfo {
        /// Nanoseconds idle.
        idletime: u64,
    }

    /// `struct xen_sysctl_getcpuinfo`.
    pub struct XenSysctlGetcpuinfo {
        max_cpus: u32,
        _pad0: u32,
        /// Guest address of `max_cpus` [`XenSysctlCpuinfo`].
        info: u64,
        /// Out.
        nr_cpus: u32,
        _pad1: u32,
    }

    /// `struct xen_sysctl_availheap`.
    pub struct XenSysctlAvailheap {
        min_bitwidth: u32,
        max_bitwidth: u32,
        node: i32,
        _pad: u32,
        avail_bytes: u64,
    }

    /// `struct xen_sysctl`: what the hypercall's one argument points to.
    pub struct Sysctl {
        cmd: u32,
        interface_version: u32,
        u: [u64; 16],
    }
}

impl Sysctl {
    /// A request with the current interface version and a zeroed union.
    pub fn new(cmd: u32) -> Self {
        Sysctl {
            cmd,
            interface_version: XEN_SYSCTL_INTERFACE_VERSION,
            ..Default::default()
        }
    }
}

abi_union!(Sysctl);
