//! Page-table entries for DMA (2.2.3).

use super::entries::{LEVELS, READ, WRITE};
use crate::paging::{ADDRESS, Access, Format, Mapping};
use crate::types::Mfn;

const PRESENT: u64 = 1 << 0;
/// NextLevel: the level of the table that the entry points at, 0 for a page.
const NEXT_LEVEL: u32 = 9;
/// FC: accesses of the device snoop the caches whatever it asks for.
const FORCE_COHERENT: u64 = 1 << 60;

/// An entry that leads nowhere. Of one that is not present the other bits are software's; QEMU's unit takes a fault at an
/// entry of zeros for none of its business, and logs one at an entry that would have a further level.
const ABSENT: u64 = 1 << NEXT_LEVEL;

/// How tables are shaped.
#[derive(Debug)]
pub struct HostTables {
    /// Pages of 2 MiB and 1 GiB too.
    pub superpages: bool,
}

impl Format for HostTables {
    fn levels(&self) -> u32 {
        LEVELS
    }

    fn leaf_levels(&self) -> u32 {
        if self.superpages { 3 } else { 1 }
    }

    fn leaf(&self, mapping: &Mapping) -> u64 {
        let mut entry = mapping.mfn.address() & ADDRESS | PRESENT | FORCE_COHERENT;
        if mapping.access.contains(Access::READ) {
            entry |= READ;
        }
        if mapping.access.contains(Access::WRITE) {
            entry |= WRITE;
        }
        entry
    }

    fn table(&self, mfn: Mfn, level: u32) -> u64 {
        let next = u64::from(level) << NEXT_LEVEL;
        mfn.address() & ADDRESS | PRESENT | next | READ | WRITE
    }

    fn absent(&self) -> u64 {
        ABSENT
    }

    fn access(&self, entry: u64) -> Access {
        let mut access = Access::empty();
        if entry & PRESENT != 0 {
            access.set(Access::READ, entry & READ != 0);
            access.set(Access::WRITE, entry & WRITE != 0);
        }
        access
    }

    fn is_table(&self, entry: u64, _level: u32) -> bool {
        entry >> NEXT_LEVEL & 7 != 0
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

    fn shape(superpages: bool) -> HostTables {
        HostTables { superpages }
    }

    #[test]
    fn entries_have_the_specified_bits() {
        let format = shape(true);
        assert_eq!((format.levels(), format.leaf_levels()), (4, 3));
        assert_eq!(shape(false).leaf_levels(), 1);
        assert_eq!(
            format.leaf(&mapping(0x1234, 0, Access::ALL)),
            0x7000_0000_0123_4001
        );
        assert_eq!(
            format.leaf(&mapping(0x1200, 9, Access::READ)),
            0x3000_0000_0120_0001
        );
        assert_eq!(format.table(Mfn(0x77), 3), 0x6000_0000_0007_7601);
    }

    #[test]
    fn decoding_undoes_encoding() {
        let format = shape(true);
        assert_eq!(format.decode(0, 1), Entry::Absent);
        assert_eq!(format.decode(format.absent(), 1), Entry::Absent);
        assert_eq!(
            format.decode(format.table(Mfn(0x77), 1), 2),
            Entry::Table(Mfn(0x77))
        );
        for order in [0, 9, 18] {
            for access in [Access::READ, Access::READ_WRITE] {
                let mapping = mapping(3 << 18, order, access);
                assert_eq!(
                    format.decode(format.leaf(&mapping), order / 9 + 1),
                    Entry::Leaf(mapping)
                );
            }
        }
    }
}
