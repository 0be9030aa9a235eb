//! Second-level page-table entries (specification 9.8).

use crate::paging::{ADDRESS, Access, Format, LARGE, Mapping};
use crate::types::Mfn;
use crate::vtd::cache;

/// How the units' second-level tables are shaped.
#[derive(Debug)]
pub struct SecondLevel {
    /// 3 or 4.
    pub levels: u32,
    /// Levels with leaves: 1 with pages of 4 KiB only, 2 with 2 MiB, 3 with 1 GiB.
    pub leaf_levels: u32,
}

impl Format for SecondLevel {
    fn levels(&self) -> u32 {
        self.levels
    }

    fn leaf_levels(&self) -> u32 {
        self.leaf_levels
    }

    fn leaf(&self, mapping: &Mapping) -> u64 {
        let access = mapping.access & Access::READ_WRITE;
        let mut entry = mapping.mfn.address() & ADDRESS | access.bits();
        if mapping.order > 0 {
            entry |= LARGE;
        }
        entry
    }

    fn table(&self, mfn: Mfn, _level: u32) -> u64 {
        mfn.address() & ADDRESS | Access::READ_WRITE.bits()
    }

    fn access(&self, entry: u64) -> Access {
        Access::from_bits_truncate(entry) & Access::READ_WRITE
    }

    fn written(&self, table: Mfn, offset: usize) {
        cache::written(table, offset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paging::{Entry, MemoryType};

    fn mapping(mfn: u64, order: u32, access: Access) -> Mapping {
        Mapping {
            mfn: Mfn(mfn),
            order,
            access,
            memory: MemoryType::WriteBack,
        }
    }

    fn shape(levels: u32, leaf_levels: u32) -> SecondLevel {
        SecondLevel {
            levels,
            leaf_levels,
        }
    }

    #[test]
    fn entries_have_the_specified_bits() {
        let format = shape(3, 3);
        assert_eq!(
            format.leaf(&mapping(0x1234, 0, Access::READ_WRITE)),
            0x123_4003
        );
        assert_eq!(format.leaf(&mapping(0x1200, 9, Access::READ)), 0x120_0081);
        assert_eq!(
            format.leaf(&mapping(0x4_0000, 18, Access::ALL)),
            0x4000_0083,
            "execution is not a DMA right"
        );
        assert_eq!(format.table(Mfn(0x77), 1), 0x7_7003);
    }

    #[test]
    fn entries_are_read_back() {
        let format = shape(4, 2);
        assert_eq!(format.decode(0, 1), Entry::Absent);
        assert_eq!(format.decode(0x7_7003, 2), Entry::Table(Mfn(0x77)));
        let Entry::Leaf(leaf) = format.decode(0x120_0081, 2) else {
            panic!()
        };
        assert_eq!((leaf.mfn, leaf.order), (Mfn(0x1200), 9));
        assert!(leaf.access == Access::READ);
        let Entry::Leaf(leaf) = format.decode(0x7_7002, 1) else {
            panic!()
        };
        assert!(leaf.access == Access::WRITE);
    }
}
