use super::*;
use crate::mm::phys;
use crate::npt::NPT;
use crate::types::Gfn;
use proptest::prelude::*;
use std::collections::BTreeMap;

const WB: MemoryType = MemoryType::WriteBack;

/// The same format with no pages larger than 2 MiB.
struct Small;

impl Format for Small {
    fn levels(&self) -> u32 {
        3
    }
    fn leaf_levels(&self) -> u32 {
        2
    }
    fn leaf(&self, mapping: &Mapping) -> u64 {
        NPT.leaf(mapping)
    }
    fn table(&self, mfn: Mfn, _level: u32) -> u64 {
        NPT.table(mfn, 1)
    }
    fn access(&self, entry: u64) -> Access {
        NPT.access(entry)
    }
}

fn table() -> Table {
    Table::new(&NPT).unwrap()
}

/// The next leaf, in steps of a few looks.
fn take_next(table: &mut Table, cursor: &mut Gfn) -> Option<(Gfn, Mapping)> {
    loop {
        let (mut looks, before) = (5, *cursor);
        let taken = table.take_next(cursor, &mut looks);
        if taken.is_some() || looks > 0 {
            return taken;
        }
        assert!(*cursor > before, "it goes on");
    }
}

#[test]
fn a_page_is_found_where_it_was_put() {
    let mut table = table();
    assert_eq!(
        table.map(Gfn(0x12345), Mfn(0x777), 0, Access::READ, WB),
        Ok(None)
    );
    let found = Mapping {
        mfn: Mfn(0x777),
        order: 0,
        access: Access::READ,
        memory: WB,
    };
    assert_eq!(table.lookup(Gfn(0x12345)), Some(found));
    assert_eq!(table.lookup(Gfn(0x12346)), None);
    assert_eq!(table.lookup(Gfn(1 << 36)), None);
    assert_eq!(table.frames(), 4);
    assert_eq!(table.unmap(Gfn(0x12345), 0), Ok(Some(found)));
    assert_eq!(table.unmap(Gfn(0x12345), 0), Ok(None));
}

#[test]
fn a_large_page_is_split_when_a_part_changes() {
    let mut table = table();
    table
        .map(Gfn(0x4_0000), Mfn(0x8_0000), 18, Access::ALL, WB)
        .unwrap();
    assert_eq!(table.frames(), 2);
    let old = table
        .map(Gfn(0x4_0123), Mfn(5), 0, Access::READ, WB)
        .unwrap();
    assert_eq!(
        old,
        Some(Mapping {
            mfn: Mfn(0x8_0123),
            order: 0,
            access: Access::ALL,
            memory: WB
        })
    );
    assert_eq!(table.lookup(Gfn(0x4_0123)).unwrap().mfn, Mfn(5));
    assert_eq!(
        table.lookup(Gfn(0x4_0124)).unwrap(),
        Mapping {
            mfn: Mfn(0x8_0124),
            order: 0,
            access: Access::ALL,
            memory: WB
        }
    );
    let far = table.lookup(Gfn(0x4_0000 + 0x3_ffff)).unwrap();
    assert_eq!((far.mfn, far.order), (Mfn(0x8_0000 + 0x3_ffff), 9));
    let cut = table.unmap(Gfn(0x4_0200), 9).unwrap().unwrap();
    assert_eq!((cut.mfn, cut.order), (Mfn(0x8_0200), 9));
}

#[test]
fn small_pages_are_never_lost_under_a_large_one() {
    let mut table = table();
    table.map(Gfn(0x205), Mfn(9), 0, Access::ALL, WB).unwrap();
    assert_eq!(
        table.map(Gfn(0x200), Mfn(0x400), 9, Access::ALL, WB),
        Err(Error::Occupied)
    );
    assert_eq!(table.unmap(Gfn(0x200), 9), Err(Error::Occupied));
    assert_eq!(table.unmap(Gfn(0), 18), Err(Error::Occupied));
    assert_eq!(table.lookup(Gfn(0x205)).unwrap().mfn, Mfn(9));
    table.unmap(Gfn(0x205), 0).unwrap();
    // The empty table stays where a CPU may have cached a pointer to it.
    table
        .map(Gfn(0x200), Mfn(0x400), 9, Access::ALL, WB)
        .unwrap();
    let found = table.lookup(Gfn(0x234)).unwrap();
    assert_eq!((found.mfn, found.order), (Mfn(0x434), 0));
}

