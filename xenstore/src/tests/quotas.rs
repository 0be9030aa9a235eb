use super::world::{MEMORY, World};
use xen_abi::io::xs_wire as xs;

/// Repeats a request until it fails; how often it worked and the error.
fn until_error(
    world: &mut World,
    domid: u16,
    kind: u32,
    payload: impl Fn(usize) -> String,
) -> (usize, String) {
    for count in 0.. {
        let reply = world.request(domid, kind, &payload(count));
        world.events(domid);
        if let Err(error) = reply {
            return (count, error);
        }
    }
    unreachable!()
}

#[test]
fn nodes() {
    let mut world = World::new(&[5]);
    let (count, error) = until_error(&mut world, 5, xs::XS_WRITE, |n| {
        format!("data/{}/{n}\0", n / 100)
    });
    // The directories count too, and so does "data" itself.
    assert_eq!(
        (count + count.div_ceil(100) + 1, error.as_str()),
        (1000, "ENOSPC")
    );
    world.write(5, "data/0/0", "still writable");
    world.ok(5, xs::XS_RM, "data/1\0");
    world.write(5, "data/x", "room again");
    world.write(
        0,
        "/local/domain/5/data/y",
        "the control domain has no limit",
    );
    let tx = world.start(5);
    let (count, error) = (0..)
        .find_map(|n| {
            world
                .tx(5, tx, xs::XS_WRITE, &format!("data/t{}/{n}\0", n / 100))
                .err()
                .map(|e| (n, e))
        })
        .expect("an error");
    assert!(count < 101 && error == "ENOSPC", "{count} {error}");
}

#[test]
fn watches() {
    let mut world = World::new(&[5]);
    assert_eq!(
        until_error(&mut world, 5, xs::XS_WATCH, |n| format!("data\0{n}\0")),
        (128, "ENOSPC".into())
    );
    world.ok(5, xs::XS_UNWATCH, "data\x007\0");
    world.ok(5, xs::XS_WATCH, "data\0x\0");
    world.ok(5, xs::XS_RESET_WATCHES, "\0");
    assert_eq!(
        until_error(&mut world, 5, xs::XS_WATCH, |n| format!("data\0{n}\0")),
        (128, "ENOSPC".into())
    );
}

#[test]
fn transactions() {
    let mut world = World::new(&[5]);
    assert_eq!(
        until_error(&mut world, 5, xs::XS_TRANSACTION_START, |_| "\0".into()),
        (10, "ENOSPC".into())
    );
    world.commit(5, 1).expect("ends");
    world.start(5);
}

#[test]
fn nodes_of_one_transaction() {
    let mut world = World::new(&[5]);
    let tx = world.start(5);
    let touched = (0..2000)
        .find(|n| world.tx(5, tx, xs::XS_READ, &format!("data/{n}\0")) == Err("ENOSPC".into()));
    assert_eq!(touched, Some(1023), "1024 with \"data\"");
    assert_eq!(
        world.commit(5, tx),
        Err("ENOMEM".into()),
        "and then it is lost"
    );
}

#[test]
fn sizes() {
    let mut world = World::new(&[5]);
    let value = |length: usize| "x".repeat(length);
    world.write(5, "data/v", &value(2048 - 16 - 8));
    assert_eq!(
        world.error(
            5,
            xs::XS_WRITE,
            &format!("data/v\0{}", value(2048 - 16 - 7))
        ),
        "ENOSPC"
    );
    assert_eq!(
        world.error(5, xs::XS_WRITE, &format!("data/new\0{}", value(2048))),
        "ENOSPC"
    );
    world.write(0, "/local/domain/5/data/v", &value(4000));
    let path = |length: usize| format!("data/{}", "p".repeat(length));
    world.write(5, &path(250), "");
    assert_eq!(
        world.error(5, xs::XS_WRITE, &format!("{}\0", path(2048))),
        "EINVAL"
    );
    assert_eq!(
        world.error(5, xs::XS_SET_PERMS, "data\0n5\0r1\0r2\0r3\0r4\0r6\0"),
        "ENOSPC"
    );
    world.ok(5, xs::XS_SET_PERMS, "data\0n5\0r1\0r2\0r3\0r4\0");
}

