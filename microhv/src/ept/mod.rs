//! Extended page tables: a guest's physical memory as Intel's CPUs see it (Intel SDM, volume 3C, 29.3).

use crate::paging::{ADDRESS, Access, Format, LARGE, Mapping, MemoryType};
use crate::types::Mfn;
use core::sync::atomic::{AtomicBool, Ordering};

/// Memory type in a leaf, bits 3-5: 6 is write-back, 0 uncached. The guest's PAT is combined with it, as on the
/// bare machine, because "ignore PAT" (bit 6) is clear.
const WRITE_BACK: u64 = 6 << 3;
const MEMORY_TYPE: u64 = 7 << 3;
/// Ignored by the CPU: EXECUTE as soon as the leaf is taken apart.
const EXECUTE_WHEN_SMALL: u64 = 1 << 11;

/// Four levels, counted from 0, in bits 3-5 of the pointer; bits 0-2 say that the walk itself uses write-back.
const WALK_4_WRITE_BACK: u64 = 3 << 3 | 6;

/// The format object.
pub static EPT: Ept = Ept {
    gigabyte_pages: AtomicBool::new(false),
    small_code: AtomicBool::new(false),
};

/// Four-level tables with 4 KiB and 2 MiB pages, and 1 GiB pages where the CPU has them.
pub struct Ept {
    gigabyte_pages: AtomicBool,
    small_code: AtomicBool,
}

impl Ept {
    /// The CPU maps 1 GiB by one entry (IA32_VMX_EPT_VPID_CAP bit 17). Call before the first table is made.
    pub fn allow_gigabyte_pages(&self) {
        self.gigabyte_pages.store(true, Ordering::Relaxed);
    }
}

/// The EPT pointer for the tables under `root` (SDM 25.6.11).
#[must_use]
pub fn pointer(root: Mfn) -> u64 {
    root.address() & ADDRESS | WALK_4_WRITE_BACK
}

impl Format for Ept {
    fn leaf_levels(&self) -> u32 {
        2 + u32::from(self.gigabyte_pages.load(Ordering::Relaxed))
    }

    fn leaf(&self, mapping: &Mapping) -> u64 {
        // Write without read is a misconfiguration, execute without read an optional feature: such a page is absent.
        if !mapping.access.contains(Access::READ) {
            return 0;
        }
        let mut entry = mapping.mfn.address() & ADDRESS | mapping.access.bits();
        let runs = mapping.access.contains(Access::EXECUTE);
        if runs && mapping.order > 0 && self.small_code.load(Ordering::Relaxed) {
            entry ^= Access::EXECUTE.bits() | EXECUTE_WHEN_SMALL;
        }
        if mapping.memory == MemoryType::WriteBack {
            entry |= WRITE_BACK;
        }
        if mapping.order > 0 {
            entry |= LARGE;
        }
        entry
    }

    fn table(&self, mfn: Mfn, _level: u32) -> u64 {
        mfn.address() & ADDRESS | Access::ALL.bits()
    }

    fn keep_code_small(&self) {
        self.small_code.store(true, Ordering::Relaxed);
    }

    fn access(&self, entry: u64) -> Access {
        let mut access = Access::from_bits_truncate(entry);
        if entry & EXECUTE_WHEN_SMALL != 0 {
            access |= Access::EXECUTE;
        }
        access
    }

    fn memory(&self, entry: u64) -> MemoryType {
        match entry & MEMORY_TYPE {
            WRITE_BACK => MemoryType::WriteBack,
            _ => MemoryType::Uncached,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paging::Entry;
    use crate::paging::Table;
    use crate::types::Gfn;

    const fn new() -> Ept {
        Ept {
            gigabyte_pages: AtomicBool::new(false),
            small_code: AtomicBool::new(false),
        }
    }

    #[test]
    fn code_runs_in_single_pages_where_large_ones_may_stop_the_cpu() {
        use MemoryType::WriteBack;
        static SMALL: Ept = new();
        SMALL.allow_gigabyte_pages();
        SMALL.keep_code_small();
        let mut table = Table::new(&SMALL).unwrap();
        let (start, inside) = (Gfn(1 << 18), Gfn((1 << 18) + 0x345));
        let mut map = |access| table.map(start, Mfn(1 << 19), 18, access, WriteBack);
        map(Access::ALL).unwrap();
        let whole = Mapping {
            mfn: Mfn(1 << 19),
            order: 18,
            access: Access::ALL,
            memory: WriteBack,
        };
        assert_eq!(SMALL.leaf(&whole), 0x8000_08b3, "not executable");
        assert_eq!(table.lookup(start), Some(whole), "but it may be");
        assert_eq!(table.run_at(inside), Ok(true));
        let found = |gfn| table.lookup(gfn).map(|leaf| (leaf.mfn.0, leaf.order));
        assert_eq!(found(inside), Some(((1 << 19) + 0x345, 0)));
        assert_eq!(found(Gfn(inside.0 + 512)), Some(((1 << 19) + 0x545, 9)));
        let page = Mapping { order: 0, ..whole };
        assert_eq!(SMALL.leaf(&page), 0x8000_0037, "executable");
        // Another CPU was here before.
        let frames = table.frames();
        assert_eq!((table.run_at(inside), table.frames()), (Ok(true), frames));
        // What may not run is left alone.
        assert_eq!(table.run_at(Gfn(0)), Ok(false));
        table
            .map(Gfn(0), Mfn(0), 9, Access::READ_WRITE, WriteBack)
            .unwrap();
        assert_eq!(table.run_at(Gfn(1)), Ok(false));
        assert_eq!(table.lookup(Gfn(1)).unwrap().order, 9);
    }

    fn leaf(mfn: u64, order: u32, access: Access, memory: MemoryType) -> u64 {
        EPT.leaf(&Mapping {
            mfn: Mfn(mfn),
            order,
            access,
            memory,
        })
    }

    #[test]
    fn bits_are_the_manuals() {
        use MemoryType::{Uncached, WriteBack};
        assert_eq!(leaf(0x12345, 0, Access::ALL, WriteBack), 0x1234_5037);
        assert_eq!(leaf(0x12345, 0, Access::READ, WriteBack), 0x1234_5031);
        assert_eq!(leaf(0xfee00, 0, Access::READ_WRITE, Uncached), 0xfee0_0003);
        assert_eq!(leaf(0x200, 9, Access::ALL, WriteBack), 0x20_00b7);
        assert_eq!(leaf(1 << 18, 18, Access::ALL, WriteBack), 0x4000_00b7);
        assert_eq!(EPT.table(Mfn(5), 1), 0x5007);
        assert_eq!(pointer(Mfn(0x77)), 0x7_701e);
    }

    #[test]
    fn a_page_that_cannot_be_read_is_absent() {
        let nothing = Access::WRITE | Access::EXECUTE;
        assert_eq!(
            EPT.decode(leaf(7, 0, nothing, MemoryType::WriteBack), 1),
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
                        EPT.decode(EPT.leaf(&mapping), order / 9 + 1),
                        Entry::Leaf(mapping)
                    );
                }
            }
        }
    }

    #[test]
    fn gigabyte_pages_only_where_the_cpu_has_them() {
        let ept = new();
        assert_eq!(ept.leaf_levels(), 2);
        ept.allow_gigabyte_pages();
        assert_eq!(ept.leaf_levels(), 3);
    }
}