#[test]
fn ranges_are_checked() {
    let mut table = table();
    for (gfn, mfn, order) in [
        (1, 0, 9),
        (0, 1, 9),
        (0, 0, 1),
        (1 << 36, 0, 0),
        (0, 1 << 40, 0),
        (0x200, 0, 18),
    ] {
        assert_eq!(
            table.map(Gfn(gfn), Mfn(mfn), order, Access::ALL, WB),
            Err(Error::BadRange)
        );
    }
    assert_eq!(table.unmap(Gfn(3), 9), Err(Error::BadRange));
}

#[test]
fn a_format_without_large_pages_gets_smaller_ones() {
    let mut table = Table::new(&Small).unwrap();
    table
        .map(Gfn(0), Mfn(0x4_0000), 18, Access::ALL, WB)
        .unwrap();
    let found = table.lookup(Gfn(0x3_ffff)).unwrap();
    assert_eq!((found.mfn, found.order), (Mfn(0x7_ffff), 9));
}

#[test]
fn entries_are_where_hardware_looks() {
    let mut table = table();
    table
        .map(Gfn(0x12345), Mfn(0x777), 0, Access::ALL, WB)
        .unwrap();
    let next = |mfn: Mfn, index: usize| {
        Mfn::containing(phys::read_u64(mfn, index * 8) & 0xf_ffff_ffff_f000)
    };
    let leaf_table = next(next(next(table.root(), 0), 0), 0x12345 >> 9);
    assert_eq!(phys::read_u64(leaf_table, 0x145 * 8), 0x77_7067);
}

