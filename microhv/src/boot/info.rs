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
            .map_err(|_| BootError::TooManyModules)
    }

    /// Keeps the pages of `range` from being used.
    ///
    /// # Errors
    /// There are more ranges than microhv can remember.
    pub fn reserve(&mut self, range: Range) -> Result<(), BootError> {
        if self.reserved.insert(range.touched_pages()) {
            Ok(())
        } else {
            Err(BootError::MemoryMapTooLong)
        }
    }

    /// Makes `ram` and `firmware` from a memory map in any order. Where ranges overlap, RAM gives
    /// way to the others.
    ///
    /// # Errors
    /// There are more ranges than microhv can remember.
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
        if room {
            Ok(())
        } else {
            Err(BootError::MemoryMapTooLong)
        }
    }
}

/// Why microhv cannot start: one sentence each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootError {
    /// The structure's magic number or version is wrong.
    NotPvh,
    /// The structure or the magic number beside it is not the protocol's.
    NotMultiboot2,
    /// No memory map, or one without RAM.
    NoMemoryMap,
    /// More than [`MAX_RANGES`] ranges.
    MemoryMapTooLong,
    /// No module.
    NoArchive,
    /// More than [`MAX_MODULES`] modules.
    TooManyModules,
    /// A module without a path is no tar archive.
    BadArchive(&'static str),
    /// The archive lacks boot/loader.conf.
    NoLoaderConf,
    /// Not enough memory for the hypervisor itself.
    NoMemory,
}

impl core::fmt::Display for BootError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NotPvh => "the boot loader did not pass a PVH start info",
            Self::NotMultiboot2 => "the boot loader did not pass multiboot2 boot information",
            Self::NoMemoryMap => "the boot loader did not pass a memory map",
            Self::MemoryMapTooLong => "the boot loader's memory map has too many ranges",
            Self::NoArchive => "there is no boot archive (give it to QEMU with -initrd)",
            Self::TooManyModules => {
                return write!(
                    f,
                    "the boot loader passed more than {MAX_MODULES} files: /boot and /etc/xen hold too many"
                );
            }
            Self::BadArchive(why) => {
                return write!(f, "the boot archive is no tar archive: {why}");
            }
            Self::NoLoaderConf => "the boot archive has no boot/loader.conf",
            Self::NoMemory => "there is not enough memory for the hypervisor itself",
        })
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
        assert_eq!(error, Err(BootError::MemoryMapTooLong));
    }
}
