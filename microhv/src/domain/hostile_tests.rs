//! What a hostile domain does to its own address space, to what it shares and to the machine's memory.

use std::vec::Vec;

use super::P2m;
use super::tests::{alone, destroy, domain, frame, is_gone, map_grant};
use crate::grant;
use crate::guest_args::{GuestArgs, TestArgs};
use crate::hypercall::{Grants, populate};
use crate::mm::frame_table;
use crate::paging::Access;
use crate::types::{Gfn, Mfn};
use xen_abi::grant_table::{
    GNTST_OKAY, GNTTABOP_UNMAP_GRANT_REF, GntmapFlags, GnttabUnmapGrantRef,
};

#[test]
fn tables_for_places_of_its_own_choice_are_bounded() {
    let _alone = alone();
    let domain = domain(8);
    populate(&domain, Gfn(5), 1).unwrap();
    let page = |place: u64| Gfn(place << 9);
    let mut p2m = domain.p2m.lock();
    let shared = domain.shared_info.mfn();
    let add = |p2m: &mut P2m, place| {
        p2m.add_frame(page(place), frame_table::get(shared).unwrap(), Access::ALL)
            .map(drop)
    };
    // As XENMEM_add_to_physmap does it: each time in another table.
    let most = (1..0x1000).find(|&place| add(&mut p2m, place).is_err());
    let most = most.expect("it has them all");
    assert!((200..300).contains(&most), "{most}");
    // What there is serves on, and devices' registers do not count.
    drop(p2m.remove(page(7)).unwrap());
    add(&mut p2m, 7).unwrap();
    for place in 0x1000..0x1100 {
        p2m.add_device(page(place), Mfn(0xfebc1), Access::READ_WRITE)
            .unwrap();
    }
    assert!(add(&mut p2m, 0x2000).is_err());
    drop(p2m);
    let no_memory = populate(&domain, page(0x2000), 1);
    assert_eq!(no_memory, Err(xen_abi::Errno::ENOMEM));
    // With more memory it may have more.
    let limit = &domain.max_pages;
    limit.store(1024, core::sync::atomic::Ordering::Relaxed);
    populate(&domain, page(0x2000), 512).unwrap();
    add(&mut domain.p2m.lock(), 0x2100).unwrap();
    destroy(&domain);
}

#[test]
fn a_page_with_the_most_holders_is_unmapped_and_not_lost() {
    let _alone = alone();
    let giver = domain(2);
    let taker = domain(2);
    for gfn in [5, 6] {
        populate(&giver, Gfn(gfn), 1).unwrap();
    }
    giver.grant.lock().seed(8, taker.id, Gfn(5)).unwrap();
    map_grant(&taker, &giver, 8, 0x100, GntmapFlags::HOST_MAP);
    let pages = [5, 6].map(|gfn| frame(&giver, gfn));
    let holds: Vec<_> = pages
        .iter()
        .flat_map(|&mfn| std::iter::from_fn(move || frame_table::get(mfn)))
        .collect();
    assert!(holds.len() > 2 * 65_000);
    let unmap = GnttabUnmapGrantRef {
        host_addr: 0x10_0000,
        ..Default::default()
    };
    let mut arguments = TestArgs::of(&[unmap]);
    grant::op(&Grants(&taker), GNTTABOP_UNMAP_GRANT_REF, &mut arguments, 1).unwrap();
    let done: GnttabUnmapGrantRef = arguments.get(0).unwrap();
    assert_eq!(done.status, GNTST_OKAY);
    let removed = giver.p2m.lock().remove(Gfn(6)).unwrap();
    assert!(removed.is_some());
    drop((removed, holds));
    assert!(is_gone(pages[1], giver.id));
    destroy(&giver);
    destroy(&taker);
    assert!(is_gone(pages[0], giver.id));
}