#[test]
fn dropping_returns_every_frame() {
    // More tables than the arena could hold at once.
    for _ in 0..phys::ARENA_FRAMES / 8 {
        let mut table = table();
        for gfn in [0, 0x200, 0x4_0000, 0x800_0000] {
            table.map(Gfn(gfn), Mfn(1), 0, Access::ALL, WB).unwrap();
        }
        assert_eq!(table.frames(), 1 + 3 + 1 + 2 + 3);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Map(u64, u64, u32),
    Unmap(u64, u32),
    Take(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let order = prop_oneof![4 => Just(0u32), 2 => Just(9u32), 1 => Just(18u32)];
    // Few distinct places, so that steps meet.
    let gfn = (0u64..3, 0u64..3, 0u64..3).prop_map(|(a, b, c)| a << 18 | b << 9 | c);
    prop_oneof![
        (gfn.clone(), 0u64..4, order.clone()).prop_map(|(gfn, mfn, order)| Step::Map(
            gfn >> order << order,
            (mfn + 1) << 18,
            order
        )),
        (gfn.clone(), order).prop_map(|(gfn, order)| Step::Unmap(gfn >> order << order, order)),
        gfn.prop_map(Step::Take),
    ]
}

proptest! {
    /// Against a map of frame to frame: what the table says is what was done.
    #[test]
    fn behaves_like_a_map(steps in proptest::collection::vec(step(), 1..25)) {
        let mut table = table();
        // Pieces as (first gfn → mfn, order), never overlapping.
        let mut model: BTreeMap<u64, (u64, u32)> = BTreeMap::new();
        let piece = |model: &BTreeMap<u64, (u64, u32)>, gfn: u64| {
            model.range(..=gfn).next_back().map(|(&at, &(mfn, order))| (at, mfn, order)).filter(|p| gfn < p.0 + (1 << p.2))
        };
        // Cuts the piece around gfn down to `order`, as the table does.
        let cut = |model: &mut BTreeMap<u64, (u64, u32)>, gfn: u64, order: u32| {
            while let Some((at, mfn, size)) = piece(model, gfn).filter(|p| p.2 > order) {
                model.remove(&at);
                for index in 0..512 {
                    let step = index << (size - 9);
                    model.insert(at + step, (mfn + step, size - 9));
                }
            }
        };
        for step in steps {
            match step {
                Step::Map(gfn, mfn, order) => {
                    let smaller = model.range(gfn..gfn + (1 << order)).any(|(_, p)| p.1 < order);
                    match table.map(Gfn(gfn), Mfn(mfn), order, Access::ALL, WB) {
                        Err(error) => prop_assert!(smaller && error == Error::Occupied),
                        Ok(old) => {
                            prop_assert!(!smaller);
                            cut(&mut model, gfn, order);
                            let before = model.remove(&gfn);
                            prop_assert_eq!(old.map(|old| (old.mfn.0, old.order)), before);
                            // Where an empty table was in the way the table uses smaller pages.
                            let size = table.lookup(Gfn(gfn)).unwrap().order;
                            for index in 0..1u64 << (order - size) {
                                let step = index << size;
                                let real = table.lookup(Gfn(gfn + step)).unwrap();
                                prop_assert_eq!(real.mfn.0, mfn + step);
                                if real.order < size {
                                    for inner in 0..1u64 << (size - real.order) {
                                        let step = step + (inner << real.order);
                                        model.insert(gfn + step, (mfn + step, real.order));
                                    }
                                } else if step & ((1 << real.order) - 1) == 0 {
                                    model.insert(gfn + step, (mfn + step, real.order));
                                }
                            }
                        }
                    }
                }
                Step::Unmap(gfn, order) => {
                    let smaller = model.range(gfn..gfn + (1 << order)).any(|(_, p)| p.1 < order);
                    match table.unmap(Gfn(gfn), order) {
                        Err(error) => prop_assert!(smaller && error == Error::Occupied),
                        Ok(old) => {
                            prop_assert!(!smaller);
                            cut(&mut model, gfn, order);
                            prop_assert_eq!(old.map(|old| (old.mfn.0, old.order)), model.remove(&gfn));
                        }
                    }
                }
                Step::Take(from) => {
                    let mut cursor = Gfn(from);
                    let taken = take_next(&mut table, &mut cursor).map(|(gfn, leaf)| (gfn.0, (leaf.mfn.0, leaf.order)));
                    let expected = model.iter().map(|(&at, &p)| (at, p)).find(|(at, p)| at + (1 << p.1) > from);
                    prop_assert_eq!(taken, expected);
                    if let Some((at, _)) = expected {
                        model.remove(&at);
                    }
                }
            }
        }
        // Taking the rest apart gives exactly the model, in order.
        let mut cursor = Gfn(0);
        for (at, (mfn, order)) in model {
            let taken = take_next(&mut table, &mut cursor).map(|(gfn, leaf)| (gfn.0, leaf.mfn.0, leaf.order));
            prop_assert_eq!(taken, Some((at, mfn, order)));
        }
        prop_assert_eq!(take_next(&mut table, &mut cursor), None);
    }
}

/// The same format with no large pages at all; it does not make a page before the last table.
struct Tables;

static PAGES: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

impl Format for Tables {
    fn levels(&self) -> u32 {
        3
    }
    fn leaf_levels(&self) -> u32 {
        1
    }
    fn leaf(&self, mapping: &Mapping) -> u64 {
        PAGES.store(true, std::sync::atomic::Ordering::Relaxed);
        NPT.leaf(mapping)
    }
    fn table(&self, mfn: Mfn, _level: u32) -> u64 {
        let late = PAGES.load(std::sync::atomic::Ordering::Relaxed);
        assert!(!late, "without memory for it, pages would stay behind");
        NPT.table(mfn, 1)
    }
    fn access(&self, entry: u64) -> Access {
        NPT.access(entry)
    }
}

#[test]
fn what_fails_maps_nothing() {
    let mut table = Table::new(&Tables).unwrap();
    let map = table.map(Gfn(1 << 18), Mfn(0), 18, Access::ALL, WB);
    assert_eq!((map, table.frames()), (Ok(None), 514));
    let last = table.lookup(Gfn((2 << 18) - 1)).unwrap();
    assert_eq!((last.mfn, last.order), (Mfn((1 << 18) - 1), 0));
    // Something in the middle of what has to be made of smaller pages, whatever its size.
    for order in [0, 9] {
        let mut table = Table::new(&Small).unwrap();
        table
            .map(Gfn(0x600), Mfn(0), order, Access::ALL, WB)
            .unwrap();
        let map = table.map(Gfn(0), Mfn(1 << 18), 18, Access::ALL, WB);
        assert_eq!((map, table.lookup(Gfn(0))), (Err(Error::Occupied), None));
        assert_eq!(table.lookup(Gfn(0x600)).unwrap().mfn, Mfn(0));
    }
}
