use super::world::World;
use xen_abi::io::xs_wire as xs;

fn watch(world: &mut World, domid: u16, path: &str, token: &str) {
    world.ok(domid, xs::XS_WATCH, &format!("{path}\0{token}\0"));
}

#[test]
fn a_watch_fires_at_once_and_at_every_change() {
    let mut world = World::new(&[]);
    watch(&mut world, 0, "/a", "t");
    assert_eq!(
        world.events(0),
        ["/a t"],
        "at once, although there is nothing"
    );
    world.write(0, "/a", "1");
    world.write(0, "/a", "1");
    assert_eq!(
        world.events(0),
        ["/a t", "/a t"],
        "the same value is a change too"
    );
    world.ok(0, xs::XS_MKDIR, "/a/b\0");
    world.ok(0, xs::XS_MKDIR, "/a/b\0");
    world.ok(0, xs::XS_SET_PERMS, "/a/b\0r0\0");
    world.write(0, "/ab", "");
    world.ok(0, xs::XS_RM, "/a\0");
    assert_eq!(world.events(0), ["/a/b t", "/a/b t", "/a t"]);
    world.ok(0, xs::XS_UNWATCH, "/a\0t\0");
    assert_eq!(world.error(0, xs::XS_UNWATCH, "/a\0t\0"), "ENOENT");
    world.write(0, "/a", "1");
    assert_eq!(world.events(0), Vec::<String>::new());
}

#[test]
fn the_reply_comes_before_the_first_event_and_events_before_the_reply_to_a_change() {
    let mut world = World::new(&[]);
    let request = |kind, payload: &str| {
        crate::message::Header {
            kind,
            ..Default::default()
        }
        .with_payload(payload.as_bytes())
    };
    let bytes = request(xs::XS_WATCH, "/a\0t\0");
    world.put(0, &bytes);
    let kinds = [world.message(0), world.message(0)].map(|m| m.expect("a message").0.kind);
    assert_eq!(kinds, [xs::XS_WATCH, xs::XS_WATCH_EVENT]);
    let bytes = request(xs::XS_WRITE, "/a\x001");
    world.put(0, &bytes);
    let kinds = [world.message(0), world.message(0)].map(|m| m.expect("a message").0.kind);
    assert_eq!(kinds, [xs::XS_WATCH_EVENT, xs::XS_WRITE]);
}

#[test]
fn relative_watches_get_relative_events() {
    let mut world = World::new(&[5]);
    watch(&mut world, 5, "data", "r");
    watch(&mut world, 5, "/local/domain/5/data", "a");
    assert_eq!(world.events(5), ["data r", "/local/domain/5/data a"]);
    world.write(0, "/local/domain/5/data/x", "1");
    assert_eq!(
        world.events(5),
        ["data/x r", "/local/domain/5/data/x a"],
        "in the order of the watches"
    );
    assert_eq!(world.error(5, xs::XS_WATCH, "data\0r\0"), "EEXIST");
    assert_eq!(
        world.error(5, xs::XS_WATCH, "/local/domain/5/data\0r\0"),
        "OK\0".replace("OK\0", "EEXIST")
    );
}

#[test]
fn removal_tells_each_watch_of_its_own_node() {
    let mut world = World::new(&[]);
    world.write(0, "/a/b/c", "");
    world.write(0, "/a/b/d", "");
    for path in ["/a/b/d", "/a/b/c", "/a", "/a/b"] {
        watch(&mut world, 0, path, "t");
    }
    world.events(0);
    world.ok(0, xs::XS_RM, "/a/b\0");
    // Children before parents; whoever watches above hears of the removed node only.
    assert_eq!(world.events(0), ["/a/b/c t", "/a/b/d t", "/a/b t"]);
}

#[test]
fn depth() {
    let mut world = World::new(&[]);
    for depth in 0..3 {
        world.ok(0, xs::XS_WATCH, &format!("/a\0{depth}\0{depth}\0"));
    }
    world.events(0);
    world.write(0, "/a", "");
    assert_eq!(world.events(0), ["/a 0", "/a 1", "/a 2"]);
    world.write(0, "/a/b", "");
    assert_eq!(world.events(0), ["/a/b 1", "/a/b 2"]);
    world.write(0, "/a/b/c", "");
    world.write(0, "/a/b/c/d", "");
    assert_eq!(world.events(0), ["/a/b/c 2"]);
}

#[test]
fn who_may_not_read_does_not_hear() {
    let mut world = World::new(&[5, 6]);
    watch(&mut world, 6, "/local/domain/5/data", "t");
    world.events(6);
    world.write(5, "data/x", "1");
    assert_eq!(world.events(6), Vec::<String>::new());
    world.ok(5, xs::XS_SET_PERMS, "data/x\0n5\0r6\0");
    world.write(5, "data/x", "2");
    assert_eq!(
        world.events(6),
        ["/local/domain/5/data/x t", "/local/domain/5/data/x t"]
    );
    world.ok(5, xs::XS_SET_PERMS, "data/x\0n5\0");
    assert_eq!(
        world.events(6),
        ["/local/domain/5/data/x t"],
        "the last one says that it is closed"
    );
    world.write(5, "data/x", "3");
    assert_eq!(world.events(6), Vec::<String>::new());
    world.ok(5, xs::XS_SET_PERMS, "data/x\0r5\0");
    world.ok(5, xs::XS_RM, "data/x\0");
    assert_eq!(
        world.events(6).len(),
        2,
        "of its removal it hears, because it could read it"
    );
}

#[test]
fn transactions_fire_at_the_commit() {
    let mut world = World::new(&[]);
    world.write(0, "/a/old", "");
    watch(&mut world, 0, "/a", "t");
    watch(&mut world, 0, "/a/old", "o");
    world.events(0);
    let tx = world.start(0);
    for (kind, payload) in [
        (xs::XS_WRITE, "/a/x\x001"),
        (xs::XS_WRITE, "/a/x\x002"),
        (xs::XS_WRITE, "/a/y\x001"),
        (xs::XS_RM, "/a/old\0"),
    ] {
        world.tx(0, tx, kind, payload).expect("works");
    }
    assert_eq!(world.events(0), Vec::<String>::new());
    assert!(world.commit(0, tx).is_ok());
    assert_eq!(
        world.events(0),
        ["/a/x t", "/a/y t", "/a/old t", "/a/old o"],
        "each node once, in the order of first touches"
    );
    let tx = world.start(0);
    world.tx(0, tx, xs::XS_WRITE, "/a/x\x003").expect("works");
    world
        .tx(0, tx, xs::XS_TRANSACTION_END, "F\0")
        .expect("works");
    assert_eq!(world.events(0), Vec::<String>::new());
}

#[test]
fn an_event_that_waits_is_not_repeated() {
    let mut world = World::new(&[5]);
    watch(&mut world, 5, "data", "t");
    world.events(5);
    // Fill the ring of domain 5, which does not read, with one event; more of the same wait as one.
    for _ in 0..200 {
        world.write(0, "/local/domain/5/data", "x");
    }
    let count = world.events(5).len();
    assert!((2..200).contains(&count), "{count}");
}
