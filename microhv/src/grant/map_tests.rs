//! Mapping grants, and unmapping them.

use std::rc::Rc;

use xen_abi::Errno;
use xen_abi::grant_table::*;
use xen_abi::xen::DOMID_SELF;

use super::world::{World, frame};
use super::*;
use crate::guest_args::{Progress, TestArgs};

pub(super) const PERMIT: u16 = 1;
pub(super) const READONLY: u16 = 1 << 2;
pub(super) const READING: u16 = 1 << 3;
pub(super) const WRITING: u16 = 1 << 4;

#[test]
fn a_granted_page_appears_in_the_other_domain_and_goes() {
    let world = World::new();
    let page = world.page(1, 0x10);
    world.grant(1, 9, 2, 0x10, PERMIT);
    let (status, handle) = world.map(2, 1, 9, 0x80, false);
    assert_eq!(status, GNTST_OKAY);
    assert_eq!(world.at(2, 0x80), Some((page.mfn(), true)));
    assert_eq!(world.flags(1, 9), PERMIT | READING | WRITING);
    assert_eq!(world.unmap(2, handle, 0x81), GNTST_GENERAL_ERROR);
    assert_eq!(
        world.unmap(2, handle, 0),
        GNTST_OKAY,
        "an address of zero asks for nothing"
    );
    assert_eq!(world.at(2, 0x80), Some((page.mfn(), true)));
    assert_eq!(world.unmap(2, handle, 0x80), GNTST_OKAY);
    assert_eq!(world.at(2, 0x80), None);
    assert_eq!(world.flags(1, 9), PERMIT);
    assert_eq!(world.unmap(2, handle, 0x80), GNTST_BAD_HANDLE);
    assert_eq!(page.holders(), 2, "the owner's address space and this test");
}

#[test]
fn of_two_vcpus_that_unmap_a_handle_one_does() {
    let world = World::new();
    world.page(1, 0x10);
    world.grant(1, 9, 2, 0x10, PERMIT);
    let (_, handle) = world.map(2, 1, 9, 0x80, false);
    let (_, other) = world.map(2, 1, 9, 0x81, false);
    // Else the second could hit a mapping made at the same place between the two, and unpin what is still mapped.
    world.meanwhile.set(Some((handle, 0x80)));
    assert_eq!(world.unmap(2, handle, 0x80), GNTST_OKAY);
    assert_eq!(world.meanwhile_status.get(), GNTST_BAD_HANDLE);
    assert_eq!(world.flags(1, 9), PERMIT | READING | WRITING);
    assert_eq!(world.unmap(2, other, 0x81), GNTST_OKAY);
    assert_eq!(world.flags(1, 9), PERMIT);
}

#[test]
fn a_handle_whose_page_is_gone_stays() {
    let world = World::new();
    world.page(1, 0x10);
    world.grant(1, 9, 2, 0x10, PERMIT);
    let (_, handle) = world.map(2, 1, 9, 0x80, false);
    let page = world.pages.borrow_mut().remove(&(2, 0x80)).unwrap();
    assert_eq!(world.unmap(2, handle, 0x80), GNTST_GENERAL_ERROR);
    world.pages.borrow_mut().insert((2, 0x80), page);
    assert_eq!(world.unmap(2, handle, 0x80), GNTST_OKAY);
}

