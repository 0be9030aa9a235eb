//! Walks through guest tables, right ones and hostile ones.

use super::*;
use proptest::prelude::*;
use std::cell::RefCell;

/// Guest memory of some pages from address 0; pages in `read_only` refuse writes.
struct Memory {
    bytes: RefCell<Vec<u8>>,
    read_only: u64,
}

impl Memory {
    fn new(pages: usize) -> Self {
        Self {
            bytes: RefCell::new(vec![0; pages * 4096]),
            read_only: u64::MAX,
        }
    }

    fn set(&self, gpa: u64, value: u64) {
        assert!(self.write(gpa, &value.to_le_bytes()).is_some());
    }
}

impl GuestPhysical for Memory {
    fn read(&self, gpa: u64, buf: &mut [u8]) -> Option<()> {
        assert!(gpa % 4096 + buf.len() as u64 <= 4096, "one page at a time");
        let bytes = self.bytes.borrow();
        buf.copy_from_slice(bytes.get(gpa as usize..)?.get(..buf.len())?);
        Some(())
    }

    fn write(&self, gpa: u64, data: &[u8]) -> Option<()> {
        assert!(gpa % 4096 + data.len() as u64 <= 4096, "one page at a time");
        let mut bytes = self.bytes.borrow_mut();
        if gpa / 4096 == self.read_only {
            return None;
        }
        let rest = bytes.get_mut(gpa as usize..)?;
        rest.get_mut(..data.len())?.copy_from_slice(data);
        Some(())
    }
}

const LONG: Translation = Translation {
    cr0: CR0_PG | CR0_WP,
    cr3: 0x1000,
    cr4: CR4_PAE,
    efer: EFER_LMA,
};
const KERNEL: u64 = 0xffff_8000_0000_0000;

/// KERNEL + 0 → page 5 (rw), + 0x1000 → page 6 (ro), + 2 MiB → 2 MiB page at 0.
fn long_mode() -> Memory {
    let memory = Memory::new(16);
    memory.set(0x1000 + 256 * 8, 0x2003);
    memory.set(0x2000, 0x3003);
    memory.set(0x3000, 0x4003);
    memory.set(0x3008, 0x83);
    memory.set(0x4000, 0x5003);
    memory.set(0x4008, 0x6001);
    memory
}

#[test]
fn four_levels_and_page_crossing() {
    let memory = long_mode();
    memory.set(0x5ff8, 0x1122_3344_5566_7788);
    memory.set(0x6000, 0xaa);
    let mut buf = [0; 9];
    assert_eq!(LONG.read(&memory, KERNEL + 0xff8, &mut buf), Some(()));
    assert_eq!(buf, [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0xaa]);
    assert_eq!(
        LONG.translate(&memory, KERNEL + 0x20_1234, true),
        Some(0x1234)
    );
}

#[test]
fn what_is_not_mapped_is_refused() {
    let memory = long_mode();
    let mut buf = [0; 4];
    for linear in [
        0,
        KERNEL + 0x2000,
        KERNEL - 1,
        0x8000_0000_0000,
        u64::MAX,
        u64::MAX - 3,
    ] {
        assert_eq!(LONG.read(&memory, linear, &mut buf), None, "{linear:#x}");
    }
    // Beyond the memory there is: the page tables lead there, the p2m does not.
    assert_eq!(
        LONG.read(&memory, KERNEL + 0x20_0000 + 0x1_0000, &mut buf),
        None
    );
}

#[test]
fn write_protection_holds() {
    let mut memory = long_mode();
    assert_eq!(LONG.write(&memory, KERNEL + 0x800, b"text"), Some(()));
    assert_eq!(LONG.write(&memory, KERNEL + 0x1000, b"text"), None);
    let no_wp = Translation {
        cr0: CR0_PG,
        ..LONG
    };
    assert_eq!(no_wp.write(&memory, KERNEL + 0x1000, b"text"), Some(()));
    memory.read_only = 5;
    assert_eq!(LONG.write(&memory, KERNEL + 0x800, b"text"), None);
}

#[test]
fn five_levels() {
    let memory = long_mode();
    memory.set(0x7000 + 511 * 8, 0x1003);
    let la57 = Translation {
        cr3: 0x7000,
        cr4: CR4_PAE | CR4_LA57,
        ..LONG
    };
    assert_eq!(la57.translate(&memory, KERNEL + 8, false), Some(0x5008));
    assert_eq!(la57.translate(&memory, 0x00f0_0000_0000_0000, false), None);
}

#[test]
fn without_paging_linear_is_physical() {
    let memory = Memory::new(2);
    memory.set(0x1008, 7);
    let real = Translation {
        cr0: 0,
        cr3: 0,
        cr4: 0,
        efer: 0,
    };
    let mut buf = [0; 1];
    assert_eq!(real.read(&memory, 0x1_0000_1008, &mut buf), Some(()));
    assert_eq!(buf, [7]);
}

#[test]
fn three_levels_of_pae() {
    let memory = Memory::new(8);
    // The root needs 32-byte alignment only; its entries have no write bit.
    memory.set(0x1020 + 3 * 8, 0x2001);
    memory.set(0x2000 + 511 * 8, 0x3003);
    memory.set(0x3000 + 511 * 8, 0x4003);
    let pae = Translation {
        cr0: CR0_PG | CR0_WP,
        cr3: 0x1020,
        cr4: CR4_PAE,
        efer: 0,
    };
    assert_eq!(pae.translate(&memory, 0xffff_f123, true), Some(0x4123));
    assert_eq!(pae.translate(&memory, 0x123, true), None);
}

#[test]
fn two_levels_with_4_mib_pages() {
    let memory = Memory::new(8);
    assert!(memory.write(0x1000 + 4, &0x2003u32.to_le_bytes()).is_some());
    assert!(memory.write(0x2000, &0x3003u32.to_le_bytes()).is_some());
    assert!(
        memory
            .write(0x1000 + 8, &(0x0080_0083u32 | 1 << 13).to_le_bytes())
            .is_some()
    );
    let legacy = Translation {
        cr0: CR0_PG,
        cr3: 0x1000,
        cr4: CR4_PSE,
        efer: 0,
    };
    assert_eq!(legacy.translate(&memory, 0x40_0042, true), Some(0x3042));
    assert_eq!(
        legacy.translate(&memory, 0x80_5042, true),
        Some(0x1_0080_5042)
    );
    assert_eq!(legacy.translate(&memory, 0, false), None);
}

proptest! {
    #[test]
    fn hostile_tables_never_do_worse_than_fail(
        cr0 in any::<u64>(), cr3 in 0u64..0x10000, cr4 in any::<u64>(), efer in any::<u64>(),
        fill in proptest::collection::vec(any::<u64>(), 64), linear in any::<u64>(), len in 0usize..9000,
    ) {
        let memory = Memory::new(16);
        for index in 0..16 * 512u64 {
            memory.set(index * 8, fill[(index * 7 % 64) as usize] & 0xffff | 1);
        }
        let how = Translation { cr0, cr3, cr4, efer };
        let mut buf = vec![0; len];
        let _ = how.read(&memory, linear, &mut buf);
        let _ = how.write(&memory, linear, &buf);
    }
}
