//! Mappings whose domains die, grants that run out, and owners that scribble.

use core::sync::atomic::Ordering::SeqCst;
use std::rc::Rc;

use proptest::prelude::*;
use xen_abi::Errno;
use xen_abi::grant_table::*;

use super::map_tests::{PERMIT, READING, WRITING};
use super::world::{World, frame};
use super::*;

#[test]
fn a_dead_mapper_lets_go_of_everything() {
    let world = World::new();
    let page = world.page(1, 0x10);
    for reference in 0..200 {
        world.grant(1, reference, 2, 0x10, PERMIT);
        assert_eq!(
            world
                .map(2, 1, reference, u64::from(0x100 + reference), false)
                .0,
            GNTST_OKAY
        );
    }
    world
        .pages
        .borrow_mut()
        .retain(|(domain, _), _| *domain != 2);
    world.preempt.set(true);
    let mut rounds = 1;
    while !release_mappings(&world, DomId(2)) {
        rounds += 1;
    }
    assert_eq!(rounds, 4);
    assert!((0..200).all(|reference| world.flags(1, reference) == PERMIT));
    assert_eq!(page.holders(), 2);
}

#[test]
fn a_dead_granters_page_lives_until_it_is_unmapped() {
    let world = World::new();
    let page = world.page(1, 0x10);
    page.write(0, b"still here");
    world.grant(1, 9, 2, 0x10, PERMIT);
    world.grant(1, 10, 2, 0x10, PERMIT);
    let (_, handle) = world.map(2, 1, 9, 0x80, false);
    world.table(1, Table::begin_death);
    assert_eq!(world.map(2, 1, 10, 0x81, false).0, GNTST_BAD_DOMAIN);
    assert_eq!(world.map(2, 1, 9, 0x81, false).0, GNTST_BAD_DOMAIN);
    world.pages.borrow_mut().remove(&(1, 0x10));
    world.tables.borrow_mut().remove(&1);
    drop(page);
    let (kept, _) = world.pages.borrow()[&(2, 0x80)].clone();
    let mut bytes = [0; 10];
    kept.read(0, &mut bytes);
    assert_eq!((&bytes, kept.holders()), (b"still here", 2));
    assert_eq!(world.map(2, 1, 9, 0x81, false).0, GNTST_BAD_DOMAIN);
    // A new domain of the same number uses the same reference; the old mapping's end must not touch it.
    world
        .tables
        .borrow_mut()
        .insert(1, core::cell::RefCell::new(Table::new(DomId(1)).unwrap()));
    world.page(1, 0x10);
    world.grant(1, 9, 2, 0x10, PERMIT);
    let (status, other) = world.map(2, 1, 9, 0x90, false);
    assert_eq!(status, GNTST_OKAY);
    assert_eq!(world.unmap(2, handle, 0x80), GNTST_OKAY);
    assert_eq!(world.flags(1, 9), PERMIT | READING | WRITING);
    assert_eq!(kept.holders(), 1);
    assert_eq!(world.unmap(2, other, 0x90), GNTST_OKAY);
}

#[test]
fn mappings_run_out_cleanly() {
    let world = World::new();
    world.page(1, 0x10);
    world.grant(1, 9, 2, 0x10, PERMIT);
    let mut handles = 0u32;
    let status = loop {
        match world.map(2, 1, 9, u64::from(0x1000 + handles), true) {
            (GNTST_OKAY, handle) => assert_eq!(handle, handles),
            (status, _) => break status,
        }
        handles += 1;
    };
    assert_eq!((status, handles), (GNTST_NO_SPACE, 24_576));
    assert_eq!(world.unmap(2, 500, 0x1000 + 500), GNTST_OKAY);
    assert_eq!(world.map(2, 1, 9, 0x1000 + 500, true), (GNTST_OKAY, 500));
}

#[test]
fn the_builder_seeds_the_reserved_entries() {
    let world = World::new();
    let page = world.page(1, 0xf_efff);
    world
        .table(1, |table| {
            table.seed(GNTTAB_RESERVED_XENSTORE, DomId(2), Gfn(0xf_efff))
        })
        .unwrap();
    assert_eq!(world.map(2, 1, 1, 0x80, false).0, GNTST_OKAY);
    assert_eq!(world.at(2, 0x80), Some((page.mfn(), true)));
    assert_eq!(
        world.table(1, |table| table.seed(512, DomId(2), Gfn(1))),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        world.table(1, |table| table.seed(0, DomId(2), Gfn(1 << 32))),
        Err(Errno::EINVAL)
    );
}

proptest! {
    /// However a granter scribbles on its entries, and whatever is mapped and unmapped in whatever order: the mapper only
    /// ever gets pages of the granter, and at the end nothing is held.
    #[test]
    fn scribbled_entries_give_nothing_away(
        steps in prop::collection::vec((0..4u32, any::<u16>(), 0..4u16, 0..8u32, any::<bool>(), 0..4u64), 1..60)
    ) {
        let world = World::new();
        let pages: Vec<_> = (0..4).map(|gfn| world.page(1, gfn)).collect();
        let foreign = frame(0);
        world.pages.borrow_mut().insert((1, 4), (foreign.clone(), true));
        let mut mapped = vec![];
        for (reference, flags, to, gfn, readonly, place) in steps {
            world.grant(1, reference, to, gfn, flags);
            let at = 0x100 + place;
            if let Some(index) = mapped.iter().position(|(_, gfn)| *gfn == at) {
                let (handle, gfn) = mapped.remove(index);
                prop_assert_eq!(world.unmap(2, handle, gfn), GNTST_OKAY);
            } else if let (GNTST_OKAY, handle) = world.map(2, 1, reference, at, readonly) {
                let (mfn, write) = world.at(2, at).unwrap();
                prop_assert!(pages.iter().any(|page| page.mfn() == mfn));
                prop_assert_eq!(write, !readonly);
                mapped.push((handle, at));
            }
        }
        for (handle, gfn) in mapped {
            prop_assert_eq!(world.unmap(2, handle, gfn), GNTST_OKAY);
        }
        prop_assert!(pages.iter().all(|page| page.holders() == 2));
        prop_assert_eq!(foreign.holders(), 2);
    }
}

#[test]
fn a_hostile_owner_cannot_keep_us_busy() {
    let world = Rc::new(World::new());
    world.page(1, 0x10);
    world.grant(1, 9, 2, 0x10, PERMIT);
    let shared = world.table(1, |table| table.frame(0).unwrap());
    let stop = std::sync::Arc::new(core::sync::atomic::AtomicBool::new(false));
    let scribbler = std::thread::spawn({
        let (stop, mfn) = (stop.clone(), shared.mfn());
        move || {
            let word = crate::mm::phys::atomic_u32(mfn, 9 * 8);
            while !stop.load(SeqCst) {
                word.fetch_xor(1 << 5, SeqCst);
            }
        }
    });
    for _ in 0..2000 {
        if let (GNTST_OKAY, handle) = world.map(2, 1, 9, 0x80, false) {
            assert_eq!(world.unmap(2, handle, 0x80), GNTST_OKAY);
        }
    }
    stop.store(true, SeqCst);
    scribbler.join().unwrap();
    assert_eq!(world.flags(1, 9) & (READING | WRITING), 0);
}
