//! `do=runtime`: what lib/domain promises, tried against the hypervisor within one domain. One line a check, then
//! `N of M runtime checks passed`.

extern crate alloc;

use alloc::vec::Vec;
use core::time::Duration;
use domain::grant::{self, Grant, GrantedPages, MapRequest};
use domain::ring::{BackRing, FrontRing};
use domain::store::{Store, StoreAccess};
use domain::xen_abi::grant_table::{
    GNTST_BAD_GNTREF, GNTST_GENERAL_ERROR, GntcopyFlags, GnttabCopy, GnttabCopyPtr,
};
use domain::{Errno, Instant, PageRange, Port, control, event, pci};

type Check = (&'static str, fn() -> Result<(), &'static str>);

const CHECKS: &[Check] = &[
    ("time", time),
    ("timer", timer),
    ("events", events),
    ("ports not taken stay pending", untaken),
    ("heap", heap),
    ("grant, map, revoke", map_one),
    ("many mappings", map_many),
    ("mapping a wrong reference", map_wrong),
    ("contiguous mapping", map_contiguous),
    ("grant copy", copy),
    ("ring over a grant", ring),
    ("no privilege", privilege),
    ("no device", device),
    ("store", store),
];

/// Runs all checks.
pub fn check_all() {
    let mut passed = 0;
    for (name, check) in CHECKS {
        match check() {
            Ok(()) => {
                passed += 1;
                log::info!("runtime check {name}: passed");
            }
            Err(what) => log::error!("runtime check {name}: FAILED: {what}"),
        }
    }
    log::info!("{passed} of {} runtime checks passed", CHECKS.len());
}

/// The condition or the text.
fn ensure(condition: bool, what: &'static str) -> Result<(), &'static str> {
    if condition { Ok(()) } else { Err(what) }
}

fn own() -> Result<domain::DomId, &'static str> {
    domain::domid().ok_or("CPUID does not tell the domain's number")
}

fn time() -> Result<(), &'static str> {
    let mut last = Instant::now();
    for _ in 0..1000 {
        let now = Instant::now();
        ensure(now >= last, "time went backwards")?;
        last = now;
    }
    // 2020-01-01 and 2100-01-01.
    let wall = domain::time::wall_clock().as_secs();
    ensure(
        (1_577_836_800..4_102_444_800).contains(&wall),
        "the wall clock is off",
    )
}

fn timer() -> Result<(), &'static str> {
    let start = Instant::now();
    domain::time::sleep_until(start + Duration::from_millis(20));
    let slept = start.elapsed();
    ensure(slept >= Duration::from_millis(20), "woke early")?;
    ensure(slept < crate::HANG, "woke late")
}

fn loopback() -> Result<(Port, Port), &'static str> {
    let near = Port::alloc_unbound(own()?).map_err(|_| "alloc_unbound")?;
    let far = Port::bind_interdomain(own()?, near.number()).map_err(|_| "bind_interdomain")?;
    // Binding makes the new end pending.
    event::take_pending().for_each(drop);
    Ok((near, far))
}

fn events() -> Result<(), &'static str> {
    let (near, far) = loopback()?;
    far.notify().map_err(|_| "notify")?;
    ensure(
        event::take_pending().collect::<Vec<_>>() == [near.number()],
        "not exactly the other end is pending",
    )?;
    ensure(event::take_pending().next().is_none(), "pending twice")?;
    near.notify().map_err(|_| "notify back")?;
    ensure(event::wait_for(&far, None), "wait_for")?;
    far.notify().map_err(|_| "notify again")?;
    event::wait(None);
    ensure(
        event::take_pending().next() == Some(near.number()),
        "wait returned without the event",
    )?;
    let soon = Instant::now() + Duration::from_millis(5);
    ensure(!event::wait_for(&near, Some(soon)), "an event nobody sent")
}

fn untaken() -> Result<(), &'static str> {
    let (near, far) = loopback()?;
    let (near2, far2) = loopback()?;
    far.notify().map_err(|_| "notify")?;
    far2.notify().map_err(|_| "notify")?;
    ensure(event::wait_for(&near2, None), "the second port")?;
    event::wait(None);
    ensure(
        event::take_pending().collect::<Vec<_>>() == [near.number()],
        "the first port was lost",
    )
}

fn heap() -> Result<(), &'static str> {
    let before = domain::memory::ram_pages().0;
    let mut blocks = Vec::new();
    for size in 1..200_usize {
        blocks.push(alloc::vec![size as u8; size * 101]);
    }
    ensure(
        blocks
            .iter()
            .enumerate()
            .all(|(i, block)| block.iter().all(|&byte| byte == (i + 1) as u8)),
        "blocks overlap",
    )?;
    drop(blocks);
    let big = alloc::vec![1_u8; 4 << 20];
    ensure(big.iter().all(|&byte| byte == 1), "four MiB")?;
    ensure(
        before >= domain::memory::ram_pages().0,
        "pages from nowhere",
    )
}

