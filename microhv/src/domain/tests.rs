//! Domains from creation to destruction, on the host: memory, events and grants, without running anything.

use std::vec::Vec;

use super::list::MAX_DOMAINS;
use super::{Domain, create, destroy, find};
use crate::grant;
use crate::guest_args::{GuestArgs, TestArgs};
use crate::hypercall::{Grants, populate};
use crate::mm::PageArc;
use crate::mm::frame_table;
use crate::paging::Access;
use crate::types::{DomId, Gfn, Mfn};
use std::sync::{Mutex, MutexGuard};
use xen_abi::grant_table::{GNTST_OKAY, GNTTABOP_MAP_GRANT_REF, GntmapFlags, GnttabMapGrantRef};

/// Domain numbers are the whole process's: one test at a time.
static ONE: Mutex<()> = Mutex::new(());

pub fn alone() -> MutexGuard<'static, ()> {
    ONE.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

pub fn domain(pages: u64) -> PageArc<Domain> {
    let domain = create(None, [0; 16], false).unwrap();
    domain
        .max_pages
        .store(pages, core::sync::atomic::Ordering::Relaxed);
    domain
}

pub fn destroy(domain: &PageArc<Domain>) {
    while !destroy::step(domain) {}
    assert!(find(domain.id).is_none());
}

pub fn frame(domain: &Domain, gfn: u64) -> Mfn {
    domain.p2m.lock().lookup(Gfn(gfn)).unwrap().mfn
}

/// Maps `giver`'s grant at frame `gfn` of `taker`, as guests do.
pub fn map_grant(taker: &Domain, giver: &Domain, grant: u32, gfn: u64, flags: GntmapFlags) {
    let map = GnttabMapGrantRef {
        host_addr: gfn << 12,
        flags,
        r#ref: grant,
        dom: giver.id.0,
        ..Default::default()
    };
    let mut arguments = TestArgs::of(&[map]);
    grant::op(&Grants(taker), GNTTABOP_MAP_GRANT_REF, &mut arguments, 1).unwrap();
    let done: GnttabMapGrantRef = arguments.get(0).unwrap();
    assert_eq!(done.status, GNTST_OKAY);
}

/// The frame is not `domain`'s any more (another test may have it by now).
pub fn is_gone(mfn: Mfn, domain: DomId) -> bool {
    frame_table::get(mfn).is_none_or(|frame| frame.owner() != domain)
}

#[test]
fn memory_comes_zeroed_within_the_limit_and_goes_with_the_domain() {
    let _alone = alone();
    let domain = domain(600);
    populate(&domain, Gfn(0x200), 1 << 9).unwrap();
    populate(&domain, Gfn(0), 1).unwrap();
    assert_eq!(domain.p2m.lock().ram_pages(), 513);
    let byte = {
        let (frame, writable) = domain.p2m.lock().frame(Gfn(0x2ff)).unwrap();
        assert!(writable);
        let mut byte = [1];
        frame.read(77, &mut byte);
        byte
    };
    assert_eq!(byte, [0]);
    // A page that is there, and one too many.
    assert_eq!(populate(&domain, Gfn(0), 1), Err(xen_abi::Errno::EINVAL));
    assert_eq!(
        populate(&domain, Gfn(0x400), 1 << 9),
        Err(xen_abi::Errno::ENOMEM)
    );
    let frames: Vec<Mfn> = [0, 0x200, 0x3ff].map(|gfn| frame(&domain, gfn)).into();
    destroy(&domain);
    for mfn in frames {
        assert!(is_gone(mfn, domain.id));
    }
}

#[test]
fn the_limit_holds_whoever_asks_at_the_same_time_and_when_it_is_lowered() {
    use core::sync::atomic::{AtomicU64, Ordering};
    const ROUNDS: u64 = 1000;
    let _alone = alone();
    let domain = domain(0);
    let limit = |pages| domain.max_pages.store(pages, Ordering::Relaxed);
    // Both wait for each other: they ask at the same time, for one page that only one of them may have.
    let (came, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let meet = |place: &AtomicU64, round: u64| {
        place.fetch_add(1, Ordering::SeqCst);
        while place.load(Ordering::SeqCst) < 2 * (round + 1) {
            core::hint::spin_loop();
        }
    };
    std::thread::scope(|scope| {
        for vcpu in 0..2 {
            let (domain, limit, meet, came, done) = (&domain, &limit, &meet, &came, &done);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    if vcpu == 0 {
                        limit(round + 1);
                    }
                    meet(came, round);
                    let _ = populate(domain, Gfn(vcpu << 12 | round), 1);
                    meet(done, round);
                    assert_eq!(domain.p2m.lock().ram_pages(), round + 1);
                }
            });
        }
    });
    limit(ROUNDS / 2);
    let more = populate(&domain, Gfn(0x8000), 1);
    assert_eq!(more, Err(xen_abi::Errno::ENOMEM), "what it has is all");
    destroy(&domain);
}

