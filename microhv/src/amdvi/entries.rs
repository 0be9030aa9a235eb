//! Bit patterns of the structures a unit reads from memory (chapter 2), except page tables and events.

use crate::paging::ADDRESS;
use crate::types::Mfn;

/// A page may be read, in device and page-table entries.
pub const READ: u64 = 1 << 61;
/// A page may be written, in device and page-table entries.
pub const WRITE: u64 = 1 << 62;
/// Levels of the page tables that microhv makes (DTE.Mode).
pub const LEVELS: u32 = 4;

/// Device table entries (2.2.2.1), by 64-bit quarter.
pub mod device {
    use super::{ADDRESS, LEVELS, READ, WRITE};
    use crate::types::Mfn;

    const VALID: u64 = 1 << 0;
    const TRANSLATION_VALID: u64 = 1 << 1;
    const MODE: u64 = (LEVELS as u64) << 9;
    const INTERRUPTS_VALID: u64 = 1 << 0;
    /// IntTabLen: 2^8 entries, one for each vector.
    const TABLE_LENGTH: u64 = 8 << 1;
    /// IntCtl: fixed and arbitrated interrupts are remapped; 0: they are stopped.
    const REMAPPED: u64 = 2 << 60;
    /// IntTabRoot.
    const TABLE_MASK: u64 = 0x000f_ffff_ffff_ffc0;

    /// Quarter 0: every request faults, and that is logged; `empty` is a page without translations. (An entry that is
    /// not valid would let everything pass.)
    pub const fn blocked(empty: Mfn) -> u64 {
        VALID | TRANSLATION_VALID | MODE | empty.address() & ADDRESS
    }

    /// Quarter 0: requests go through the page table at `root`. Device TLBs, guest tables and page requests are off.
    pub const fn translated(root: Mfn) -> u64 {
        VALID | TRANSLATION_VALID | MODE | root.address() & ADDRESS | READ | WRITE
    }

    /// Quarter 1: what is cached is cached under `domain`; `settings` are firmware's (5.2.2.1), of which system
    /// management messages are here.
    pub const fn domain(domain: u16, settings: u8) -> u64 {
        domain as u64 | (settings as u64 >> 4 & 3) << 40
    }

    /// Quarter 2: no interrupt passes except what firmware's `settings` say of INIT, ExtInt, NMI and the legacy lines.
    pub const fn interrupts_blocked(settings: u8) -> u64 {
        INTERRUPTS_VALID | (settings as u64 & 7) << 56 | (settings as u64 >> 6) << 62
    }

    /// Quarter 2 as it is `now`, with interrupts remapped through `table`.
    pub const fn interrupts_remapped(now: u64, table: Mfn) -> u64 {
        now | INTERRUPTS_VALID | TABLE_LENGTH | table.address() & TABLE_MASK | REMAPPED
    }

    /// The table in quarter 2.
    pub fn interrupt_table(quarter: u64) -> Option<Mfn> {
        (quarter & REMAPPED != 0).then(|| Mfn::containing(quarter & TABLE_MASK))
    }
}

/// An interrupt-remapping entry of 32 bits (2.2.5.2): edge, fixed delivery to one physical xAPIC id.
pub const fn interrupt(vector: u8, apic_id: u8) -> u32 {
    const REMAP_ENABLE: u32 = 1;
    REMAP_ENABLE | (apic_id as u32) << 8 | (vector as u32) << 16
}

/// A command (2.4).
pub use crate::iommu::ring::Entry as Command;

impl Command {
    const fn with_opcode(opcode: u64, low: u64, high: u64) -> Self {
        let low = opcode << 60 | low;
        Self { low, high }
    }

    /// COMPLETION_WAIT: when all before it is done, writes `data` to the 8-byte aligned address of `status`.
    pub const fn completion_wait(status: Mfn, data: u64) -> Self {
        const STORE: u64 = 1;
        Self::with_opcode(1, status.address() & ADDRESS | STORE, data)
    }

    /// INVALIDATE_DEVTAB_ENTRY.
    pub const fn device(source_id: u16) -> Self {
        Self::with_opcode(2, source_id as u64, 0)
    }

    /// INVALIDATE_IOMMU_PAGES: `1 << order` pages at `address` of one domain, and what leads to them.
    pub const fn pages(domain: u16, address: u64, order: u32) -> Self {
        const SIZE: u64 = 1;
        const DIRECTORIES: u64 = 2;
        // The lowest bit from 12 on that is clear tells the size.
        let (size, ones) = match order {
            0 => (0, 0),
            1..=39 => (SIZE, ((1u64 << (order - 1)) - 1) << 12),
            _ => (SIZE, u64::MAX >> 1),
        };
        let address = (address & !0xfff | ones) & !0xfff;
        Self::with_opcode(3, (domain as u64) << 32, address | DIRECTORIES | size)
    }

    /// INVALIDATE_IOMMU_PAGES: all of one domain.
    pub const fn domain(domain: u16) -> Self {
        Self::pages(domain, 0, u32::MAX)
    }

    /// INVALIDATE_INTERRUPT_TABLE of one device.
    pub const fn interrupts(source_id: u16) -> Self {
        Self::with_opcode(5, source_id as u64, 0)
    }

    /// INVALIDATE_IOMMU_ALL, where the unit has it.
    pub const ALL: Self = Self::with_opcode(8, 0, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_entries_have_the_specified_bits() {
        assert_eq!(device::blocked(Mfn(0x1234)), 0x123_4803);
        assert_eq!(device::translated(Mfn(0x1234)), 0x6000_0000_0123_4803);
        assert_eq!(device::domain(7, 0), 7);
        assert_eq!(device::domain(0, 0x30), 3 << 40, "SysMgt");
        assert_eq!(device::interrupts_blocked(0), 1);
        assert_eq!(
            device::interrupts_blocked(0xc7),
            1 | 7 << 56 | 3 << 62,
            "INIT, ExtInt, NMI, LINT0 and LINT1 pass"
        );
        let quarter = device::interrupts_remapped(1, Mfn(0x55));
        assert_eq!(quarter, 0x2000_0000_0005_5011);
        assert_eq!(device::interrupt_table(quarter), Some(Mfn(0x55)));
        assert_eq!(
            device::interrupt_table(device::interrupts_blocked(0xff)),
            None
        );
    }

    #[test]
    fn interrupt_entries_name_vector_and_destination() {
        assert_eq!(interrupt(0x41, 3), 0x0041_0301);
    }

    #[test]
    fn commands_have_the_specified_bits() {
        let wait = Command::completion_wait(Mfn(0x77), 0xabcd);
        assert_eq!((wait.low, wait.high), (0x1000_0000_0007_7001, 0xabcd));
        assert_eq!(Command::device(0x18).low, 0x2000_0000_0000_0018);
        let page = Command::pages(3, 0x1234_5000, 0);
        assert_eq!((page.low, page.high), (0x3000_0003_0000_0000, 0x1234_5002));
        assert_eq!(Command::pages(3, 0x1000_0000, 1).high, 0x1000_0003, "8 KiB");
        assert_eq!(Command::pages(3, 0x20_0000, 9).high, 0x2f_f003, "2 MiB");
        assert_eq!(Command::pages(3, 0, 18).high, 0x1fff_f003, "1 GiB");
        assert_eq!(Command::domain(3).high, 0x7fff_ffff_ffff_f003);
        assert_eq!(Command::interrupts(0xa0).low, 0x5000_0000_0000_00a0);
        assert_eq!(Command::ALL.low, 0x8000_0000_0000_0000);
    }
}