fn page_of(byte: u8) -> Result<PageRange, &'static str> {
    let page = PageRange::new(1).ok_or("no page")?;
    page.memory().fill(0, 4096, byte).map_err(|_| "fill")?;
    Ok(page)
}

fn map_one() -> Result<(), &'static str> {
    let page = page_of(7)?;
    let grant = Grant::access(own()?, page.gfn(0), false).map_err(|_| "grant")?;
    let mapped = grant::map_page(MapRequest {
        dom: own()?,
        gref: grant.reference(),
        readonly: false,
    })
    .map_err(|_| "map")?;
    ensure(
        mapped.memory().read::<u8>(4095) == Ok(7),
        "the mapping shows something else",
    )?;
    mapped
        .memory()
        .write(100, &0x1234_u16)
        .map_err(|_| "write")?;
    ensure(
        page.memory().read::<u16>(100) == Ok(0x1234),
        "the write went elsewhere",
    )?;
    let Err(grant) = grant.end() else {
        return Err("revoked while mapped");
    };
    drop(mapped);
    grant.end().map_err(|_| "not revoked after unmapping")
}

fn map_many() -> Result<(), &'static str> {
    const COUNT: usize = 100;
    let pages = PageRange::new(COUNT).ok_or("no pages")?;
    let mut grants = Vec::new();
    for index in 0..COUNT {
        pages
            .memory()
            .write(index * 4096, &(index as u64))
            .map_err(|_| "write")?;
        grants.push(Grant::access(own()?, pages.gfn(index), true).map_err(|_| "grant")?);
    }
    let dom = own()?;
    let requests: Vec<_> = grants
        .iter()
        .map(|grant| MapRequest {
            dom,
            gref: grant.reference(),
            readonly: true,
        })
        .collect();
    for _ in 0..3 {
        let mut mapped = Vec::new();
        grant::map_batch(&requests, &mut mapped);
        let mapped: Vec<_> = mapped.into_iter().flatten().collect();
        ensure(mapped.len() == COUNT, "not all were mapped")?;
        let right = |(index, page): (usize, &grant::MappedPage)| {
            page.memory().read::<u64>(0) == Ok(index as u64)
        };
        ensure(
            mapped.iter().enumerate().all(right),
            "mapped in another order",
        )?;
        grant::unmap_batch(mapped);
    }
    ensure(
        grants.into_iter().all(|grant| grant.end().is_ok()),
        "still in use after unmapping",
    )
}

fn map_wrong() -> Result<(), &'static str> {
    // An entry that grants nothing, and one that does not exist: Xen's statuses for them.
    for (gref, status) in [(400, GNTST_GENERAL_ERROR), (1 << 24, GNTST_BAD_GNTREF)] {
        let result = grant::map_page(MapRequest {
            dom: own()?,
            gref,
            readonly: false,
        });
        ensure(
            result.is_err_and(|error| error.0 == status),
            "a wrong reference was not refused as Xen does",
        )?;
    }
    Ok(())
}

fn map_contiguous() -> Result<(), &'static str> {
    let pages = PageRange::new(4).ok_or("no pages")?;
    let dom = own()?;
    let mut grants = Vec::new();
    // In reverse, so that the mapping's order is seen.
    for index in (0..4).rev() {
        pages
            .memory()
            .write(index * 4096, &index)
            .map_err(|_| "write")?;
        grants.push(Grant::access(dom, pages.gfn(index), false).map_err(|_| "grant")?);
    }
    let grefs: Vec<_> = grants.iter().map(Grant::reference).collect();
    let mapped = grant::map_range(dom, &grefs, false).map_err(|_| "map")?;
    ensure(
        (0..4).all(|index| mapped.memory().read::<usize>(index * 4096) == Ok(3 - index)),
        "wrong order",
    )?;
    let wrong = grant::map_range(dom, &[grefs[0], 400], false);
    ensure(wrong.is_err(), "a range with a wrong reference was mapped")
}

fn copy() -> Result<(), &'static str> {
    let (from, to) = (page_of(3)?, page_of(0)?);
    let dom = own()?;
    let grant = Grant::access(dom, from.gfn(0), true).map_err(|_| "grant")?;
    let mut operations = [
        GnttabCopy {
            source: GnttabCopyPtr::gref(dom, grant.reference(), 10),
            dest: grant::own_page(to.memory(), 20),
            len: 30,
            flags: GntcopyFlags::SOURCE_GREF,
            ..Default::default()
        },
        GnttabCopy {
            source: grant::own_page(to.memory(), 0),
            dest: GnttabCopyPtr::gref(dom, grant.reference(), 0),
            len: 8,
            flags: GntcopyFlags::DEST_GREF,
            ..Default::default()
        },
    ];
    grant::copy_batch(&mut operations).map_err(|_| "copy")?;
    grant::copy_status(&operations[0]).map_err(|_| "copy from a grant")?;
    let mut bytes = [0; 32];
    to.memory().read_bytes(19, &mut bytes).map_err(|_| "read")?;
    ensure(
        bytes[0] == 0 && bytes[31] == 0 && bytes[1..31].iter().all(|&byte| byte == 3),
        "other bytes were copied",
    )?;
    ensure(
        grant::copy_status(&operations[1]).is_err(),
        "wrote into a read-only grant",
    )?;
    ensure(
        from.memory().read::<u64>(0) == Ok(0x0303_0303_0303_0303),
        "and changed it",
    )
}

