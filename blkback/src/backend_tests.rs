//! The life of virtual disks, as Domain-0 and frontends make it.

use std::collections::HashSet;
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
        let guest = Rc::new(Guest::default());
        let limits = Limits {
            sectors: 4096,
            physical_sector_size: 4096,
            read_only: false,
            flush: true,
            discard: Some(Discard {
                sectors: 64,
                alignment: 8,
            }),
            segments: 40,
            segment_bytes: 4096,
        };
        let disk = FakeDisk {
            limits,
            content: vec![0; 4096 * 512],
            guest: guest.clone(),
            room: 64,
            queue: vec![],
            log: vec![],
            broken: HashSet::new(),
            ready: 0,
            pick: Box::new(|_| 0),
            kicks: 0,
        };
        let extent = Extent {
            start: 2052,
            sectors: 100,
        };
        let partitions = vec![Partition {
            number: 1,
            name: "debian-root".into(),
            extent,
        }];
        let store = FakeStore::default();
        let mut client = store.client();
        let mut backends = Backends::new(disk, FakeGrants(guest.clone()), partitions);
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

#[test]
fn a_disk_comes_works_closes_and_comes_again() {
    let mut play = Play::new();
    play.create("/dev/gpt/debian-root", "w");
    assert_eq!(play.state(), "2");
    for (key, value) in [
        ("feature-flush-cache", "1"),
        ("feature-persistent", "1"),
        ("feature-max-indirect-segments", "256"),
        ("feature-discard", "1"),
        ("discard-granularity", "4096"),
        ("discard-alignment", "2048"),
        ("max-ring-page-order", "4"),
        ("hotplug-status", "connected"),
    ] {
        assert_eq!(play.back(key).as_deref(), Some(value), "{key}");
    }
    for round in 0..2 {
        let page = play.guest.grant(8, false);
        let mut front: FrontRing<BlkifRequest, BlkifResponse, Page> =
            FrontRing::init(page).unwrap();
        play.publish(RING);
        assert_eq!(play.state(), "4");
        for (key, value) in [
            ("sectors", "100"),
            ("info", "0"),
            ("sector-size", "512"),
            ("physical-sector-size", "4096"),
        ] {
            assert_eq!(play.back(key).as_deref(), Some(value), "{key}");
        }
        play.front_state(4);
        play.guest.grant(9, false);
        let mut seg = [BlkifRequestSegment::default(); 11];
        seg[0] = crate::fake::page(9);
        let request = BlkifRequest {
            operation: BLKIF_OP_READ,
            nr_segments: 1,
            id: 5,
            seg,
            ..Default::default()
        };
        front.push_request(&request).unwrap();
        front.flush();
        assert!(play.backends.serve(1012) && !play.backends.serve(12));
        // It closes while a request is under way.
        play.front_state(5);
        assert_eq!(play.state(), "4", "round {round}: the request is not done");
        play.backends.engine().disk().ready = 1;
        play.backends.engine().complete();
        play.run();
        assert_eq!(play.state(), "5");
        assert_eq!(
            front
                .next_response()
                .unwrap()
                .map(|response| response.status),
            Some(0)
        );
        assert_eq!(play.guest.mapped.get(), 0);
        assert!(!play.backends.serve(1012), "the port is closed");
        play.front_state(6);
        assert_eq!(play.state(), "6");
        play.front_state(1);
        assert_eq!(play.state(), "2");
    }
}

#[test]
fn the_directory_goes_and_everything_with_it() {
    let mut play = Play::new();
    play.create("/dev/gpt/debian-root", "w");
    play.guest.grant(8, false);
    play.publish(RING);
    assert_eq!(play.state(), "4");
    // A guest that is destroyed: its directory first, then ours.
    play.store.remove("/local/domain/5");
    play.run();
    assert_eq!(play.state(), "6");
    play.store.remove("/local/domain/3/backend/vbd/5");
    play.run();
    assert_eq!((play.store.watches(), play.back("state")), (1, None));
    assert!(!play.backends.serve(1012));
    // The next guest of the same number.
    play.create("/dev/vd0", "r");
    assert_eq!((play.state().as_str(), play.store.watches()), ("2", 2));
    // Ours first.
    play.store.remove(BACK);
    play.run();
    assert_eq!((play.store.watches(), play.back("state")), (1, None));
}