#[test]
fn only_what_the_entry_permits_is_mapped() {
    let world = World::new();
    world.page(1, 0x10);
    world.grant(1, 9, 2, 0x10, PERMIT | READONLY);
    assert_eq!(world.map(2, 1, 9, 0x80, false).0, GNTST_GENERAL_ERROR);
    assert_eq!(world.map(0, 1, 9, 0x80, true).0, GNTST_GENERAL_ERROR);
    assert_eq!(world.map(2, 1, 10, 0x80, true).0, GNTST_GENERAL_ERROR);
    assert_eq!(world.map(2, 1, 512, 0x80, true).0, GNTST_BAD_GNTREF);
    assert_eq!(world.map(2, 1, u32::MAX, 0x80, true).0, GNTST_BAD_GNTREF);
    assert_eq!(world.map(2, 7, 9, 0x80, true).0, GNTST_BAD_DOMAIN);
    assert_eq!(world.map(2, DOMID_SELF, 9, 0x80, true).0, GNTST_BAD_DOMAIN);
    assert_eq!(world.flags(1, 9), PERMIT | READONLY);
    assert_eq!(world.map(2, 1, 9, 0x80, true).0, GNTST_OKAY);
    assert_eq!(world.at(2, 0x80).map(|(_, write)| write), Some(false));
    assert_eq!(world.flags(1, 9), PERMIT | READONLY | READING);
    // In use for reading: writing still needs the entry's leave.
    assert_eq!(world.map(2, 1, 9, 0x81, false).0, GNTST_GENERAL_ERROR);
    for flags in [0, 2, 3, PERMIT | 1 << 8] {
        world.grant(1, 11, 2, 0x10, flags);
        assert_eq!(
            world.map(2, 1, 11, 0x82, true).0,
            GNTST_GENERAL_ERROR,
            "flags {flags:#x}"
        );
    }
}

#[test]
fn only_the_granters_own_pages_are_mapped() {
    let world = World::new();
    world.grant(1, 9, 2, 0x10, PERMIT);
    assert_eq!(world.map(2, 1, 9, 0x80, true).0, GNTST_BAD_PAGE);
    let foreign = frame(0);
    world.pages.borrow_mut().insert((1, 0x10), (foreign, true));
    assert_eq!(world.map(2, 1, 9, 0x80, true).0, GNTST_BAD_PAGE);
    let own = frame(1);
    world.pages.borrow_mut().insert((1, 0x10), (own, false));
    assert_eq!(world.map(2, 1, 9, 0x80, false).0, GNTST_BAD_PAGE);
    assert_eq!(world.map(2, 1, 9, 0x80, true).0, GNTST_OKAY);
    // Mapped for reading first, it does not become writable by asking again.
    assert_eq!(world.map(2, 1, 9, 0x81, false).0, GNTST_BAD_PAGE);
    assert_eq!(world.flags(1, 9), PERMIT | READING);
}

#[test]
fn flags_that_a_translated_guest_cannot_use_are_refused() {
    let world = World::new();
    world.page(1, 0x10);
    world.grant(1, 9, 2, 0x10, PERMIT);
    let arg = GnttabMapGrantRef {
        host_addr: 0x80000,
        r#ref: 9,
        dom: 1,
        ..Default::default()
    };
    let map = |flags, host_addr| {
        let arg = GnttabMapGrantRef {
            flags,
            host_addr,
            ..arg
        };
        world.call(2, GNTTABOP_MAP_GRANT_REF, [arg]).unwrap()[0].status
    };
    assert_eq!(map(GntmapFlags::empty(), 0x80000), GNTST_BAD_GNTREF);
    assert_eq!(
        map(GntmapFlags::HOST_MAP | GntmapFlags::DEVICE_MAP, 0x80000),
        GNTST_GENERAL_ERROR
    );
    assert_eq!(
        map(GntmapFlags::HOST_MAP | GntmapFlags::CONTAINS_PTE, 0x80000),
        GNTST_GENERAL_ERROR
    );
    assert_eq!(map(GntmapFlags::HOST_MAP, 0x80008), GNTST_BAD_VIRT_ADDR);
    assert_eq!(map(GntmapFlags::HOST_MAP, 0x80000), GNTST_OKAY);
}

