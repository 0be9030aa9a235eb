//! Tables good and bad.

use super::*;
use crate::iommu::table::HEADER;
use proptest::prelude::*;

/// The IVRS table of `qemu-system-x86_64 -M q35 -device amd-iommu,intremap=on` with a NIC at 00:03.0 (QEMU 7.2.22), read
/// from its memory.
const QEMU: &[u8] = &[
    0x49, 0x56, 0x52, 0x53, 0x68, 0x00, 0x00, 0x00, 0x01, 0x43, 0x42, 0x4f, 0x43, 0x48, 0x53, 0x20,
    0x42, 0x58, 0x50, 0x43, 0x20, 0x20, 0x20, 0x20, 0x01, 0x00, 0x00, 0x00, 0x42, 0x58, 0x50, 0x43,
    0x01, 0x00, 0x00, 0x00, 0x00, 0x28, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x10, 0xd1, 0x38, 0x00, 0x08, 0x00, 0x40, 0x00, 0x00, 0x00, 0xd8, 0xfe, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x44, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x02, 0x08, 0x00, 0x00,
    0x02, 0x18, 0x00, 0x00, 0x02, 0xf8, 0x00, 0x00, 0x02, 0xfa, 0x00, 0x00, 0x02, 0xfb, 0x00, 0x00,
    0x48, 0x00, 0x00, 0x00, 0x00, 0xa0, 0x00, 0x01,
];

/// A table of these blocks, with length and checksum.
fn table(blocks: &[&[u8]]) -> Vec<u8, 1024> {
    let mut table: Vec<u8, 1024> = Vec::from_slice(&QEMU[..HEADER]).unwrap();
    for block in blocks {
        table.extend_from_slice(block).unwrap();
    }
    let length = table.len() as u16;
    table[4..6].copy_from_slice(&length.to_le_bytes());
    fix_checksum(&mut table);
    table
}

fn fix_checksum(table: &mut [u8]) {
    table[9] = 0;
    table[9] = 0u8.wrapping_sub(table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)));
}

/// A unit's block of type `kind` for 00:00.2 with these device entries.
fn block(kind: u8, entries: &[u8]) -> Vec<u8, 512> {
    let mut block: Vec<u8, 512> = Vec::new();
    block.resize(entries_at(kind).unwrap(), 0).unwrap();
    block[0] = kind;
    block[4] = 2;
    block[8..16].copy_from_slice(&0xfeb8_0000u64.to_le_bytes());
    block.extend_from_slice(entries).unwrap();
    block[2] = block.len() as u8;
    block
}

#[test]
fn reads_qemus_table() {
    let ivrs = parse(QEMU).unwrap();
    assert!(!ivrs.truncated);
    let [unit] = ivrs.units[..] else { panic!() };
    assert_eq!(unit.sbdf, Sbdf::new(0, 1, 0));
    assert_eq!((unit.register_base, unit.flags), (0xfed8_0000, 0xd1));
    assert_eq!(ivrs.ranges.len(), 6);
    assert_eq!(ivrs.unit_of(Sbdf::new(0, 3, 0)), Some(0));
    assert_eq!(ivrs.unit_of(Sbdf::new(0, 4, 0)), None);
    assert_eq!(ivrs.unit_of(Sbdf(0x1_0018)), None, "another segment");
    assert_eq!(ivrs.ioapic(0), Some((0, 0xa0)));
    assert_eq!(ivrs.ioapic(1), None);
    assert!(ivrs.is_reserved(Sbdf::new(0, 1, 0)), "the unit itself");
    assert!(ivrs.is_reserved(Sbdf::new(0, 0x14, 0)), "the I/O APIC's");
    assert!(!ivrs.is_reserved(Sbdf::new(0, 3, 0)));
}

#[test]
fn all_kinds_of_entries_are_understood() {
    let entries = [
        &[1, 0, 0, 0][..],                        // all
        &[3, 0x00, 0x01, 0, 4, 0xff, 0x01, 0],    // 01:00.0 to 01:1f.7
        &[0x42, 0x08, 0x03, 0, 0, 0x00, 0x03, 0], // 03:01.0 speaks as 03:00.0
        &[0x43, 0x00, 0x04, 0, 0, 0x50, 0x00, 0], // 04:00.0 and on as 00:0a.0
        &[4, 0xff, 0x04, 0],                      // to 04:1f.7
        &[0x46, 0x10, 0x00, 0, 0, 0, 0, 0],       // extended
        &[0x48, 0, 0, 0xd7, 9, 0xa0, 0x00, 1],    // I/O APIC 9
        &[0x48, 0, 0, 0, 0, 0xa0, 0x00, 2],       // HPET
        &[
            0xf0, 0xa5, 0x00, 0, b'A', b'M', b'D', b'I', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ],
        &[2, 3, b'U', b'I', b'D'],
    ]
    .concat();
    let ivrs = parse(&table(&[&block(0x11, &entries)])).unwrap();
    assert!(!ivrs.truncated);
    assert_eq!(ivrs.ranges.len(), 6);
    assert_eq!(ivrs.unit_of(Sbdf::new(0xff, 0, 0)), Some(0));
    assert_eq!(ivrs.ranges[1].last, 0x1ff);
    assert_eq!(ivrs.unit_of(Sbdf::new(3, 1, 0)), None, "an alias");
    assert_eq!(ivrs.unit_of(Sbdf::new(4, 1, 0)), None, "an alias");
    assert_eq!(ivrs.unit_of(Sbdf::new(3, 0, 0)), Some(0));
    assert_eq!(ivrs.ioapic(9), Some((0, 0xa0)));
    assert_eq!(ivrs.specials[0].settings, 0xd7);
    assert_eq!(ivrs.specials[1].ioapic, None);
}