#[test]
fn a_disk_for_reading_says_so() {
    let mut play = Play::new();
    play.create("/dev/vd0p1", "r");
    assert_eq!(play.back("feature-discard"), None);
    play.guest.grant(8, false);
    play.publish(RING);
    assert_eq!(
        (play.state().as_str(), play.back("info").as_deref()),
        ("4", Some("4"))
    );
}

#[test]
fn what_is_wrong_is_said_in_the_store() {
    let wrong = |params: &str, keys: &[(&str, &str)]| {
        let mut play = Play::new();
        play.create(params, "w");
        play.guest.grant(8, false);
        play.publish(keys);
        let error = play
            .store
            .get("/local/domain/3/error/backend/vbd/5/51712/error");
        (play.back("state").unwrap(), error)
    };
    let (state, error) = wrong("/dev/gpt/nothing", RING);
    assert_eq!(
        (state.as_str(), error.unwrap().contains("/dev/gpt/nothing")),
        ("6", true)
    );
    let cases: &[&[(&str, &str)]] = &[
        &[],
        &[("ring-ref", "8")],
        &[("ring-ref", "7"), ("event-channel", "12")],
        &[("ring-ref", "8"), ("event-channel", "100")],
        &[("ring-ref", "-1"), ("event-channel", "12")],
        &[("ring-ref", "8"), ("event-channel", "4294967308")],
        &[
            ("ring-ref", "8"),
            ("event-channel", "12"),
            ("protocol", "powerpc64-abi"),
        ],
        &[
            ("ring-ref", "8"),
            ("event-channel", "12"),
            ("ring-page-order", "5"),
        ],
        &[
            ("ring-ref", "8"),
            ("event-channel", "12"),
            ("ring-page-order", "63"),
        ],
        &[
            ("ring-ref", "8"),
            ("event-channel", "12"),
            ("multi-queue-num-queues", "0"),
        ],
        &[
            ("ring-ref", "8"),
            ("event-channel", "12"),
            ("multi-queue-num-queues", "5"),
        ],
        &[
            ("ring-ref", "8"),
            ("event-channel", "12"),
            ("multi-queue-num-queues", "2"),
        ],
    ];
    for case in cases {
        let (state, error) = wrong("/dev/gpt/debian-root", case);
        assert_eq!((state.as_str(), error.is_some()), ("5", true), "{case:?}");
    }
    assert_eq!(wrong("/dev/gpt/debian-root", RING), ("4".to_string(), None));
}

#[test]
fn a_directory_that_was_refused_gets_another_chance_when_it_comes_anew() {
    let mut play = Play::new();
    play.create("/dev/gpt/nothing", "w");
    assert_eq!(play.state(), "6");
    play.store.remove(BACK);
    play.run();
    play.create("/dev/gpt/debian-root", "w");
    assert_eq!(play.state(), "2");
}

#[test]
fn a_senseless_ring_ends_the_connection() {
    let mut play = Play::new();
    play.create("/dev/gpt/debian-root", "w");
    let ring = play.guest.grant(8, false);
    play.publish(RING);
    ring.as_ref().write(0, &1000u32).unwrap();
    assert!(play.backends.serve(1012));
    play.run();
    assert_eq!(play.state(), "5");
    assert!(
        play.store
            .get("/local/domain/3/error/backend/vbd/5/51712/error")
            .is_some()
    );
}

#[test]
fn several_queues_are_served_each_by_its_port() {
    let mut play = Play::new();
    play.create("/dev/gpt/debian-root", "w");
    let keys: Vec<(String, String)> = (0..4)
        .flat_map(|queue| {
            play.guest.grant(20 + queue, false);
            let key = |name| format!("queue-{queue}/{name}");
            [
                (key("ring-ref"), (20 + queue).to_string()),
                (key("event-channel"), (40 + queue).to_string()),
            ]
        })
        .chain([("multi-queue-num-queues".to_string(), "4".to_string())])
        .collect();
    let keys: Vec<_> = keys
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    play.publish(&keys);
    assert_eq!(play.state(), "4");
    assert!((1040..1044).all(|port| play.backends.serve(port)));
}

