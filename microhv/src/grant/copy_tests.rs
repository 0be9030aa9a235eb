//! Copies between pages, each end the caller's own or granted to it.

use std::cell::Cell;
use std::rc::Rc;

use proptest::prelude::*;
use xen_abi::Errno;
use xen_abi::grant_table::*;
use xen_abi::xen::DOMID_SELF;

use super::world::World;
use super::*;
use crate::guest_args::{Progress, TestArgs};

const PERMIT: u16 = 1;
const READONLY: u16 = 1 << 2;

fn copy(source: GnttabCopyPtr, dest: GnttabCopyPtr, len: u16, flags: GntcopyFlags) -> GnttabCopy {
    GnttabCopy {
        source,
        dest,
        len,
        flags,
        ..Default::default()
    }
}

fn own(gfn: u64, offset: u16) -> GnttabCopyPtr {
    GnttabCopyPtr::gmfn(DOMID_SELF, gfn, offset)
}

fn bytes(page: &FrameRef, offset: usize, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    page.read(offset, &mut bytes);
    bytes
}

#[test]
fn bytes_go_straight_from_one_guest_to_another() {
    let world = World::new();
    let (from, to) = (world.page(1, 0x10), world.page(2, 0x20));
    from.write(100, b"a frame");
    world.grant(1, 9, 0, 0x10, PERMIT | READONLY);
    world.grant(2, 30, 0, 0x20, PERMIT);
    let both = GntcopyFlags::SOURCE_GREF | GntcopyFlags::DEST_GREF;
    let op = copy(
        GnttabCopyPtr::gref(1, 9, 100),
        GnttabCopyPtr::gref(2, 30, 4089),
        7,
        both,
    );
    assert_eq!(
        world.call(0, GNTTABOP_COPY, [op]).unwrap()[0].status,
        GNTST_OKAY
    );
    assert_eq!(bytes(&to, 4089, 7), b"a frame");
    assert_eq!(
        (world.flags(1, 9), world.flags(2, 30)),
        (PERMIT | READONLY, PERMIT)
    );
    assert_eq!((from.holders(), to.holders()), (2, 2));
}

#[test]
fn each_end_can_be_the_callers_own_page() {
    let world = World::new();
    let (theirs, ours) = (world.page(1, 0x10), world.page(0, 0x20));
    world.grant(1, 9, 0, 0x10, PERMIT);
    ours.write(0, b"out");
    let out = copy(
        own(0x20, 0),
        GnttabCopyPtr::gref(1, 9, 8),
        3,
        GntcopyFlags::DEST_GREF,
    );
    let back = copy(
        GnttabCopyPtr::gref(1, 9, 8),
        own(0x20, 50),
        3,
        GntcopyFlags::SOURCE_GREF,
    );
    let within = copy(own(0x20, 50), own(0x20, 60), 2, GntcopyFlags::empty());
    let done = world.call(0, GNTTABOP_COPY, [out, back, within]).unwrap();
    assert_eq!(done.map(|op| op.status), [GNTST_OKAY; 3]);
    assert_eq!(
        (bytes(&theirs, 8, 3), bytes(&ours, 50, 12)),
        (b"out".to_vec(), b"out\0\0\0\0\0\0\0ou".to_vec())
    );
}