#[test]
fn the_newest_kind_of_block_counts() {
    let old = block(0x10, &[1, 0, 0, 0]);
    let new = block(0x40, &[2, 0x18, 0, 0]);
    let ivrs = parse(&table(&[&old, &new])).unwrap();
    assert_eq!((ivrs.units.len(), ivrs.ranges.len()), (1, 1));
    assert_eq!(ivrs.unit_of(Sbdf::new(0, 3, 0)), Some(0));
}

#[test]
fn memory_that_firmware_keeps_reserves_devices() {
    let unit = block(0x10, &[1, 0, 0, 0]);
    let mut one = [0u8; 32];
    (one[0], one[2], one[4]) = (0x21, 32, 0x10);
    let mut range = [0u8; 32];
    (range[0], range[2], range[5], range[6], range[7]) = (0x22, 32, 1, 0xff, 1);
    let ivrs = parse(&table(&[&unit, &one, &range])).unwrap();
    assert!(ivrs.is_reserved(Sbdf::new(0, 2, 0)));
    assert!(ivrs.is_reserved(Sbdf::new(1, 31, 7)));
    assert!(!ivrs.is_reserved(Sbdf::new(2, 0, 0)));
    one[0] = 0x20;
    let ivrs = parse(&table(&[&unit, &one])).unwrap();
    assert!(ivrs.is_reserved(Sbdf::new(0x80, 0, 0)));
}

#[test]
fn refuses_what_is_no_ivrs_table() {
    assert!(parse(&[]).unwrap_err().contains("length"));
    assert!(parse(&QEMU[..100]).unwrap_err().contains("length"));
    let mut bad = QEMU.to_vec();
    bad[60] ^= 1;
    assert!(parse(&bad).unwrap_err().contains("checksum"));
    bad[0] = b'X';
    assert!(parse(&bad).unwrap_err().contains("signature"));
    assert_eq!(
        parse(&table(&[])).unwrap_err(),
        crate::iommu::table::NO_UNIT
    );
}

#[test]
fn odd_blocks_end_the_walk() {
    let good = block(0x10, &[1, 0, 0, 0]);
    for bad in [
        &[0x10, 0, 0, 0][..],                    // no length
        &[0x10, 0, 3, 0],                        // shorter than its header
        &[0x10, 0, 200, 0],                      // longer than the table
        &block(0x10, &[4, 1, 0, 0]),             // an end without a start
        &block(0x10, &[3, 9, 0, 0, 4, 1, 0, 0]), // an end before the start
        &block(0x10, &[0x42, 0, 0]),             // half an entry
        &block(0x11, &[0xf0, 0, 0]),
    ] {
        let ivrs = parse(&table(&[&good, bad]));
        assert!(ivrs.is_ok_and(|ivrs| ivrs.truncated) || bad[0] == 0x11);
    }
}

proptest! {
    #[test]
    fn garbled_tables_are_survived(
        changes in proptest::collection::vec((0..QEMU.len(), any::<u8>()), 1..8),
    ) {
        let mut table = QEMU.to_vec();
        for (at, value) in changes {
            table[at] = value;
        }
        fix_checksum(&mut table);
        let _ = parse(&table);
    }

    #[test]
    fn any_blocks_are_survived(
        kind in prop_oneof![Just(0x10u8), Just(0x11), Just(0x40), any::<u8>()],
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut blocks = std::vec![kind, 0, bytes.len() as u8 + 4, 0];
        blocks.extend(&bytes);
        if let Ok(ivrs) = parse(&table(&[&block(0x40, &[1, 0, 0, 0]), &blocks])) {
            for id in 0..1024 {
                let _ = (ivrs.unit_of(Sbdf(id)), ivrs.is_reserved(Sbdf(id)));
            }
        }
    }
}