#[test]
fn a_disk_that_is_replaced_unseen_is_the_new_one() {
    let mut play = Play::new();
    play.create("/dev/gpt/debian-root", "w");
    play.guest.grant(8, false);
    play.publish(RING);
    assert_eq!(play.back("sectors").as_deref(), Some("100"));
    // Both happen before we look.
    play.store.remove(BACK);
    play.store.remove(FRONT);
    play.create("/dev/vd0", "r");
    assert_eq!(play.state(), "2");
    play.guest.grant(8, false);
    play.publish(RING);
    assert_eq!(
        (play.state().as_str(), play.back("sectors").as_deref()),
        ("4", Some("4096"))
    );
    assert_eq!(play.store.watches(), 2);
    // The same with one that was refused.
    play.store.remove(BACK);
    play.create("/dev/gpt/nothing", "w");
    assert_eq!(play.state(), "6");
    play.store.remove(BACK);
    play.create("/dev/gpt/debian-root", "w");
    assert_eq!(play.state(), "2");
}

#[test]
fn a_disk_that_is_taken_away_closes_with_or_without_a_frontend() {
    let mut play = Play::new();
    play.create("/dev/gpt/debian-root", "w");
    let take_away = |play: &mut Play| {
        play.store.set(&format!("{BACK}/online"), 0);
        play.store.set(&format!("{BACK}/state"), 5);
        play.run();
    };
    take_away(&mut play);
    assert_eq!(play.state(), "6");
    play.store.remove(BACK);
    play.store.remove(FRONT);
    play.create("/dev/gpt/debian-root", "w");
    play.guest.grant(8, false);
    play.publish(RING);
    take_away(&mut play);
    assert_eq!(play.state(), "5", "the frontend may still write");
    play.front_state(6);
    assert_eq!((play.state().as_str(), play.guest.mapped.get()), ("6", 0));
}

#[test]
fn sectors_that_another_writes_are_refused_unless_the_operator_says_so() {
    let error = |first: &str, second: (&str, &str)| {
        let mut play = Play::new();
        play.create("/dev/gpt/debian-root", first);
        play.store.set("/local/domain/6/device/vbd/51728/state", 1);
        for (key, value) in [
            ("frontend", "/local/domain/6/device/vbd/51728"),
            ("frontend-id", "6"),
            ("params", second.0),
            ("mode", second.1),
            ("state", "1"),
        ] {
            play.store
                .set(&format!("/local/domain/3/backend/vbd/6/51728/{key}"), value);
        }
        play.run();
        let back = |key| {
            play.store
                .get(&format!("/local/domain/3/backend/vbd/6/51728/{key}"))
        };
        (back("state").unwrap(), back("hotplug-error"))
    };
    let taken = "Device /dev/vd0p1 is mounted in a guest domain (5), and so cannot be mounted now.";
    assert_eq!(
        error("w", ("/dev/vd0p1", "w")),
        ("6".into(), Some(taken.into()))
    );
    let (state, text) = error("w", ("/dev/vd0", "r"));
    assert_eq!(
        (state.as_str(), text.as_deref()),
        (
            "6",
            Some(
                "Device /dev/vd0 is mounted read-write in a guest domain (5), and so cannot be mounted read-only now."
            )
        )
    );
    assert_eq!(error("r", ("/dev/gpt/debian-root", "w")).0, "6");
    for (first, second) in [("r", "r"), ("w", "w!"), ("w!", "w")] {
        assert_eq!(error(first, ("/dev/gpt/debian-root", second)).0, "2");
    }
}

