//! `do=store`: asks the store for what it must not give, fills every quota, never takes its replies, and breaks the protocol.
//! One line a check, then `N of M store checks passed`. Domain-0 and everyone else must not notice.

extern crate alloc;

use crate::HANG;
use alloc::format;
use core::mem::offset_of;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;
use core::time::Duration;
use domain::shared::SharedMemory;
use domain::store::{Store, StoreAccess};
use domain::stream::StreamLayout;
use domain::xen_abi::DOMID_SELF;
use domain::xen_abi::hvm::params::{HVM_PARAM_STORE_EVTCHN, HVM_PARAM_STORE_PFN};
use domain::xen_abi::io::xs_wire::{
    XENSTORE_CONNECTED, XENSTORE_ERROR_NONE, XENSTORE_ERROR_PROTO, XENSTORE_ERROR_RINGIDX,
    XENSTORE_RECONNECT, XS_GET_DOMAIN_PATH, XS_READ, XenstoreDomainInterface as Interface,
};
use domain::{Errno, Instant, Port, control};

type Check = (&'static str, fn() -> Result<(), &'static str>);

/// In this order: the last ones leave a new connection.
const CHECKS: &[Check] = &[
    ("values", values),
    ("what is not its own", foreign),
    ("watches", watches),
    ("nodes", nodes),
    ("transactions", transactions),
    ("replies not taken", flood),
    ("a payload too long", too_long),
    ("wrong indices", wrong_index),
];

/// Runs all checks.
pub fn check_all() {
    let mut passed = 0;
    for (name, check) in CHECKS {
        match check() {
            Ok(()) => {
                passed += 1;
                log::info!("store check {name}: passed");
            }
            Err(what) => log::error!("store check {name}: FAILED: {what}"),
        }
    }
    log::info!("{passed} of {} store checks passed", CHECKS.len());
}

fn ensure(condition: bool, what: &'static str) -> Result<(), &'static str> {
    if condition { Ok(()) } else { Err(what) }
}

/// Runs `use_it` with a connection, whose channel stays open for the next one.
fn with_store<T>(
    use_it: impl FnOnce(&mut Store) -> Result<T, &'static str>,
) -> Result<T, &'static str> {
    let mut store = Store::connect().map_err(|_| "no ring")?;
    let result = use_it(&mut store);
    core::mem::forget(store);
    result
}

fn values() -> Result<(), &'static str> {
    with_store(|store| {
        let domid = domain::domid().ok_or("CPUID does not tell the domain's number")?;
        ensure(
            store.own_domid() == Ok(domid),
            "the store tells another number",
        )?;
        let long = "v".repeat(2000);
        ensure(
            store.write("data/long", &long) == Ok(()),
            "its own node cannot be written",
        )?;
        ensure(
            store.read_string("data/long").as_ref() == Ok(&long),
            "a long value comes back changed",
        )?;
        let too_long = "v".repeat(2048);
        ensure(
            store.write("data/long", too_long) == Err(Errno::ENOSPC),
            "no limit for a node's size",
        )?;
        ensure(
            store.rm("data/long") == Ok(()),
            "its own node cannot be removed",
        )
    })
}

fn foreign() -> Result<(), &'static str> {
    with_store(|store| {
        for path in [
            "/tool/x",
            "/local/domain/0/name",
            "name",
            "/local/domain/1/data",
        ] {
            ensure(
                store.write(path, "x") == Err(Errno::EACCES),
                "a foreign node was written",
            )?;
            ensure(
                store.set_permissions(path, &["b0"]).is_err(),
                "a foreign node's permissions were changed",
            )?;
        }
        ensure(store.read("/libxl").is_err(), "hidden nodes are seen")?;
        ensure(
            store.rm("/local/domain/0") == Err(Errno::EACCES),
            "Domain-0's nodes were removed",
        )?;
        ensure(
            store.introduce(9, 1, 1) == Err(Errno::EACCES),
            "it may introduce domains",
        )?;
        ensure(
            store.release(1) == Err(Errno::EACCES),
            "it may release domains",
        )
    })
}

/// How often `request` works before the store says that it is enough.
fn until_quota(
    most: u32,
    mut request: impl FnMut(u32) -> Result<(), Errno>,
) -> Result<u32, &'static str> {
    for count in 0..=most {
        match request(count) {
            Ok(()) => {}
            Err(Errno::ENOSPC) => return Ok(count),
            Err(_) => return Err("another error than ENOSPC"),
        }
    }
    Err("there is no limit")
}

fn watches() -> Result<(), &'static str> {
    with_store(|store| {
        let count = until_quota(200, |n| store.watch("data", &format!("{n}")))?;
        ensure(count == 128, "not 128 watches")?;
        while let Ok(Some(_)) = store.next_event() {}
        ensure(store.write("data/w", "x") == Ok(()), "cannot write")?;
        let mut heard = 0;
        while let Ok(Some(event)) = store.next_event() {
            heard += u32::from(event.path == "data/w");
        }
        ensure(heard == count, "not every watch heard of a change")?;
        (0..count)
            .try_for_each(|n| store.unwatch("data", &format!("{n}")))
            .map_err(|_| "a watch is not there")
    })
}

fn nodes() -> Result<(), &'static str> {
    with_store(|store| {
        let count = until_quota(1100, |n| store.write(&format!("data/{}/{n}", n / 50), ""))?;
        ensure((900..1000).contains(&count), "not about 1000 nodes")?;
        (0..=count / 50)
            .try_for_each(|n| store.rm(&format!("data/{n}")))
            .map_err(|_| "cannot clean up")
    })
}

