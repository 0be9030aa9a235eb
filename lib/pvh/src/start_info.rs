//! `hvm_start_info` and the tables that it points at, as bytes.
//!
//! Source: Xen `xen/include/public/arch-x86/hvm/start_info.h`, version 1 of the structure.

use crate::layout::MemoryMapEntry;

/// Modules that [`crate::build`] takes.
pub const MAX_MODULES: usize = 64;

/// `XEN_HVM_START_MAGIC_VALUE`.
const XEN_HVM_START_MAGIC_VALUE: u32 = 0x336e_c578;
/// Version with a memory map.
const VERSION: u32 = 1;

pub(crate) const START_INFO_SIZE: u64 = 56;
pub(crate) const MODLIST_ENTRY_SIZE: u64 = 32;
pub(crate) const MEMMAP_ENTRY_SIZE: u64 = 24;

/// `struct hvm_start_info`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StartInfo {
    pub nr_modules: u32,
    pub modlist_paddr: u64,
    pub cmdline_paddr: u64,
    pub rsdp_paddr: u64,
    pub memmap_paddr: u64,
    pub memmap_entries: u32,
}

impl StartInfo {
    pub fn bytes(&self) -> [u8; START_INFO_SIZE as usize] {
        let mut out = [0; START_INFO_SIZE as usize];
        put(&mut out, 0, &XEN_HVM_START_MAGIC_VALUE.to_le_bytes());
        put(&mut out, 4, &VERSION.to_le_bytes());
        // flags (SIF_*) at 8 stay 0: no domain of ours is told here that it is privileged.
        put(&mut out, 12, &self.nr_modules.to_le_bytes());
        put(&mut out, 16, &self.modlist_paddr.to_le_bytes());
        put(&mut out, 24, &self.cmdline_paddr.to_le_bytes());
        put(&mut out, 32, &self.rsdp_paddr.to_le_bytes());
        put(&mut out, 40, &self.memmap_paddr.to_le_bytes());
        put(&mut out, 48, &self.memmap_entries.to_le_bytes());
        out
    }
}

/// `struct hvm_modlist_entry`.
pub(crate) fn modlist_entry(
    paddr: u64,
    size: u64,
    cmdline_paddr: u64,
) -> [u8; MODLIST_ENTRY_SIZE as usize] {
    let mut out = [0; MODLIST_ENTRY_SIZE as usize];
    put(&mut out, 0, &paddr.to_le_bytes());
    put(&mut out, 8, &size.to_le_bytes());
    put(&mut out, 16, &cmdline_paddr.to_le_bytes());
    out
}

/// `struct hvm_memmap_table_entry`.
pub(crate) fn memmap_entry(entry: &MemoryMapEntry) -> [u8; MEMMAP_ENTRY_SIZE as usize] {
    let mut out = [0; MEMMAP_ENTRY_SIZE as usize];
    put(&mut out, 0, &entry.range.start.to_le_bytes());
    put(&mut out, 8, &entry.range.size.to_le_bytes());
    put(&mut out, 16, &(entry.kind as u32).to_le_bytes());
    out
}

/// Copies a field; offsets are constants of this file, inside the structure they belong to.
fn put(out: &mut [u8], offset: usize, field: &[u8]) {
    for (to, from) in out.iter_mut().skip(offset).zip(field) {
        *to = *from;
    }
}
