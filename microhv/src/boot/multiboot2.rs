//! What a multiboot2 loader passes (Multiboot2 specification 2.0, section 3.6), which is GRUB on BIOS and on UEFI.

use super::bytes::{text, u32_at, u64_at};
use super::info::{BootError, BootInfo, MemoryType, Module};
use crate::mm::ranges::Range;

/// What the loader leaves in EAX (section 3.3).
pub const MAGIC: u32 = 0x36d7_6289;
/// Sizes of the fixed part of the boot information, and of a tag's header.
const HEADER_SIZE: usize = 8;
/// Bytes of boot information that are looked at: the map of a large machine and 64 paths are a few KiB.
const MAX_SIZE: usize = 1 << 20;
const MODULE: u32 = 3;
const MEMORY_MAP: u32 = 6;
/// A copy of ACPI's root pointer, version 1.0.
const ACPI_OLD: u32 = 14;
/// The same from version 2.0 on.
const ACPI_NEW: u32 = 15;

/// A tag of the boot information.
struct Tag<'a> {
    kind: u32,
    /// Its bytes with the header.
    bytes: &'a [u8],
    /// Where they are in the boot information.
    offset: usize,
}

/// The tags of `information` up to the end tag or the first one that makes no sense.
fn tags(information: &[u8]) -> impl Iterator<Item = Tag<'_>> + Clone {
    let mut next = HEADER_SIZE;
    core::iter::from_fn(move || {
        let offset = next;
        let rest = information.get(offset..)?;
        let (kind, size) = (u32_at(rest, 0), u32_at(rest, 4) as usize);
        let bytes = rest.get(..size)?;
        if kind == 0 || size < HEADER_SIZE {
            return None;
        }
        next = offset.checked_add(size)?.checked_next_multiple_of(8)?;
        Some(Tag {
            kind,
            bytes,
            offset,
        })
    })
}

/// The ranges of a memory map tag. Fields: type 0, size 4, entry_size 8, entry_version 12; of an entry: base_addr 0,
/// length 8, type 16, numbered as ACPI does it for the kinds that matter here.
fn memory_map(tag: &[u8]) -> impl Iterator<Item = (Range, MemoryType)> + Clone {
    let size = (u32_at(tag, 8) as usize).max(24);
    let entries = tag.get(16..).unwrap_or(&[]).chunks_exact(size);
    entries.map(|entry| {
        let range = Range::new(u64_at(entry, 0), u64_at(entry, 8));
        (range, MemoryType(u32_at(entry, 16)))
    })
}

/// Reads the boot information at physical address `address`. `memory` gives so many bytes at a physical address, if
/// they can be read.
///
/// # Errors
/// The structure is not there, or lacks a memory map, or has too much of something.
pub fn parse<'a>(
    address: u64,
    memory: impl Fn(u64, usize) -> Option<&'a [u8]>,
) -> Result<BootInfo<'a>, BootError> {
    let header = memory(address, HEADER_SIZE).ok_or(BootError::NOT_MULTIBOOT2)?;
    let size = u32_at(header, 0) as usize;
    if !(HEADER_SIZE..=MAX_SIZE).contains(&size) || !address.is_multiple_of(8) {
        return Err(BootError::NOT_MULTIBOOT2);
    }
    let information = memory(address, size).ok_or(BootError::NOT_MULTIBOOT2)?;
    let mut info = BootInfo::default();
    let mut maps = tags(information).filter(|tag| tag.kind == MEMORY_MAP);
    let map = maps.next().ok_or(BootError::NO_MEMORY_MAP)?;
    info.set_memory(memory_map(map.bytes))?;
    // The copy of ACPI's pointer and the modules' paths are read later.
    info.reserve(Range::new(address, size as u64))?;
    for tag in tags(information) {
        match tag.kind {
            MODULE => {
                // Fields: mod_start 8, mod_end 12, string 16.
                let (start, end) = (u32_at(tag.bytes, 8), u32_at(tag.bytes, 12));
                info.add_module(Module {
                    range: Range::new(start.into(), end.saturating_sub(start).into()),
                    path: text(tag.bytes.get(16..).unwrap_or(&[])),
                })?;
            }
            ACPI_NEW => info.rsdp = Some(address + (tag.offset + HEADER_SIZE) as u64),
            ACPI_OLD if info.rsdp.is_none() => {
                info.rsdp = Some(address + (tag.offset + HEADER_SIZE) as u64);
            }
            _ => {}
        }
    }
    Ok(info)
}

#[cfg(test)]
mod tests {
    use super::super::info::MAX_MODULES;
    use super::*;
    use proptest::prelude::*;