#[test]
fn memory_of_one_domain() {
    let mut world = World::new(&[5, 6]);
    let big = "x".repeat(2000);
    for n in 0..900 {
        world.write(5, &format!("data/{}/{n}", n / 100), &big);
    }
    let used = world.server.store.db.accounts.get(5).memory;
    let mut transactions = Vec::new();
    let error = (0..10).find_map(|_| {
        let tx = world.start(5);
        transactions.push(tx);
        (0..900).find_map(|n| {
            world
                .tx(5, tx, xs::XS_READ, &format!("data/{}/{n}\0", n / 100))
                .err()
        })
    });
    assert_eq!(
        error.as_deref(),
        Some("ENOSPC"),
        "copies of transactions count"
    );
    assert!(
        world.server.store.db.accounts.get(5).memory <= 5 << 19,
        "2.5 MiB"
    );
    world.write(6, "data/x", "others do not notice");
    for tx in transactions {
        world
            .tx(5, tx, xs::XS_TRANSACTION_END, "F\0")
            .expect("ends");
    }
    assert_eq!(world.server.store.db.accounts.get(5).memory, used);
}

#[test]
fn all_domains_together_leave_room_for_the_control_domain() {
    let mut world = World::new(&[5, 6, 7, 8, 9]);
    let big = "x".repeat(2000);
    let mut errors = Vec::new();
    for domid in 5..10 {
        for n in 0..1000 {
            if let Err(error) =
                world.request(domid, xs::XS_WRITE, &format!("data/{}/{n}\0{big}", n / 100))
            {
                errors.push(error);
                break;
            }
        }
    }
    assert!(errors.iter().any(|e| e == "ENOMEM"), "{errors:?}");
    assert!(world.server.store.db.accounts.total() <= MEMORY);
    world.write(0, "/tool/x", &big);
    for domid in 5..10 {
        world.ok(0, xs::XS_RELEASE, &format!("{domid}\0"));
    }
    world.ok(0, xs::XS_RM, "/local\0");
    assert!(world.server.store.db.accounts.total() < 10_000);
}

#[test]
fn requests_that_are_not_finished() {
    let mut world = World::new(&[5]);
    let request = crate::message::Header {
        kind: xs::XS_GET_DOMAIN_PATH,
        ..Default::default()
    }
    .with_payload(b"5\0");
    let page = world.page(5);
    // Domain 5 sends and never takes a reply: the store stops to read long before its own memory is in danger.
    let mut taken = 0;
    for _ in 0..2000 {
        let free = 1024
            - page
                .0
                .borrow()
                .req_prod
                .wrapping_sub(page.0.borrow().req_cons) as usize;
        if free >= request.len() {
            world.put(5, &request);
            taken += 1;
        }
        world.serve();
    }
    assert!((20..150).contains(&taken), "{taken}");
    assert!(world.server.store.db.accounts.get(5).memory < 20_000);
    world.write(0, "/tool/x", "others go on");
    // When it takes them, it is served again.
    let replies: usize = (0..200)
        .map(|_| {
            world.serve();
            world.take(5).len()
        })
        .sum();
    assert_eq!(replies, taken * (16 + "/local/domain/5\0".len()));
}

#[test]
fn events_that_nobody_takes_hold_their_cause_back_but_not_for_ever() {
    let mut world = World::new(&[5, 6]);
    world.ok(5, xs::XS_SET_PERMS, "data\0n5\0r6\0");
    world.ok(6, xs::XS_WATCH, "/local/domain/5/data\0t\0");
    let write = |n: usize| {
        crate::message::Header {
            kind: xs::XS_WRITE,
            ..Default::default()
        }
        .with_payload(format!("data/{}/{n}\0", n / 20).as_bytes())
    };
    let mut done = 0;
    let page = world.page(5);
    let rounds = |world: &mut World, done: &mut usize, rounds: usize| {
        for _ in 0..rounds {
            let request = write(*done);
            if 1024
                - page
                    .0
                    .borrow()
                    .req_prod
                    .wrapping_sub(page.0.borrow().req_cons) as usize
                >= request.len()
            {
                world.put(5, &request);
                *done += 1;
            }
            world.serve();
            world.take(5);
        }
    };
    rounds(&mut world, &mut done, 400);
    let stopped = done;
    assert!(
        stopped < 150,
        "domain 6 takes nothing, so domain 5 must wait: {stopped}"
    );
    world.write(0, "/tool/x", "others go on");
    assert!(world.server.store.deadline().is_some());
    world.now += crate::store::EVENT_TIMEOUT;
    rounds(&mut world, &mut done, 20);
    assert!(done > stopped, "after the time-out the events are dropped");
}
