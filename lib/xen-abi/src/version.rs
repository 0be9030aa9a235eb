//! `HYPERVISOR_xen_version` and the feature map (`version.h`, `features.h`).

abi_numbers! { u32;
    /// Returns `major << 16 | minor`.
    XENVER_VERSION = 0;
    /// Argument: 16 bytes.
    XENVER_EXTRAVERSION = 1;
    /// Argument [`CompileInfo`].
    XENVER_COMPILE_INFO = 2;
    /// Argument: 1024 bytes.
    XENVER_CAPABILITIES = 3;
    /// Argument: 64 bytes.
    XENVER_CHANGESET = 4;
    /// Argument [`PlatformParameters`].
    XENVER_PLATFORM_PARAMETERS = 5;
    /// Argument [`FeatureInfo`].
    XENVER_GET_FEATURES = 6;
    /// Returns the page size.
    XENVER_PAGESIZE = 7;
    /// Argument: the 16 bytes of the caller's UUID.
    XENVER_GUEST_HANDLE = 8;
    /// Argument: 1024 bytes.
    XENVER_COMMANDLINE = 9;
    /// Argument: `u32` length and bytes.
    XENVER_BUILD_ID = 10;
}

/// Bytes of the strings that `XENVER_*` writes.
pub const XEN_EXTRAVERSION_LEN: usize = 16;
/// Bytes of the capabilities string.
pub const XEN_CAPABILITIES_INFO_LEN: usize = 1024;
/// Bytes of the change-set string.
pub const XEN_CHANGESET_INFO_LEN: usize = 64;
/// Bytes of the command line.
pub const XEN_COMMANDLINE_LEN: usize = 1024;
/// Feature words.
pub const XENFEAT_NR_SUBMAPS: u32 = 1;

abi_flags! {
    /// Feature word 0 (`XENFEAT_*`), as `XENVER_get_features` answers for `submap_idx` 0.
    pub struct Features: u32 {
        const WRITABLE_PAGE_TABLES = 1 << 0;
        const WRITABLE_DESCRIPTOR_TABLES = 1 << 1;
        const AUTO_TRANSLATED_PHYSMAP = 1 << 2;
        const SUPERVISOR_MODE_KERNEL = 1 << 3;
        const PAE_PGDIR_ABOVE_4GB = 1 << 4;
        const MMU_PT_UPDATE_PRESERVE_AD = 1 << 5;
        const HIGHMEM_ASSIST = 1 << 6;
        const GNTTAB_MAP_AVAIL_BITS = 1 << 7;
        const HVM_CALLBACK_VECTOR = 1 << 8;
        const HVM_SAFE_PVCLOCK = 1 << 9;
        const HVM_PIRQS = 1 << 10;
        const DOM0 = 1 << 11;
        const MEMORY_OP_VNODE_SUPPORTED = 1 << 13;
        const LINUX_RSDP_UNRESTRICTED = 1 << 15;
        const NOT_DIRECT_MAPPED = 1 << 16;
        const DIRECT_MAPPED = 1 << 17;
        const RUNSTATE_PHYS_AREA = 1 << 18;
        const VCPU_TIME_PHYS_AREA = 1 << 19;
        const DM_MSIX_ALL_WRITES = 1 << 20;
    }
}

abi_struct! {
    /// `struct xen_compile_info`: zero-terminated strings.
    pub struct CompileInfo {
        compiler: [u8; 64],
        compile_by: [u8; 16],
        compile_domain: [u8; 32],
        compile_date: [u8; 32],
    }

    /// `struct xen_platform_parameters`.
    pub struct PlatformParameters {
        virt_start: u64,
    }

    /// `struct xen_feature_info`: `submap_idx` in, `submap` out.
    pub struct FeatureInfo {
        submap_idx: u32,
        submap: u32,
    }
}