fn transactions() -> Result<(), &'static str> {
    with_store(|store| {
        let count = store.transaction(|t| {
            t.write("data/t", "x")?;
            Ok(until_quota(1100, |n| {
                t.read(&format!("data/none/{n}")).map(drop).or_else(absent)
            }))
        });
        ensure(
            count == Err(Errno::ENOMEM),
            "a transaction over its quota was committed",
        )?;
        ensure(
            store.read("data/t") == Err(Errno::ENOENT),
            "and has changed something",
        )?;
        ensure(
            store.transaction(|t| t.write("data/t", "x")) == Ok(()),
            "no transaction works any more",
        )
    })
}

/// A node that is not there is no mistake here.
fn absent(errno: Errno) -> Result<(), Errno> {
    if errno == Errno::ENOENT {
        Ok(())
    } else {
        Err(errno)
    }
}

/// The ring page without a client's good manners.
struct RawRing {
    page: SharedMemory,
    port: Port,
}

impl RawRing {
    fn new() -> Result<Self, &'static str> {
        let gfn = control::get_param(DOMID_SELF, HVM_PARAM_STORE_PFN).map_err(|_| "no ring")?;
        let port = control::get_param(DOMID_SELF, HVM_PARAM_STORE_EVTCHN).map_err(|_| "no port")?;
        let start = NonNull::new((gfn << 12) as *mut u8).ok_or("no ring")?;
        // The clients that used it have been forgotten.
        // SAFETY: the page is the domain's own, mapped for its whole life, and outside of what the allocator hands out.
        let page = unsafe { SharedMemory::new(start, 4096) };
        let port = Port::from_number(u32::try_from(port).map_err(|_| "no port")?);
        Ok(RawRing { page, port })
    }

    fn field(&self, offset: usize) -> Result<u32, &'static str> {
        self.page
            .atomic_u32(offset)
            .map(|word| word.load(Ordering::Acquire))
            .map_err(|_| "no such field")
    }

    fn set(&self, offset: usize, value: u32) -> Result<(), &'static str> {
        let word = self.page.atomic_u32(offset).map_err(|_| "no such field")?;
        word.store(value, Ordering::SeqCst);
        self.port.notify().map_err(|_| "cannot notify")
    }

    /// Waits until a field of the page has the value.
    fn wait(&self, offset: usize, value: u32) -> bool {
        let deadline = Instant::now() + HANG;
        while self.field(offset) != Ok(value) {
            if Instant::now() > deadline {
                return false;
            }
            domain::time::sleep_until(Instant::now() + Duration::from_millis(5));
        }
        true
    }

    fn send(&self, bytes: &[u8]) -> usize {
        let count = StreamLayout::STORE_REQ
            .write(&self.page, bytes)
            .unwrap_or(0);
        let _ = self.port.notify();
        count
    }

    /// Asks for a new connection and tries it.
    fn reconnect(self) -> Result<(), &'static str> {
        self.set(offset_of!(Interface, connection), XENSTORE_RECONNECT)?;
        let connected = self.wait(offset_of!(Interface, connection), XENSTORE_CONNECTED);
        ensure(connected, "the store does not reconnect")?;
        ensure(
            self.field(offset_of!(Interface, error)) == Ok(XENSTORE_ERROR_NONE),
            "the error stays",
        )?;
        core::mem::forget(self.port);
        with_store(|store| {
            ensure(
                store.own_domid().is_ok(),
                "the new connection does not work",
            )
        })
    }

    /// The store must close the connection because of `error`.
    fn closed_because(self, error: u32) -> Result<(), &'static str> {
        let closed = self.wait(offset_of!(Interface, error), error);
        ensure(closed, "the store does not close the connection")?;
        self.reconnect()
    }
}

fn header(kind: u32, len: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&kind.to_le_bytes());
    bytes[12..].copy_from_slice(&len.to_le_bytes());
    bytes
}

fn flood() -> Result<(), &'static str> {
    let ring = RawRing::new()?;
    let mut accepted = 0;
    // Half a second, and longer if the store has not had its turn.
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(500) || accepted <= 1024 && start.elapsed() < HANG
    {
        let mut request = [0; 18];
        request[..16].copy_from_slice(&header(XS_GET_DOMAIN_PATH, 2));
        request[16] = b'7';
        if StreamLayout::STORE_REQ.writable(&ring.page).unwrap_or(0) >= request.len() {
            accepted += ring.send(&request);
        } else {
            domain::time::sleep_until(Instant::now() + Duration::from_millis(10));
        }
    }
    // Two rings full, and the requests that may be outstanding.
    ensure(
        accepted > 1024 && accepted < 16384,
        "the store takes requests without end",
    )?;
    ring.reconnect()
}

fn too_long() -> Result<(), &'static str> {
    let ring = RawRing::new()?;
    ring.send(&header(XS_READ, 4097));
    ring.closed_because(XENSTORE_ERROR_PROTO)
}

fn wrong_index() -> Result<(), &'static str> {
    let ring = RawRing::new()?;
    let index = ring.field(offset_of!(Interface, req_prod))?;
    ring.set(offset_of!(Interface, req_prod), index.wrapping_add(5000))?;
    ring.closed_because(XENSTORE_ERROR_RINGIDX)
}
