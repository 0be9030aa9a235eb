//! A machine with Domain-0, a guest and our backends, all pretended, on which virtual disks live.

mod life;
mod sectors;

use std::rc::Rc;

use domain::ring::FrontRing;
use domain::store::Store;
use xen_abi::grant_table::GrantRef;
use xen_abi::io::blkif::*;
use xen_abi::{DomId, Errno};

use crate::backend::{Backends, Platform};
use crate::disk::{Discard, Limits};
use crate::extents::Extent;
use crate::fake::*;
use crate::fake_frontend::*;
use crate::fake_store::FakeStore;
use crate::gpt::Partition;

const BACK: &str = "/local/domain/3/backend/vbd/5/51712";
const FRONT: &str = "/local/domain/5/device/vbd/51712";

impl Platform for FakeGrants {
    type Ring = Rings;
    type Port = Bell;
    type Own = Page;

    fn page(&mut self) -> Option<Page> {
        Some(self.0.grant(u32::MAX, false))
    }

    fn patience(&mut self) -> impl FnMut() -> bool + use<> {
        || panic!("the tests' disk reads at once")
    }

    fn map_ring(&mut self, dom: DomId, references: &[GrantRef]) -> Result<Rings, Errno> {
        assert_eq!(dom, 5);
        let granted = self.0.granted.borrow();
        let (page, _) = granted.get(&references[0]).ok_or(Errno::EINVAL)?;
        assert_eq!(references.len(), 1, "the tests' rings have one page");
        Ok(Rings(page.clone()))
    }

    fn bind(&mut self, _: DomId, port: u32) -> Result<(Bell, u32), Errno> {
        if port >= 100 {
            return Err(Errno::EINVAL);
        }
        Ok((Bell::default(), port + 1000))
    }
}

/// A mapped ring.
pub struct Rings(Page);

impl AsRef<domain::SharedMemory> for Rings {
    fn as_ref(&self) -> &domain::SharedMemory {
        self.0.as_ref()
    }
}

struct Play {
    store: FakeStore,
    client: Store,
    guest: Rc<Guest>,
    backends: Backends<FakeDisk, FakeGrants>,
}

impl Play {
    fn new() -> Self {
        Self::with(&["vd0"])
    }

    /// With disks of these names; the first has a partition.
    fn with(names: &[&str]) -> Self {
        let guest = Rc::new(Guest::default());
        let limits = Limits {
            physical_sector_size: 4096,
            discard: Some(Discard {
                sectors: 64,
                alignment: 8,
            }),
            ..LIMITS
        };
        let disk = |name: &&str| (name.to_string(), FakeDisk::new(limits, guest.clone()));
        let extent = Extent {
            start: 2052,
            sectors: 100,
        };
        let partitions = vec![Partition {
            number: 1,
            name: "debian-root".into(),
            extent,
            unwiped: false,
        }];
        let store = FakeStore::default();
        let mut client = store.client();
        let mut backends = Backends::new(names.iter().map(disk), FakeGrants(guest.clone()));
        backends.units()[0].partitions = partitions;
        backends.watch(&mut client).unwrap();
        let mut play = Self {
            store,
            client,
            guest,
            backends,
        };
        play.run();
        play
    }

    /// Lets the backend see what changed.
    fn run(&mut self) {
        while let Some(event) = self.client.next_event().unwrap() {
            self.backends
                .changed(&mut self.client, &event.path, &event.token);
        }
        self.backends.settle(&mut self.client);
    }

    /// What Domain-0 writes for a new disk.
    fn create(&mut self, params: &str, mode: &str) {
        for (key, value) in [
            ("backend", BACK),
            ("backend-id", "3"),
            ("virtual-device", "51712"),
            ("state", "1"),
        ] {
            self.store.set(&format!("{FRONT}/{key}"), value);
        }
        let keys = [
            ("frontend", FRONT),
            ("frontend-id", "5"),
            ("params", params),
            ("mode", mode),
            ("online", "1"),
            ("state", "1"),
        ];
        for (key, value) in keys {
            self.store.set(&format!("{BACK}/{key}"), value);
        }
        self.run();
    }

    /// What Domain-0 writes for a new disk of another domain, or of its own; gives the backend's half.
    fn also(&mut self, dom: DomId, params: &str, mode: &str) -> String {
        let front = format!("/local/domain/{dom}/device/vbd/51728");
        let back = format!("/local/domain/3/backend/vbd/{dom}/51728");
        self.store.set(&format!("{front}/state"), 1);
        for (key, value) in [
            ("frontend", front.as_str()),
            ("frontend-id", &dom.to_string()),
            ("params", params),
            ("mode", mode),
            ("state", "1"),
        ] {
            self.store.set(&format!("{back}/{key}"), value);
        }
        self.run();
        back
    }

    /// What the frontend writes when it has a ring.
    fn publish(&mut self, keys: &[(&str, &str)]) {
        for (key, value) in keys {
            self.store.set(&format!("{FRONT}/{key}"), value);
        }
        self.front_state(3);
    }

    fn front_state(&mut self, state: u32) {
        self.store.set(&format!("{FRONT}/state"), state);
        self.run();
    }

    fn back(&self, key: &str) -> Option<String> {
        self.store.get(&format!("{BACK}/{key}"))
    }

    fn state(&self) -> String {
        self.back("state").unwrap()
    }
}

const RING: &[(&str, &str)] = &[
    ("ring-ref", "8"),
    ("event-channel", "12"),
    ("protocol", "x86_64-abi"),
];