#[test]
fn a_grant_is_in_use_until_its_last_mapping_goes() {
    let world = World::new();
    world.page(1, 0x10);
    world.grant(1, 9, 2, 0x10, PERMIT);
    let (_, read) = world.map(2, 1, 9, 0x80, true);
    assert_eq!(world.flags(1, 9), PERMIT | READING);
    let (_, write) = world.map(2, 1, 9, 0x81, false);
    let (_, write_too) = world.map(2, 1, 9, 0x82, false);
    assert_eq!(world.flags(1, 9), PERMIT | READING | WRITING);
    world.unmap(2, write, 0x81);
    assert_eq!(world.flags(1, 9), PERMIT | READING | WRITING);
    world.unmap(2, write_too, 0x82);
    assert_eq!(world.flags(1, 9), PERMIT | READING);
    // The owner cannot turn it over to another domain while it is in use.
    world.grant(1, 9, 0, 0x10, PERMIT);
    assert_eq!(world.map(0, 1, 9, 0x80, true).0, GNTST_GENERAL_ERROR);
    assert_eq!(world.map(2, 1, 9, 0x83, true).0, GNTST_OKAY);
    world.unmap(2, read, 0x80);
    world.unmap(2, 3, 0x83);
}

#[test]
fn the_page_mapped_is_the_one_that_was_granted_first() {
    let world = World::new();
    let page = world.page(1, 0x10);
    world.page(1, 0x11);
    world.grant(1, 9, 2, 0x10, PERMIT);
    world.map(2, 1, 9, 0x80, true);
    world.grant(1, 9, 2, 0x11, PERMIT);
    assert_eq!(world.map(2, 1, 9, 0x81, true).0, GNTST_OKAY);
    assert_eq!(world.at(2, 0x81), Some((page.mfn(), false)));
}

#[test]
fn an_entry_that_changes_while_it_is_looked_up_is_looked_up_again() {
    let world = Rc::new(World::new());
    world.page(1, 0x10);
    let second = world.page(1, 0x11);
    world.grant(1, 9, 2, 0x10, PERMIT);
    let inner = world.clone();
    *world.at_lookup.borrow_mut() = Box::new(move || inner.grant(1, 9, 2, 0x11, PERMIT));
    assert_eq!(world.map(2, 1, 9, 0x80, true).0, GNTST_OKAY);
    assert_eq!(world.at(2, 0x80), Some((second.mfn(), false)));
    // One that is withdrawn meanwhile is refused.
    let inner = world.clone();
    *world.at_lookup.borrow_mut() = Box::new(move || inner.grant(1, 12, 2, 0x10, 0));
    world.grant(1, 12, 2, 0x10, PERMIT);
    assert_eq!(world.map(2, 1, 12, 0x83, true).0, GNTST_GENERAL_ERROR);
    assert_eq!((world.at(2, 0x83), world.flags(1, 12)), (None, 0));
    // One that never stands still is refused in the end, and left unpinned.
    let mut gfn = 0x10;
    let inner = world.clone();
    *world.at_lookup.borrow_mut() = Box::new(move || {
        gfn ^= 1;
        inner.grant(1, 10, 2, gfn ^ 1, PERMIT);
    });
    world.grant(1, 10, 2, 0x11, PERMIT);
    assert_eq!(world.map(2, 1, 10, 0x81, true).0, GNTST_GENERAL_ERROR);
    assert_eq!(world.flags(1, 10) & (READING | WRITING), 0);
    *world.at_lookup.borrow_mut() = Box::new(|| ());
}

#[test]
fn nothing_is_left_of_a_mapping_that_failed() {
    let world = World::new();
    let page = world.page(1, 0x10);
    world.grant(1, 9, 2, 0x10, PERMIT);
    world.map_fails.set(true);
    assert_eq!(world.map(2, 1, 9, 0x80, false).0, GNTST_GENERAL_ERROR);
    assert_eq!((world.flags(1, 9), page.holders()), (PERMIT, 2));
    world.map_fails.set(false);
    assert_eq!(
        world.map(2, 1, 9, 0x80, false),
        (GNTST_OKAY, 0),
        "the handle was given back"
    );
}

