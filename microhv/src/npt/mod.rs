//! Nested page tables: the long-mode format with every guest access counted as a user access
//! (AMD64 manual, volume 2, 15.25.5).

use crate::paging::{ADDRESS, Access, Format, LARGE, Mapping, MemoryType};
use crate::types::Mfn;

const PRESENT: u64 = 1 << 0;
const WRITE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const PWT: u64 = 1 << 3;
const PCD: u64 = 1 << 4;
/// Accessed and dirty, set from the start so that the CPU never writes to a table.
const ACCESSED_DIRTY: u64 = 1 << 5 | 1 << 6;
const NO_EXECUTE: u64 = 1 << 63;

/// PAT entry 3 of the host, which is UC after reset and which microhv leaves so.
const UNCACHED: u64 = PCD | PWT;

/// The format object.
pub static NPT: Npt = Npt;

/// Four-level nested tables with 4 KiB, 2 MiB and 1 GiB pages.
pub struct Npt;

impl Format for Npt {
    fn leaf_levels(&self) -> u32 {
        3
    }

    fn leaf(&self, mapping: &Mapping) -> u64 {
        // A page that may not be read cannot be expressed: it is absent.
        if !mapping.access.contains(Access::READ) {
            return 0;
        }
        let mut entry = mapping.mfn.address() & ADDRESS | PRESENT | USER | ACCESSED_DIRTY;
        if mapping.access.contains(Access::WRITE) {
            entry |= WRITE;
        }
        if !mapping.access.contains(Access::EXECUTE) {
            entry |= NO_EXECUTE;
        }
        if mapping.memory == MemoryType::Uncached {
            entry |= UNCACHED;
        }
        if mapping.order > 0 {
            entry |= LARGE;
        }
        entry
    }

    fn table(&self, mfn: Mfn, _level: u32) -> u64 {
        mfn.address() & ADDRESS | PRESENT | WRITE | USER | ACCESSED_DIRTY
    }

    fn access(&self, entry: u64) -> Access {
        if entry & PRESENT == 0 {
            return Access::empty();
        }
        let mut access = Access::data(entry & WRITE != 0);
        access.set(Access::EXECUTE, entry & NO_EXECUTE == 0);
        access
    }

    fn memory(&self, entry: u64) -> MemoryType {
        match entry & UNCACHED {
            UNCACHED => MemoryType::Uncached,
            _ => MemoryType::WriteBack,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paging::Entry;

    fn leaf(mfn: u64, order: u32, access: Access, memory: MemoryType) -> u64 {
        NPT.leaf(&Mapping {
            mfn: Mfn(mfn),
            order,
            access,
            memory,
        })
    }

    #[test]
    fn bits_are_the_manuals() {
        assert_eq!(
            leaf(0x12345, 0, Access::ALL, MemoryType::WriteBack),
            0x1234_5067
        );
        assert_eq!(
            leaf(0x12345, 0, Access::READ, MemoryType::WriteBack),
            0x8000_0000_1234_5065
        );
        assert_eq!(
            leaf(0xfee00, 0, Access::READ_WRITE, MemoryType::Uncached),
            0x8000_0000_fee0_007f
        );
        assert_eq!(
            leaf(0x200, 9, Access::ALL, MemoryType::WriteBack),
            0x20_00e7
        );
        assert_eq!(NPT.table(Mfn(5), 1), 0x5067);
    }

    #[test]
    fn a_page_that_cannot_be_read_is_absent() {
        let nothing = Access::WRITE | Access::EXECUTE;
        assert_eq!(
            NPT.decode(leaf(7, 0, nothing, MemoryType::WriteBack), 1),
            Entry::Absent
        );
    }

    #[test]
    fn decoding_undoes_encoding() {
        for order in [0, 9, 18] {
            for access in [Access::ALL, Access::READ, Access::READ_WRITE] {
                for memory in [MemoryType::WriteBack, MemoryType::Uncached] {
                    let mapping = Mapping {
                        mfn: Mfn(3 << 18),
                        order,
                        access,
                        memory,
                    };
                    assert_eq!(
                        NPT.decode(NPT.leaf(&mapping), order / 9 + 1),
                        Entry::Leaf(mapping)
                    );
                }
            }
        }
    }
}
