//! The life of virtual disks, as Domain-0 and frontends make it.

use super::*;

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
        seg[0] = crate::fake_frontend::page(9);
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
        play.backends.units()[0].engine.disk().ready = 1;
        play.backends.units()[0].engine.complete();
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