#[test]
fn a_file_is_read_and_written_where_its_extents_are_and_nowhere_else() {
    let mut play = Play::new();
    // As Domain-0 has its own disk, before.
    for (key, value) in [
        ("frontend", "/local/domain/0/device/vbd/51712"),
        ("frontend-id", "0"),
        ("params", "/dev/gpt/debian-root"),
        ("mode", "w"),
        ("state", "1"),
    ] {
        let path = format!("/local/domain/3/backend/vbd/0/51712/{key}");
        play.store.set(&path, value);
    }
    play.run();
    for (sector, bytes) in play
        .backends
        .engine()
        .disk()
        .content
        .chunks_mut(512)
        .enumerate()
    {
        bytes.fill(sector as u8);
    }
    play.store
        .set(&format!("{BACK}/extents-of"), "/dev/gpt/debian-root");
    play.store.set(&format!("{BACK}/extents/0"), "90+2,0+3");
    play.store.set(&format!("{BACK}/extents/1"), "50+4");
    play.create("/srv/disk.img", "w");
    assert_eq!(
        (play.state().as_str(), play.back("feature-discard")),
        ("2", None)
    );
    let page = play.guest.grant(8, false);
    let mut front: FrontRing<BlkifRequest, BlkifResponse, Page> = FrontRing::init(page).unwrap();
    play.publish(RING);
    assert_eq!(play.back("sectors").as_deref(), Some("9"));
    let data = play.guest.grant(9, false);
    let mut ask = |play: &mut Play, operation, sector_number| {
        let mut seg = [BlkifRequestSegment::default(); 11];
        seg[0] = crate::fake::page(9);
        let request = BlkifRequest {
            operation,
            nr_segments: 1,
            seg,
            sector_number,
            ..Default::default()
        };
        front.push_request(&request).unwrap();
        front.flush();
        play.backends.serve(1012);
        while !play.backends.engine().disk().queue.is_empty() {
            play.backends.engine().disk().ready = 9;
            play.backends.engine().complete();
        }
        front.next_response().unwrap().unwrap().status
    };
    assert_eq!(ask(&mut play, BLKIF_OP_READ, 1), 0);
    let firsts: Vec<u8> = data.bytes().iter().step_by(512).copied().collect();
    let wanted = [2143, 2052, 2053, 2054, 2102, 2103, 2104, 2105u32];
    assert_eq!(firsts, wanted.map(|sector| sector as u8));
    data.fill(0xee);
    assert_eq!(ask(&mut play, BLKIF_OP_WRITE, 0), 0);
    let content = &play.backends.engine().disk().content;
    let written: Vec<usize> = (0..4096)
        .filter(|sector| content[sector * 512..][..512] == [0xee; 512])
        .filter(|sector| *sector as u8 != 0xee)
        .collect();
    assert_eq!(written, [2052, 2053, 2054, 2102, 2103, 2104, 2142, 2143]);
    assert_eq!(ask(&mut play, BLKIF_OP_WRITE, 2), BLKIF_RSP_ERROR);
}

#[test]
fn extents_that_make_no_sense_are_refused() {
    for (volume, list) in [
        ("/dev/gpt/nothing", "0+1"),
        ("/dev/gpt/debian-root", "99+2"),
        ("/dev/gpt/debian-root", "1"),
        ("/dev/gpt/debian-root", ""),
    ] {
        let mut play = Play::new();
        play.store.set(&format!("{BACK}/extents-of"), volume);
        play.store.set(&format!("{BACK}/extents/0"), list);
        play.create("/srv/disk.img", "w");
        assert_eq!(play.state(), "6", "{volume} {list}");
        assert!(play.back("hotplug-error").is_some());
    }
}

#[test]
fn a_table_that_has_changed_is_seen_and_a_damaged_one_is_not_believed() {
    let mut play = Play::new();
    play.create("/dev/gpt/data", "w");
    assert_eq!(play.state(), "6");
    play.backends.engine().disk().content = crate::gpt::tests::disk(4096, &["data"]);
    play.store.remove(BACK);
    play.create("/dev/gpt/data", "w");
    assert_eq!(play.state(), "2");
    // What was known stays.
    play.backends.engine().disk().content.fill(0);
    play.store.remove(BACK);
    play.create("/dev/gpt/data", "w");
    assert_eq!(play.state(), "2");
}

#[test]
fn the_table_itself_is_domain_0s() {
    let mut play = Play::new();
    play.create("/dev/gpt", "w");
    assert_eq!(play.state(), "6");
    let back = "/local/domain/3/backend/vbd/0/51728";
    play.store.set("/local/domain/0/device/vbd/51728/state", 1);
    for (key, value) in [
        ("frontend", "/local/domain/0/device/vbd/51728"),
        ("frontend-id", "0"),
        ("params", "/dev/gpt"),
        ("mode", "w"),
        ("state", "1"),
    ] {
        play.store.set(&format!("{back}/{key}"), value);
    }
    play.run();
    let get = |key: &str| play.store.get(&format!("{back}/{key}"));
    assert_eq!(get("state").as_deref(), Some("2"));
    assert_eq!(get("disk-sectors").as_deref(), Some("4096"));
    assert_eq!(get("feature-discard"), None);
}
