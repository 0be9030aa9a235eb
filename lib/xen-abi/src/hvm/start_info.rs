//! What a PVH guest is started with (`arch-x86/hvm/start_info.h`): `ebx` holds the physical address of [`HvmStartInfo`].

use crate::xen::SifFlags;

/// "xEn3" with bit 7 of the "E" set.
pub const XEN_HVM_START_MAGIC_VALUE: u32 = 0x336e_c578;
/// The version that has the memory map.
pub const XEN_HVM_START_INFO_VERSION: u32 = 1;

abi_numbers! { u32;
    XEN_HVM_MEMMAP_TYPE_RAM = 1;
    XEN_HVM_MEMMAP_TYPE_RESERVED = 2;
    XEN_HVM_MEMMAP_TYPE_ACPI = 3;
    XEN_HVM_MEMMAP_TYPE_NVS = 4;
    XEN_HVM_MEMMAP_TYPE_UNUSABLE = 5;
    XEN_HVM_MEMMAP_TYPE_DISABLED = 6;
    XEN_HVM_MEMMAP_TYPE_PMEM = 7;
}

abi_struct! {
    /// `struct hvm_start_info`. All addresses are guest physical; zero means absent.
    pub struct HvmStartInfo {
        magic: u32,
        version: u32,
        flags: SifFlags,
        nr_modules: u32,
        modlist_paddr: u64,
        cmdline_paddr: u64,
        rsdp_paddr: u64,
        memmap_paddr: u64,
        memmap_entries: u32,
        reserved: u32,
    }

    /// `struct hvm_modlist_entry`.
    pub struct HvmModlistEntry {
        paddr: u64,
        size: u64,
        cmdline_paddr: u64,
        reserved: u64,
    }

    /// `struct hvm_memmap_table_entry`.
    pub struct HvmMemmapTableEntry {
        addr: u64,
        size: u64,
        r#type: u32,
        reserved: u32,
    }
}