#[test]
fn what_is_not_permitted_is_not_copied() {
    let world = World::new();
    let page = world.page(1, 0x10);
    world.page(0, 0x20);
    world.grant(1, 9, 0, 0x10, PERMIT | READONLY);
    world.grant(1, 10, 2, 0x10, PERMIT);
    world.grant(1, 11, 0, 0x99, PERMIT);
    let status = |op: GnttabCopy| world.call(0, GNTTABOP_COPY, [op]).unwrap()[0].status;
    let write = |r#ref, offset, len| {
        status(copy(
            own(0x20, 0),
            GnttabCopyPtr::gref(1, r#ref, offset),
            len,
            GntcopyFlags::DEST_GREF,
        ))
    };
    assert_eq!(write(9, 0, 1), GNTST_GENERAL_ERROR);
    assert_eq!(write(10, 0, 1), GNTST_GENERAL_ERROR);
    assert_eq!(write(11, 0, 1), GNTST_BAD_PAGE);
    assert_eq!(write(512, 0, 1), GNTST_BAD_GNTREF);
    assert_eq!(write(9, 4095, 2), GNTST_BAD_COPY_ARG);
    assert_eq!(write(9, u16::MAX, u16::MAX), GNTST_BAD_COPY_ARG);
    assert_eq!(
        write(9, u16::MAX, 0),
        GNTST_OKAY,
        "nothing to do is never wrong"
    );
    let none = GntcopyFlags::empty();
    assert_eq!(
        status(copy(own(0x20, 4000), own(0x20, 0), 97, none)),
        GNTST_BAD_COPY_ARG
    );
    assert_eq!(
        status(copy(own(0x21, 0), own(0x20, 0), 1, none)),
        GNTST_BAD_PAGE
    );
    assert_eq!(
        status(copy(GnttabCopyPtr::gmfn(1, 0x10, 0), own(0x20, 0), 1, none)),
        GNTST_PERMISSION_DENIED
    );
    assert_eq!(
        status(copy(GnttabCopyPtr::gmfn(8, 0x10, 0), own(0x20, 0), 1, none)),
        GNTST_BAD_DOMAIN
    );
    let nobody = copy(
        GnttabCopyPtr::gref(8, 9, 0),
        own(0x20, 0),
        1,
        GntcopyFlags::SOURCE_GREF,
    );
    assert_eq!(status(nobody), GNTST_BAD_DOMAIN);
    if let Some((_, writable)) = world.pages.borrow_mut().get_mut(&(0, 0x20)) {
        *writable = false;
    }
    assert_eq!(
        status(copy(own(0x20, 0), own(0x20, 1), 1, none)),
        GNTST_BAD_PAGE
    );
    assert_eq!(page.holders(), 2);
    assert!((9..12).all(|reference| world.flags(1, reference) & 0x18 == 0));
}

#[test]
fn a_failed_entry_does_not_stop_the_list_and_nothing_stays_pinned() {
    let world = World::new();
    let (page, _) = (world.page(1, 0x10), world.page(0, 0x20));
    world.grant(1, 9, 0, 0x10, PERMIT);
    let good = copy(
        GnttabCopyPtr::gref(1, 9, 0),
        own(0x20, 0),
        8,
        GntcopyFlags::SOURCE_GREF,
    );
    let bad = copy(
        GnttabCopyPtr::gref(1, 9, 0),
        own(0x21, 0),
        8,
        GntcopyFlags::SOURCE_GREF,
    );
    let done = world.call(0, GNTTABOP_COPY, [good, bad, good]).unwrap();
    assert_eq!(
        done.map(|op| op.status),
        [GNTST_OKAY, GNTST_BAD_PAGE, GNTST_OKAY]
    );
    assert_eq!((world.flags(1, 9), page.holders()), (PERMIT, 2));
    // The list ends outside the caller's memory.
    assert_eq!(
        op(&world, GNTTABOP_COPY, &mut TestArgs::of(&[good]), 2),
        Err(Errno::EFAULT)
    );
    assert_eq!((world.flags(1, 9), page.holders()), (PERMIT, 2));
    world.preempt.set(true);
    assert_eq!(
        op(&world, GNTTABOP_COPY, &mut TestArgs::of(&[good, good]), 2),
        Ok(Progress::Preempted(1))
    );
    assert_eq!((world.flags(1, 9), page.holders()), (PERMIT, 2));
}

#[test]
fn the_same_page_at_both_ends_is_released_as_often_as_pinned() {
    let world = World::new();
    let page = world.page(1, 0x10);
    page.write(0, b"abc");
    world.grant(1, 9, 0, 0x10, PERMIT);
    let both = GntcopyFlags::SOURCE_GREF | GntcopyFlags::DEST_GREF;
    let op = copy(
        GnttabCopyPtr::gref(1, 9, 0),
        GnttabCopyPtr::gref(1, 9, 3),
        3,
        both,
    );
    assert_eq!(
        world
            .call(0, GNTTABOP_COPY, [op, op])
            .unwrap()
            .map(|op| op.status),
        [GNTST_OKAY; 2]
    );
    assert_eq!(
        (bytes(&page, 0, 6), world.flags(1, 9)),
        (b"abcabc".to_vec(), PERMIT)
    );
}