    const ADDRESS: u64 = 0x1_0000;

    fn tag(kind: u32, content: &[u8]) -> Vec<u8> {
        let mut bytes = [kind.to_le_bytes(), (content.len() as u32 + 8).to_le_bytes()].concat();
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn module(start: u32, end: u32, path: &str) -> Vec<u8> {
        let numbers = [start.to_le_bytes(), end.to_le_bytes()].concat();
        tag(MODULE, &[&numbers, path.as_bytes(), b"\0"].concat())
    }

    fn map(entries: &[(u64, u64, u32)]) -> Vec<u8> {
        let mut content = [24u32.to_le_bytes(), [0; 4]].concat();
        for (base, length, kind) in entries {
            content.extend(base.to_le_bytes());
            content.extend(length.to_le_bytes());
            content.extend(u64::from(*kind).to_le_bytes());
        }
        tag(MEMORY_MAP, &content)
    }

    fn information(tags: &[Vec<u8>]) -> Vec<u8> {
        let tags = [tags.concat(), tag(0, &[])].concat();
        let mut bytes = ((tags.len() + 8) as u64).to_le_bytes().to_vec();
        bytes.extend(tags);
        bytes
    }

    fn ram() -> Vec<u8> {
        map(&[
            (0, 0x9_fc00, 1),
            (0x10_0000, 0x7f0_0000, 1),
            (0x7ff_0000, 0x1_0000, 3),
        ])
    }

    fn read(bytes: &[u8]) -> Result<BootInfo<'_>, BootError> {
        parse(ADDRESS, |address, len| {
            let start = usize::try_from(address.checked_sub(ADDRESS)?).ok()?;
            bytes.get(start..start.checked_add(len)?)
        })
    }

    #[test]
    fn a_loaders_tags_are_understood() {
        let bytes = information(&[
            tag(1, b"command line\0"),
            module(0x40_0000, 0x40_1234, "/boot/loader.conf"),
            tag(ACPI_NEW, &[2; 36]),
            module(0x50_0000, 0x50_0000, "/etc/xen/empty"),
            ram(),
            tag(ACPI_OLD, &[0; 20]),
        ]);
        let info = read(&bytes).unwrap();
        let modules: Vec<_> = info.modules.iter().map(|m| (m.range, m.path)).collect();
        assert_eq!(
            modules,
            [
                (Range::new(0x40_0000, 0x1234), "/boot/loader.conf"),
                (Range::new(0x50_0000, 0), "/etc/xen/empty"),
            ]
        );
        let rsdp = (info.rsdp.unwrap() - ADDRESS) as usize;
        assert_eq!(bytes[rsdp..rsdp + 36], [2; 36]);
        assert_eq!(info.ram.list().len(), 2);
        assert_eq!(info.firmware.list(), [Range::new(0x7ff_0000, 0x1_0000)]);
        assert_eq!(
            info.reserved.list(),
            [Range::new(ADDRESS, 0x1000), Range::new(0x40_0000, 0x2000),]
        );
    }

    #[test]
    fn the_old_root_pointer_will_do() {
        let bytes = information(&[ram(), tag(ACPI_OLD, &[7; 20])]);
        let rsdp = (read(&bytes).unwrap().rsdp.unwrap() - ADDRESS) as usize;
        assert_eq!(bytes[rsdp..rsdp + 20], [7; 20]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let nothing = information(&[]);
        assert_eq!(read(&nothing).unwrap_err(), BootError::NO_MEMORY_MAP);
        assert_eq!(read(&[]).unwrap_err(), BootError::NOT_MULTIBOOT2);
        assert_eq!(read(&[0; 64]).unwrap_err(), BootError::NOT_MULTIBOOT2);
        let no_ram = information(&[map(&[(0, 0x1000, 2)])]);
        assert_eq!(read(&no_ram).unwrap_err(), BootError::NO_MEMORY_MAP);
        let mut many = vec![ram()];
        many.resize(MAX_MODULES + 2, module(0, 0, "/boot/x"));
        let many = information(&many);
        assert_eq!(read(&many).unwrap_err(), BootError::TOO_MANY_MODULES);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(changes in proptest::collection::vec((0usize..0x200, any::<u8>()), 0..40)) {
            let mut bytes = information(&[module(0x40_0000, 0x40_1234, "/boot/loader.conf"), ram(), tag(ACPI_NEW, &[2; 36])]);
            bytes.resize(0x200, 0);
            for (at, value) in changes {
                bytes[at] = value;
            }
            let _ = read(&bytes);
        }
    }
}
