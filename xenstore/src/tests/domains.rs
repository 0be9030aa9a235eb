use super::world::World;
use crate::store::FEATURES;
use xen_abi::io::xs_wire as xs;

#[test]
fn introduce_and_release() {
    let mut world = World::new(&[5]);
    world.ok(0, xs::XS_WATCH, "@introduceDomain\0i\0");
    world.ok(0, xs::XS_WATCH, "@releaseDomain\0r\0");
    world.ok(0, xs::XS_WATCH, "@releaseDomain\0d\x001\0");
    world.ok(5, xs::XS_WATCH, "@releaseDomain\0r\0");
    world.ok(5, xs::XS_WATCH, "@introduceDomain\0i\0");
    world.events(0);
    world.events(5);
    assert_eq!(world.ok(0, xs::XS_IS_DOMAIN_INTRODUCED, "6\0"), "F\0");
    world.introduce(6);
    assert_eq!(world.events(0), ["@introduceDomain i"]);
    assert_eq!(world.ok(0, xs::XS_IS_DOMAIN_INTRODUCED, "6\0"), "T\0");
    assert_eq!(
        world.ok(0, xs::XS_GET_DOMAIN_PATH, "6\0"),
        "/local/domain/6\0"
    );
    assert_eq!(world.ok(0, xs::XS_RESUME, "6\0"), "OK\0");
    world.ok(0, xs::XS_RELEASE, "6\0");
    assert_eq!(world.events(0), ["@releaseDomain r", "@releaseDomain/6 d"]);
    assert_eq!(
        world.events(5),
        ["@releaseDomain r"],
        "everyone may know who is gone, only domain 0 who came"
    );
    assert_eq!(world.ok(0, xs::XS_IS_DOMAIN_INTRODUCED, "6\0"), "F\0");
    for kind in [xs::XS_RELEASE, xs::XS_RESUME] {
        assert_eq!(world.error(0, kind, "6\0"), "ENOENT");
    }
    assert_eq!(world.error(0, xs::XS_RELEASE, "0\0"), "EINVAL");
    assert_eq!(
        world.error(0, xs::XS_INTRODUCE, "9\x001\x00666\0"),
        "EIO",
        "a ring that cannot be mapped"
    );
    assert_eq!(world.ok(0, xs::XS_IS_DOMAIN_INTRODUCED, "9\0"), "F\0");
}

#[test]
fn nothing_is_left_of_a_released_domain() {
    let mut world = World::new(&[6]);
    let before = world.server.store.db.accounts.get(6);
    let total = world.server.store.db.accounts.total();
    world.introduce(5);
    world.write(0, "/local/domain/5/data", "");
    world.ok(0, xs::XS_SET_PERMS, "/local/domain/5/data\0n5\0");
    world.ok(0, xs::XS_SET_PERMS, "/local/domain/6/data\0n6\0r5\0");
    world.write(5, "data/a/b", "x");
    world.ok(5, xs::XS_WATCH, "data\0t\0");
    let tx = world.start(5);
    world.tx(5, tx, xs::XS_WRITE, "data/c\0x").expect("writes");
    world.ok(0, xs::XS_WATCH, "/local/domain/5/data/a\0gone\0");
    world.events(0);
    world.ok(0, xs::XS_RELEASE, "5\0");
    assert_eq!(world.events(0), ["/local/domain/5/data/a gone"]);
    assert_eq!(
        world.ok(0, xs::XS_DIRECTORY, "/local/domain/5\0"),
        "",
        "its nodes are gone"
    );
    assert_eq!(
        world.ok(0, xs::XS_GET_PERMS, "/local/domain/6/data\0"),
        "n6\0",
        "and its permissions"
    );
    assert_eq!(world.server.store.db.accounts.get(5), Default::default());
    world.ok(0, xs::XS_RM, "/local/domain/5\0");
    world.ok(0, xs::XS_UNWATCH, "/local/domain/5/data/a\0gone\0");
    assert_eq!(world.server.store.db.accounts.get(6), before);
    assert_eq!(world.server.store.db.accounts.total(), total);
    assert_eq!(world.ok(0, xs::XS_CONTROL, "check\0"), "OK\0");
}