#[test]
fn each_page_of_a_list_is_released() {
    let world = World::new();
    let page = world.page(1, 0x10);
    world.page(0, 0x20);
    let from = |reference| {
        world.grant(1, reference, 0, 0x10, PERMIT);
        let source = GnttabCopyPtr::gref(1, reference, 0);
        copy(source, own(0x20, 0), 8, GntcopyFlags::SOURCE_GREF)
    };
    let list = [from(9), from(10), from(9), from(11)];
    let done = world.call(0, GNTTABOP_COPY, list).unwrap();
    assert_eq!(done.map(|op| op.status), [GNTST_OKAY; 4]);
    assert!((9..12).all(|reference| world.flags(1, reference) == PERMIT));
    assert_eq!(page.holders(), 2);
}

#[test]
fn a_page_of_another_domain_is_not_named_by_a_frame_number() {
    let world = World::new();
    let page = world.page(1, 0x10);
    let own_page = world.page(2, 0x20);
    world.grant(1, 9, 2, 0x10, PERMIT);
    let (status, handle) = world.map(2, 1, 9, 0x80, false);
    assert_eq!(status, GNTST_OKAY);
    page.write(0, b"mine");
    own_page.write(8, b"his");
    // Another vCPU could unmap it in between: then the page is none of this domain's any more.
    let from = copy(own(0x80, 0), own(0x20, 0), 4, GntcopyFlags::empty());
    let to = copy(own(0x20, 8), own(0x80, 0), 3, GntcopyFlags::empty());
    let done = world.call(2, GNTTABOP_COPY, [from, to]).unwrap();
    assert!(done.iter().all(|op| op.status == GNTST_BAD_PAGE));
    assert_eq!(bytes(&own_page, 0, 4), [0; 4]);
    assert_eq!(bytes(&page, 0, 4), b"mine");
    assert_eq!(world.unmap(2, handle, 0x80), GNTST_OKAY);
    // Its own page is looked up once for a list.
    let lookups = Rc::new(Cell::new(0));
    let count = Rc::clone(&lookups);
    *world.at_lookup.borrow_mut() = Box::new(move || count.set(count.get() + 1));
    let list = [copy(own(0x20, 8), own(0x20, 0), 3, GntcopyFlags::empty()); 3];
    let done = world.call(2, GNTTABOP_COPY, list).unwrap();
    assert!(done.iter().all(|op| op.status == GNTST_OKAY));
    assert_eq!(lookups.get(), 2, "once for each end");
}

#[test]
fn the_dying_grant_nothing() {
    let world = World::new();
    world.page(1, 0x10);
    world.page(0, 0x20);
    world.grant(1, 9, 0, 0x10, PERMIT);
    world.table(1, Table::begin_death);
    let op = copy(
        GnttabCopyPtr::gref(1, 9, 0),
        own(0x20, 0),
        8,
        GntcopyFlags::SOURCE_GREF,
    );
    assert_eq!(
        world.call(0, GNTTABOP_COPY, [op]).unwrap()[0].status,
        GNTST_BAD_DOMAIN
    );
}

proptest! {
    /// Any structure at all: an answer, and only the pages it may touch are touched.
    #[test]
    fn any_copy_ends_well(
        raw in prop::array::uniform8(any::<u16>()),
        refs in (0..12u64, 0..12u64),
        domids in (0..4u16, 0..4u16),
    ) {
        let world = World::new();
        let secret = world.page(1, 0x11);
        let page = world.page(1, 0x10);
        world.page(0, 3);
        world.grant(1, 9, 0, 0x10, PERMIT);
        secret.write(0, &[7; 4096]);
        let end = |domid: u16, u: u64, offset: u16| {
            GnttabCopyPtr { domid: if domid == 3 { DOMID_SELF } else { domid }, ..GnttabCopyPtr::gmfn(0, u, offset) }
        };
        let op = GnttabCopy {
            source: end(domids.0, refs.0, raw[0]),
            dest: end(domids.1, refs.1, raw[1]),
            len: raw[2],
            flags: GntcopyFlags::from_bits_retain(raw[3]),
            ..Default::default()
        };
        let [done] = world.call(0, GNTTABOP_COPY, [op]).unwrap();
        prop_assert!((-13..=0).contains(&done.status));
        prop_assert_eq!(bytes(&secret, 0, 4096), vec![7; 4096]);
        prop_assert_eq!((world.flags(1, 9), page.holders()), (PERMIT, 2));
    }
}