#[test]
fn an_entry_is_free_only_after_the_flush() {
    let world = Rc::new(World::new());
    let page = world.page(1, 0x10);
    for reference in 9..11 {
        world.grant(1, reference, 2, 0x10, PERMIT);
    }
    let (_, one) = world.map(2, 1, 9, 0x80, false);
    let (_, two) = world.map(2, 1, 10, 0x81, false);
    let flushes = Rc::new(core::cell::Cell::new(0));
    let (inner, count) = (world.clone(), flushes.clone());
    *world.at_flush.borrow_mut() = Box::new(move || {
        count.set(count.get() + 1);
        assert_eq!((inner.at(2, 0x80), inner.at(2, 0x81)), (None, None));
        for reference in 9..11 {
            assert_eq!(inner.flags(1, reference), PERMIT | READING | WRITING);
        }
    });
    let arg = |handle, gfn: u64| GnttabUnmapGrantRef {
        handle,
        host_addr: gfn << 12,
        ..Default::default()
    };
    let list = world
        .call(
            2,
            GNTTABOP_UNMAP_GRANT_REF,
            [arg(one, 0x80), arg(77, 0x80), arg(two, 0x81)],
        )
        .unwrap();
    assert_eq!(
        list.map(|op| op.status),
        [GNTST_OKAY, GNTST_BAD_HANDLE, GNTST_OKAY]
    );
    assert_eq!(flushes.get(), 1, "one flush for the batch");
    assert_eq!(
        (world.flags(1, 9), world.flags(1, 10), page.holders()),
        (PERMIT, PERMIT, 2)
    );
    *world.at_flush.borrow_mut() = Box::new(|| ());
}

#[test]
fn a_list_that_ends_in_nowhere_leaves_no_pins() {
    let world = World::new();
    world.page(1, 0x10);
    world.grant(1, 9, 2, 0x10, PERMIT);
    let (_, handle) = world.map(2, 1, 9, 0x80, false);
    let arg = GnttabUnmapGrantRef {
        handle,
        host_addr: 0x80000,
        ..Default::default()
    };
    let mut args = TestArgs::of(&[arg]);
    world.caller.set(2);
    assert_eq!(
        op(&world, GNTTABOP_UNMAP_GRANT_REF, &mut args, 2),
        Err(Errno::EFAULT)
    );
    assert_eq!(world.flags(1, 9), PERMIT);
    assert_eq!(
        op(&world, GNTTABOP_UNMAP_GRANT_REF, &mut args, u32::MAX),
        Err(Errno::EINVAL)
    );
}

#[test]
fn long_lists_can_be_interrupted() {
    let world = World::new();
    world.page(1, 0x10);
    let mut list = vec![];
    for reference in 0..100 {
        world.grant(1, reference, 2, 0x10, PERMIT);
        list.push(GnttabMapGrantRef {
            host_addr: u64::from(0x80 + reference) << 12,
            flags: GntmapFlags::HOST_MAP,
            r#ref: reference,
            dom: 1,
            ..Default::default()
        });
    }
    world.caller.set(2);
    world.preempt.set(true);
    let mut done = 0;
    loop {
        let mut args = TestArgs::of(&list[done as usize..]);
        match op(&world, GNTTABOP_MAP_GRANT_REF, &mut args, 100 - done).unwrap() {
            Progress::Preempted(more) => done += more,
            Progress::Done(result) => break assert_eq!(result, 0),
        }
    }
    assert_eq!(done, 99);
    let unmap: Vec<_> = (0..100)
        .map(|handle| GnttabUnmapGrantRef {
            handle,
            host_addr: u64::from(0x80 + handle) << 12,
            ..Default::default()
        })
        .collect();
    let mut args = TestArgs::of(&unmap);
    assert_eq!(
        op(&world, GNTTABOP_UNMAP_GRANT_REF, &mut args, 100),
        Ok(Progress::Preempted(32))
    );
    assert_eq!(
        (world.flags(1, 31), world.flags(1, 32)),
        (PERMIT, PERMIT | READING | WRITING)
    );
    world.preempt.set(false);
    let mut args = TestArgs::of(&unmap[32..]);
    assert_eq!(
        op(&world, GNTTABOP_UNMAP_GRANT_REF, &mut args, 68),
        Ok(Progress::Done(0))
    );
    assert!((0..100).all(|reference| world.flags(1, reference) == PERMIT));
}