fn ring() -> Result<(), &'static str> {
    let dom = own()?;
    let page = GrantedPages::new(dom, 1, false).map_err(|_| "grant")?;
    let grefs: Vec<_> = page.references().collect();
    let (near, far) = loopback()?;
    let mut front: FrontRing<[u32; 2], u32, _> = FrontRing::init(page).map_err(|_| "front")?;
    let mapped = grant::map_range(dom, &grefs, false).map_err(|_| "map")?;
    let mut back: BackRing<[u32; 2], u32, _> = BackRing::attach(mapped).map_err(|_| "back")?;
    for round in 0..600 {
        front.push_request(&[round, 5]).map_err(|_| "push")?;
        if front.flush() {
            far.notify().map_err(|_| "notify")?;
        }
        while let Some([a, b]) = back.next_request().map_err(|_| "request")? {
            back.push_response(&(a + b)).map_err(|_| "respond")?;
        }
        if back.flush() {
            near.notify().map_err(|_| "notify back")?;
        }
        ensure(back.more_requests() == Ok(false), "requests from nowhere")?;
        ensure(
            front.next_response() == Ok(Some(round + 5)),
            "wrong response",
        )?;
    }
    let Err(page) = front.into_memory().end() else {
        return Err("revoked while mapped");
    };
    drop(back);
    page.end()
        .map(drop)
        .map_err(|_| "not revoked after unmapping")
}

fn privilege() -> Result<(), &'static str> {
    ensure(control::domains() == Err(Errno::EPERM), "getdomaininfolist")?;
    ensure(control::pause_domain(0) == Err(Errno::EPERM), "pausedomain")?;
    ensure(control::exits(0) == Err(Errno::EPERM), "exits")
}

fn device() -> Result<(), &'static str> {
    ensure(
        pci::devices().is_ok_and(|devices| devices.is_empty()),
        "a device",
    )?;
    ensure(
        pci::config_read(pci::Sbdf(2 << 3), 0) == u32::MAX,
        "another domain's device answers",
    )
}

/// Needs xenstore and Domain-0, which introduces us: last, because it waits for them.
fn store() -> Result<(), &'static str> {
    let mut store = Store::connect().map_err(|_| "connect")?;
    let domid = store.own_domid().map_err(|_| "no key domid")?;
    ensure(domid == own()?, "the store takes us for another domain")?;
    store.write("data/runtime", "1").map_err(|_| "write")?;
    ensure(store.read_number("data/runtime") == Ok(1), "read")?;
    ensure(
        store.read("data/none") == Err(Errno::ENOENT),
        "a key that is not there",
    )?;
    ensure(
        store.write("/local/domain/0/name", "x") == Err(Errno::EACCES),
        "Domain-0's name could be changed",
    )?;

    store.watch("data/runtime", "token").map_err(|_| "watch")?;
    ensure(
        next_event(&mut store)? == "data/runtime",
        "the first event of a watch",
    )?;
    store
        .transaction(|transaction| {
            transaction.write("data/runtime/a", "x")?;
            transaction.write("data/runtime/b", "y")
        })
        .map_err(|_| "transaction")?;
    ensure(
        next_event(&mut store)? == "data/runtime/a",
        "an event of the transaction",
    )?;
    ensure(
        next_event(&mut store)? == "data/runtime/b",
        "the other event of the transaction",
    )?;
    let mut names = store.directory("data/runtime").map_err(|_| "directory")?;
    names.sort();
    ensure(names == ["a", "b"], "children")?;
    store
        .unwatch("data/runtime", "token")
        .map_err(|_| "unwatch")?;
    store.rm("data/runtime").map_err(|_| "rm")?;
    ensure(!store.exists("data/runtime"), "removed, and yet there")?;
    ensure(store.next_event() == Ok(None), "an event after unwatch")?;
    // More than the ring holds at once, both ways.
    let long = alloc::vec![b'v'; 2000];
    store
        .write("data/long", &long)
        .map_err(|_| "a long value")?;
    ensure(
        store.read("data/long") == Ok(long),
        "a long value came back different",
    )?;
    store.rm("data/long").map_err(|_| "rm")
}

fn next_event(store: &mut Store) -> Result<alloc::string::String, &'static str> {
    let deadline = Instant::now() + Duration::from_secs(120);
    while Instant::now() < deadline {
        if let Some(happened) = store.next_event().map_err(|_| "the connection broke")? {
            return Ok(happened.path);
        }
        event::wait(Some(deadline));
        event::take_pending().for_each(drop);
    }
    Err("no watch event")
}
