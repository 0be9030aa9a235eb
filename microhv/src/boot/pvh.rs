//! What a PVH loader passes (Xen: xen/include/public/arch-x86/hvm/start_info.h).

use super::bytes::{text, u32_at, u64_at};
use super::info::{BootError, BootInfo, MAX_MODULES, MemoryType, Module};
use crate::mm::ranges::Range;

/// `XEN_HVM_START_MAGIC_VALUE`.
const MAGIC: u32 = 0x336e_c578;
const START_INFO_SIZE: usize = 56;
const MODULE_SIZE: usize = 32;
const MEMORY_MAP_ENTRY_SIZE: usize = 24;
/// Entries of the memory map that are looked at.
const MAX_ENTRIES: usize = 512;
/// Bytes of a module's command line that are looked at.
const MAX_PATH: usize = 256;

/// Reads the start info at physical address `address`. `memory` gives so many bytes at a physical
/// address, if they can be read.
///
/// # Errors
/// The structure is not there, or lacks a memory map or the archive.
pub fn parse<'a>(
    address: u64,
    memory: impl Fn(u64, usize) -> Option<&'a [u8]>,
) -> Result<BootInfo<'a>, BootError> {
    let start = memory(address, START_INFO_SIZE).ok_or(BootError::NOT_PVH)?;
    // Fields: magic 0, version 4, flags 8, nr_modules 12, modlist_paddr 16, cmdline_paddr 24,
    // rsdp_paddr 32, memmap_paddr 40, memmap_entries 48. The memory map is there from version 1 on.
    if u32_at(start, 0) != MAGIC {
        return Err(BootError::NOT_PVH);
    }
    let entries = (u32_at(start, 48) as usize).min(MAX_ENTRIES);
    if u32_at(start, 4) < 1 || entries == 0 {
        return Err(BootError::NO_MEMORY_MAP);
    }
    let map_address = u64_at(start, 40);
    let map =
        memory(map_address, entries * MEMORY_MAP_ENTRY_SIZE).ok_or(BootError::NO_MEMORY_MAP)?;
    let mut info = BootInfo {
        rsdp: Some(u64_at(start, 32)).filter(|rsdp| *rsdp != 0),
        ..BootInfo::default()
    };
    info.set_memory(map.chunks_exact(MEMORY_MAP_ENTRY_SIZE).map(|entry| {
        let range = Range::new(u64_at(entry, 0), u64_at(entry, 8));
        (range, MemoryType(u32_at(entry, 16)))
    }))?;
    if info.ram.list().is_empty() {
        return Err(BootError::NO_MEMORY_MAP);
    }
    let modules_address = u64_at(start, 16);
    let modules = (u32_at(start, 12) as usize).min(MAX_MODULES + 1);
    let list = memory(modules_address, modules * MODULE_SIZE).unwrap_or(&[]);
    // Fields: paddr 0, size 8, cmdline_paddr 16.
    for module in list.chunks_exact(MODULE_SIZE) {
        let cmdline = Some(u64_at(module, 16)).filter(|address| *address != 0);
        let cmdline = cmdline.and_then(|address| memory(address, MAX_PATH));
        info.add_module(Module {
            range: Range::new(u64_at(module, 0), u64_at(module, 8)),
            path: cmdline.map_or("", text),
        })?;
    }
    Ok(info)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn image() -> Vec<u8> {
        let mut bytes = vec![0; 0x1000];
        let mut put = |at: usize, value: u64, size: usize| {
            bytes[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
        };
        put(0, u64::from(MAGIC), 4);
        put(4, 1, 4);
        put(12, 1, 4);
        put(16, 0x100, 8);
        put(32, 0xf_5ad0, 8);
        put(40, 0x200, 8);
        put(48, 2, 4);
        put(0x100, 0x7ee_0000, 8);
        put(0x108, 0x2801, 8);
        put(0x208, 0x9_fc00, 8);
        put(0x210, 1, 4);
        put(0x218, 0x10_0000, 8);
        put(0x220, 0x7f0_0000, 8);
        put(0x228, 1, 4);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<BootInfo<'_>, BootError> {
        parse(0, |address, len| {
            let start = usize::try_from(address).ok()?;
            bytes.get(start..start.checked_add(len)?)
        })
    }

    #[test]
    fn a_loaders_tables_are_understood() {
        let bytes = image();
        let info = read(&bytes).unwrap();
        let archive = Module {
            range: Range::new(0x7ee_0000, 0x2801),
            path: "",
        };
        assert_eq!(info.modules, [archive]);
        assert_eq!(info.reserved.list(), [Range::new(0x7ee_0000, 0x3000)]);
        assert_eq!(info.rsdp, Some(0xf_5ad0));
        assert_eq!(info.ram.list().len(), 2);
    }

    #[test]
    fn what_is_missing_is_named() {
        let mut bytes = image();
        bytes[0] = 0;
        assert_eq!(read(&bytes).unwrap_err(), BootError::NOT_PVH);
        let mut bytes = image();
        bytes[48] = 0;
        assert_eq!(read(&bytes).unwrap_err(), BootError::NO_MEMORY_MAP);
        let mut bytes = image();
        bytes[12] = 0;
        assert!(read(&bytes).unwrap().modules.is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(changes in proptest::collection::vec((0usize..0x300, any::<u8>()), 0..40)) {
            let mut bytes = image();
            for (at, value) in changes {
                bytes[at] = value;
            }
            let _ = read(&bytes);
        }
    }
}