#[test]
fn a_page_that_others_hold_stays_on_the_account_when_it_is_given_back() {
    let _alone = alone();
    let domain = domain(2);
    for gfn in [1, 2] {
        populate(&domain, Gfn(gfn), 1).unwrap();
    }
    let (held, _) = domain.p2m.lock().frame(Gfn(1)).unwrap();
    let removed = [1, 2].map(|gfn| domain.p2m.lock().remove(Gfn(gfn)).unwrap());
    drop(removed);
    assert_eq!(domain.p2m.lock().ram_pages(), 1);
    populate(&domain, Gfn(1), 1).unwrap();
    assert_eq!(populate(&domain, Gfn(2), 1), Err(xen_abi::Errno::ENOMEM));
    // Mapped a second time (a grant to itself, a page of microhv's), it counts once.
    let mut p2m = domain.p2m.lock();
    let again = p2m.frame(Gfn(1)).unwrap().0;
    p2m.add_frame(Gfn(7), again, Access::ALL).unwrap();
    assert_eq!(p2m.ram_pages(), 2);
    drop(p2m.remove(Gfn(7)).unwrap());
    assert_eq!(p2m.ram_pages(), 2);
    drop((p2m, held));
    destroy(&domain);
}

#[test]
fn a_page_that_is_replaced_comes_back_and_is_not_counted_any_more() {
    let _alone = alone();
    let domain = domain(600);
    populate(&domain, Gfn(0x200), 1 << 9).unwrap();
    populate(&domain, Gfn(0), 1).unwrap();
    let (inside, other) = (frame(&domain, 0x234), frame(&domain, 0));
    let mut p2m = domain.p2m.lock();
    let moved = p2m.remove(Gfn(0)).unwrap().unwrap();
    assert_eq!((moved.mfn(), p2m.ram_pages()), (other, 512));
    // One page of a large leaf, and then the same place again.
    let old = p2m
        .add_frame(Gfn(0x234), moved, Access::READ_WRITE)
        .unwrap()
        .unwrap();
    assert_eq!((old.mfn(), p2m.ram_pages()), (inside, 512));
    let held = frame_table::get(other).unwrap();
    let before = held.holders();
    let again = p2m
        .add_frame(Gfn(0x234), old, Access::READ)
        .unwrap()
        .unwrap();
    assert_eq!(
        (again.mfn(), p2m.ram_pages()),
        (other, 513),
        "held: on the account"
    );
    drop(again);
    assert_eq!(held.holders(), before - 1);
    let (found, writable) = p2m.frame(Gfn(0x234)).unwrap();
    assert_eq!((found.mfn(), writable), (inside, false));
    assert_eq!(p2m.lookup(Gfn(0x235)).unwrap().mfn, Mfn(inside.0 + 1));
    drop((p2m, held, found));
    destroy(&domain);
}

#[test]
fn an_unaligned_extent_is_made_of_single_pages() {
    let _alone = alone();
    let domain = domain(1024);
    populate(&domain, Gfn(3), 1 << 9).unwrap();
    assert_eq!(domain.p2m.lock().ram_pages(), 512);
    assert!(domain.p2m.lock().lookup(Gfn(2)).is_none());
    assert!(domain.p2m.lock().lookup(Gfn(514)).is_some());
    destroy(&domain);
}

#[test]
fn a_granted_page_outlives_its_owner_until_the_mapper_lets_go() {
    let _alone = alone();
    let giver = domain(8);
    let taker = domain(8);
    populate(&giver, Gfn(5), 1).unwrap();
    giver.grant.lock().seed(8, taker.id, Gfn(5)).unwrap();
    let mfn = frame(&giver, 5);
    map_grant(&taker, &giver, 8, 0x100, GntmapFlags::HOST_MAP);
    assert_eq!(frame(&taker, 0x100), mfn);
    destroy(&giver);
    let id = giver.id;
    drop(giver);
    assert!(!is_gone(mfn, id), "the taker still has it mapped");
    destroy(&taker);
    assert!(is_gone(mfn, id));
}

#[test]
fn a_dead_mapper_gives_the_grant_back() {
    let _alone = alone();
    let giver = domain(8);
    let taker = domain(8);
    populate(&giver, Gfn(5), 1).unwrap();
    giver.grant.lock().seed(8, taker.id, Gfn(5)).unwrap();
    let frame_held = frame_table::get(frame(&giver, 5)).unwrap();
    let before = frame_held.holders();
    map_grant(&taker, &giver, 8, 0x100, GntmapFlags::HOST_MAP);
    assert!(frame_held.holders() > before);
    destroy(&taker);
    assert_eq!(frame_held.holders(), before);
    drop(frame_held);
    destroy(&giver);
}

