//! What a boot loader tells, whichever protocol it speaks.

use crate::mm::ranges::{Range, Ranges};

/// Ranges of each kind at most.
pub const MAX_RANGES: usize = 128;

/// Modules at most.
pub const MAX_MODULES: usize = 64;

/// A file that the loader has read into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Module<'a> {
    /// Where it lies in physical memory.
    pub range: Range,
    /// What the loader was told with it: the file's path on the boot disk; nothing for a tar archive.
    pub path: &'a str,
}

/// What the machine's memory holds when microhv starts.
#[derive(Debug, Default)]
pub struct BootInfo<'a> {
    /// RAM, in whole pages.
    pub ram: Ranges<MAX_RANGES>,
    /// Where firmware keeps ACPI tables.
    pub firmware: Ranges<MAX_RANGES>,
    /// Parts of RAM that hold something: the loader's tables, the modules.
    pub reserved: Ranges<MAX_RANGES>,
    /// What the boot archive consists of.
    pub modules: heapless::Vec<Module<'a>, MAX_MODULES>,
    /// The physical address of ACPI's root pointer, if the loader knows it.
    pub rsdp: Option<u64>,
}

/// A kind of memory, numbered as in ACPI's address range types (ACPI 6.5, table 15.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryType(pub u32);

impl MemoryType {
    /// RAM.
    pub const RAM: Self = Self(1);
    /// ACPI tables, RAM when they are no longer needed. microhv keeps them.
    pub const ACPI: Self = Self(3);
    /// ACPI's non-volatile storage.
    pub const NVS: Self = Self(4);
}

impl<'a> BootInfo<'a> {
    /// Remembers a module.
    ///
    /// # Errors
    /// There are too many of them, or of ranges.
    pub fn add_module(&mut self, module: Module<'a>) -> Result<(), BootError> {
        self.reserve(module.range)?;
        self.modules
            .push(module)
            .map_err(|_| BootError::TOO_MANY_MODULES)
    }

    /// Keeps the pages of `range` from being used.
    ///
    /// # Errors
    /// There are more ranges than microhv can remember.
    pub fn reserve(&mut self, range: Range) -> Result<(), BootError> {
        let room = self.reserved.insert(range.touched_pages());
        room.then_some(()).ok_or(BootError::MEMORY_MAP_TOO_LONG)
    }

    /// Makes `ram` and `firmware` from a memory map in any order. Where ranges overlap, RAM gives
    /// way to the others.
    ///
    /// # Errors
    /// There are more ranges than microhv can remember, or none is RAM.
    pub fn set_memory(
        &mut self,
        map: impl Iterator<Item = (Range, MemoryType)> + Clone,
    ) -> Result<(), BootError> {
        let mut room = true;
        for (range, _) in map.clone().filter(|(_, kind)| *kind == MemoryType::RAM) {
            room &= self.ram.insert(range.whole_pages());
        }
        for (range, kind) in map.filter(|(_, kind)| *kind != MemoryType::RAM) {
            room &= self.ram.remove(range.touched_pages());
            if kind == MemoryType::ACPI || kind == MemoryType::NVS {
                room &= self.firmware.insert(range.touched_pages());
            }
        }
        if self.ram.list().is_empty() {
            return Err(BootError::NO_MEMORY_MAP);
        }
        room.then_some(()).ok_or(BootError::MEMORY_MAP_TOO_LONG)
    }
}

/// Why microhv cannot start: a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootError(pub &'static str);

impl BootError {
    /// The structure's magic number or version is wrong.
    pub const NOT_PVH: Self = Self("the boot loader did not pass a PVH start info");
    /// The structure or the magic number beside it is not the protocol's.
    pub const NOT_MULTIBOOT2: Self =
        Self("the boot loader did not pass multiboot2 boot information");
    /// No memory map, or one without RAM.
    pub const NO_MEMORY_MAP: Self = Self("the boot loader did not pass a memory map");
    /// More than [`MAX_RANGES`] ranges.
    pub const MEMORY_MAP_TOO_LONG: Self = Self("the boot loader's memory map has too many ranges");
    /// What the loader passed without a path is no tar archive; the log says why.
    pub const NO_TAR: Self = Self("the boot archive is no tar archive");
    /// No module.
    pub const NO_ARCHIVE: Self = Self("there is no boot archive (give it to QEMU with -initrd)");
    /// A module where the boot page tables do not reach.
    pub const OUT_OF_REACH: Self =
        Self("a file that the boot loader passed lies above 4 GiB, where it cannot be read");
    /// A module cannot stay, and no RAM is free for it.
    pub const NO_ROOM: Self =
        Self("there is no free RAM for a file that the boot loader passed in other memory");
    /// More than [`MAX_MODULES`] modules.
    pub const TOO_MANY_MODULES: Self =
        Self("the boot loader passed more than 64 files: /boot and /etc/xen hold too many");
    /// The archive lacks boot/loader.conf.
    pub const NO_LOADER_CONF: Self = Self("the boot archive has no boot/loader.conf");
    /// Not enough memory for the hypervisor itself.
    pub const NO_MEMORY: Self = Self("there is not enough memory for the hypervisor itself");
}

const _: () = assert!(MAX_MODULES == 64, "as the sentence says");

impl core::fmt::Display for BootError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ram_gives_way_and_tables_are_remembered() {
        let map = [
            (Range::new(0x10_0000, 0x100_0000), MemoryType::RAM),
            (Range::new(0, 0x9_fc00), MemoryType::RAM),
            (Range::new(0x9_fc00, 0x400), MemoryType(2)),
            (Range::new(0x80_0800, 0x800), MemoryType::ACPI),
        ];
        let mut info = BootInfo::default();
        info.set_memory(map.into_iter()).unwrap();
        let expected = [
            Range {
                start: 0,
                end: 0x9_f000,
            },
            Range {
                start: 0x10_0000,
                end: 0x80_0000,
            },
            Range {
                start: 0x80_1000,
                end: 0x110_0000,
            },
        ];
        assert_eq!(info.ram.list(), expected);
        assert_eq!(info.firmware.list(), [Range::new(0x80_0000, 0x1000)]);
    }

    #[test]
    fn a_map_that_is_too_long_is_an_error() {
        let map = (0..200).map(|i| (Range::new(i * 0x4000, 0x1000), MemoryType::RAM));
        let error = BootInfo::default().set_memory(map);
        assert_eq!(error, Err(BootError::MEMORY_MAP_TOO_LONG));
    }
}
