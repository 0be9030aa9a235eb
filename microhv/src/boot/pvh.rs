//! What a PVH loader passes (Xen: xen/include/public/arch-x86/hvm/start_info.h).

use super::bytes::text;
use super::info::{BootError, BootInfo, MAX_MODULES, MemoryType, Module};
use crate::mm::ranges::Range;
use xen_abi::hvm::start_info::{
    HvmMemmapTableEntry, HvmModlistEntry, HvmStartInfo, XEN_HVM_START_MAGIC_VALUE,
};
use xen_abi::zerocopy::FromBytes;

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
    let start = memory(address, size_of::<HvmStartInfo>()).and_then(read::<HvmStartInfo>);
    let start = start.filter(|start| start.magic == XEN_HVM_START_MAGIC_VALUE);
    let start = start.ok_or(BootError::NOT_PVH)?;
    // The memory map is there from version 1 on.
    let entries = (start.memmap_entries as usize).min(MAX_ENTRIES);
    if start.version < 1 || entries == 0 {
        return Err(BootError::NO_MEMORY_MAP);
    }
    const ENTRY: usize = size_of::<HvmMemmapTableEntry>();
    let map = memory(start.memmap_paddr, entries * ENTRY).ok_or(BootError::NO_MEMORY_MAP)?;
    let mut info = BootInfo {
        rsdp: Some(start.rsdp_paddr).filter(|rsdp| *rsdp != 0),
        ..BootInfo::default()
    };
    let map = map
        .chunks_exact(ENTRY)
        .filter_map(read::<HvmMemmapTableEntry>);
    info.set_memory(
        map.map(|entry| (Range::new(entry.addr, entry.size), MemoryType(entry.r#type))),
    )?;
    const MODULE: usize = size_of::<HvmModlistEntry>();
    let modules = (start.nr_modules as usize).min(MAX_MODULES + 1);
    let list = memory(start.modlist_paddr, modules * MODULE).unwrap_or(&[]);
    for module in list
        .chunks_exact(MODULE)
        .filter_map(read::<HvmModlistEntry>)
    {
        let cmdline = Some(module.cmdline_paddr).filter(|address| *address != 0);
        let cmdline = cmdline.and_then(|address| memory(address, MAX_PATH));
        info.add_module(Module {
            range: Range::new(module.paddr, module.size),
            path: cmdline.map_or("", text),
        })?;
    }
    Ok(info)
}

fn read<T: FromBytes>(bytes: &[u8]) -> Option<T> {
    T::read_from_bytes(bytes).ok()
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
        put(0, u64::from(XEN_HVM_START_MAGIC_VALUE), 4);
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