#[test]
fn a_page_that_others_granted_cannot_be_moved_to_where_it_could_be_written() {
    let _alone = alone();
    let giver = domain(8);
    let taker = domain(8);
    populate(&giver, Gfn(5), 1).unwrap();
    populate(&taker, Gfn(6), 1).unwrap();
    for reference in [8, 9] {
        giver
            .grant
            .lock()
            .seed(reference, taker.id, Gfn(5))
            .unwrap();
    }
    let read_only = GntmapFlags::HOST_MAP | GntmapFlags::READONLY;
    map_grant(&taker, &giver, 8, 0x100, read_only);
    map_grant(&taker, &giver, 9, 0x110, GntmapFlags::HOST_MAP);
    let (_, writable) = taker.p2m.lock().frame(Gfn(0x100)).unwrap();
    assert!(!writable);
    // What XENMAPSPACE_gmfn does with the page that is to move.
    assert!(taker.p2m.lock().remove_own(Gfn(0x100)).is_err());
    assert_eq!(frame(&taker, 0x100), frame(&giver, 5));
    assert!(taker.p2m.lock().remove_own(Gfn(0x101)).is_err());
    // Nor may one become a place where microhv writes on the taker's behalf, though the taker may write it now.
    let (_, may_write) = taker.p2m.lock().frame(Gfn(0x110)).unwrap();
    assert!(may_write && taker.p2m.lock().own_frame(Gfn(0x110)).is_none());
    assert!(taker.p2m.lock().remove_own(Gfn(0x110)).is_err());
    assert!(taker.p2m.lock().own_frame(Gfn(6)).is_some());
    assert!(taker.p2m.lock().remove_own(Gfn(6)).is_ok());
    destroy(&taker);
    destroy(&giver);
}

#[test]
fn numbers_are_not_reused_at_once_and_slots_run_out_in_order() {
    let _alone = alone();
    let first = domain(1);
    let id = first.id;
    destroy(&first);
    let second = domain(1);
    assert_ne!(second.id, id);
    destroy(&second);
    let mut all = Vec::new();
    while let Ok(domain) = create(None, [0; 16], false) {
        all.push(domain);
        assert!(all.len() <= MAX_DOMAINS);
    }
    assert!(all.len() > MAX_DOMAINS / 2);
    for domain in &all {
        destroy(domain);
    }
}

#[test]
fn registers_of_a_device_take_no_memory_away() {
    let _alone = alone();
    let domain = domain(8);
    populate(&domain, Gfn(5), 1).unwrap();
    let before = frame(&domain, 5);
    let mut p2m = domain.p2m.lock();
    let registers = Mfn(0xfebc1);
    let occupied = Err(xen_abi::Errno::EINVAL);
    assert_eq!(
        p2m.add_device(Gfn(5), registers, Access::READ_WRITE),
        occupied
    );
    assert_eq!(p2m.lookup(Gfn(5)).unwrap().mfn, before);
    // Two ranges in one page.
    for _ in 0..2 {
        p2m.add_device(Gfn(9), registers, Access::READ_WRITE)
            .unwrap();
    }
    drop(p2m);
    destroy(&domain);
}

#[test]
fn code_that_is_held_back_runs_and_other_faults_end_the_domain() {
    use crate::exit::After;
    let _alone = alone();
    crate::vcpu::backend::prepare_for_tests();
    let domain = domain(513);
    populate(&domain, Gfn(0x200), 9).unwrap();
    let vcpu = super::Vcpu::create(&domain, 0).unwrap();
    let fault = |gpa, execute: bool| {
        let access = crate::vcpu::FaultAccess {
            write: !execute,
            execute,
            present: true,
        };
        vcpu.second_level_fault(&mut vcpu.run_state(), gpa, access)
    };
    let order = |gfn| domain.p2m.lock().lookup(Gfn(gfn)).unwrap().order;
    assert_eq!((fault(0x20_1234, true), order(0x201)), (After::Resume, 0));
    let (held, _) = domain.p2m.lock().frame(Gfn(0x201)).unwrap();
    let shown = domain.p2m.lock().add_frame(Gfn(1), held, Access::READ);
    assert!(shown.is_ok());
    for outcome in [fault(0x1000, true), fault(0x20_1234, false)] {
        assert_eq!(outcome, After::Crash("access to memory it does not have"));
    }
    destroy(&domain);
}