#[test]
fn introducing_again_starts_the_connection_again() {
    let mut world = World::new(&[5]);
    world.ok(5, xs::XS_WATCH, "data\0t\0");
    world.put(5, b"half a head");
    world.serve();
    world.ok(0, xs::XS_INTRODUCE, "5\x001000\x009\0");
    assert_eq!(world.server.platform().rebound, [(5, 9)]);
    assert_eq!(world.page(5).0.borrow().req_prod, 0);
    world.write(5, "data", "works");
    assert_eq!(world.events(5), Vec::<String>::new(), "the watch is gone");
}

#[test]
fn what_a_domain_wrote_before_its_introduction_counts() {
    let mut world = World::new(&[]);
    world.introduce(5);
    let page = world.page(5);
    world.ok(0, xs::XS_RELEASE, "5\0");
    world.server.platform().pages.insert(5, page);
    let header = crate::message::Header {
        kind: xs::XS_GET_DOMAIN_PATH,
        ..Default::default()
    };
    world.put(5, &header.with_payload(b"5\0"));
    world.introduce(5);
    assert_eq!(
        world.message(5).map(|(_, path)| path),
        Some(b"/local/domain/5\0".to_vec())
    );
}

#[test]
fn features() {
    let mut world = World::new(&[]);
    assert_eq!(world.ok(0, xs::XS_GET_FEATURE, ""), format!("{FEATURES}\0"));
    world.ok(0, xs::XS_SET_FEATURE, "5\x002\0");
    assert_eq!(world.error(0, xs::XS_SET_FEATURE, "5\x001024\0"), "EINVAL");
    world.introduce(5);
    assert_eq!(world.page(5).0.borrow().features, 2);
    assert_eq!(world.ok(5, xs::XS_GET_FEATURE, ""), "2\0");
    assert_eq!(world.ok(0, xs::XS_GET_FEATURE, "5\0"), "2\0");
    assert_eq!(world.error(0, xs::XS_SET_FEATURE, "5\x002\0"), "EBUSY");
    assert_eq!(
        world.error(5, xs::XS_WATCH, "data\0t\x001\0"),
        "EINVAL",
        "no depth without the feature"
    );
    world.introduce(6);
    assert_eq!(world.page(6).0.borrow().features, FEATURES);
}

#[test]
fn control() {
    let mut world = World::new(&[5]);
    assert!(world.ok(0, xs::XS_CONTROL, "help\0").contains("memreport"));
    assert!(
        world
            .ok(0, xs::XS_CONTROL, "memreport\0")
            .contains("domain 5:")
    );
    assert!(
        world
            .ok(0, xs::XS_CONTROL, "quota\0")
            .contains("nodes            :     1000")
    );
    assert!(
        world
            .ok(0, xs::XS_CONTROL, "quota\x005\0")
            .contains("nodes            :        1")
    );
    world.ok(0, xs::XS_CONTROL, "quota\0set\0nodes\x007\0");
    assert_eq!(world.ok(0, xs::XS_GET_QUOTA, "nodes\0"), "7\0");
    assert!(
        world
            .ok(0, xs::XS_GET_QUOTA, "")
            .contains("transaction-nodes")
    );
    world.ok(0, xs::XS_SET_QUOTA, "5\0nodes\x009\0");
    assert_eq!(
        (
            world.ok(0, xs::XS_GET_QUOTA, "5\0nodes\0"),
            world.ok(0, xs::XS_GET_QUOTA, "nodes\0")
        ),
        ("9\0".into(), "7\0".into())
    );
    assert_eq!(world.ok(0, xs::XS_CONTROL, "print\0hello\0"), "OK\0");
    world.ok(5, xs::XS_WATCH, "data\0t\0");
    assert_eq!(
        world.ok(0, xs::XS_CONTROL, "watches\x005\0"),
        "/local/domain/5/data t\n\0"
    );
}
