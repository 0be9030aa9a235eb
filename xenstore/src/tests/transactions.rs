use super::world::World;
use xen_abi::io::xs_wire as xs;

#[test]
fn changes_are_seen_at_the_commit_and_not_before() {
    let mut world = World::new(&[]);
    world.write(0, "/a", "old");
    let tx = world.start(0);
    world.tx(0, tx, xs::XS_WRITE, "/a\0new").expect("writes");
    world.tx(0, tx, xs::XS_WRITE, "/b/c\0new").expect("writes");
    assert_eq!(world.tx(0, tx, xs::XS_READ, "/a\0").as_deref(), Ok("new"));
    assert_eq!(
        world.tx(0, tx, xs::XS_DIRECTORY, "/b\0").as_deref(),
        Ok("c\0")
    );
    assert_eq!(world.read(0, "/a").as_deref(), Ok("old"));
    assert_eq!(world.read(0, "/b"), Err("ENOENT".into()));
    assert_eq!(world.commit(0, tx).as_deref(), Ok("OK\0"));
    assert_eq!(
        (
            world.read(0, "/a").as_deref(),
            world.read(0, "/b/c").as_deref()
        ),
        (Ok("new"), Ok("new"))
    );
    assert_eq!(world.commit(0, tx), Err("ENOENT".into()), "it is over");
    assert_eq!(world.ok(0, xs::XS_CONTROL, "check\0"), "OK\0");
}

#[test]
fn a_discarded_one_changes_nothing() {
    let mut world = World::new(&[]);
    let before = world.server.store.db.accounts.total();
    let tx = world.start(0);
    world.tx(0, tx, xs::XS_WRITE, "/a/b\0x").expect("writes");
    world.tx(0, tx, xs::XS_RM, "/tool\0").expect("removes");
    assert_eq!(
        world.tx(0, tx, xs::XS_READ, "/tool/xenstored\0"),
        Err("ENOENT".into())
    );
    assert_eq!(
        world.tx(0, tx, xs::XS_TRANSACTION_END, "F\0").as_deref(),
        Ok("OK\0")
    );
    assert_eq!(
        (
            world.read(0, "/a"),
            world.read(0, "/tool/xenstored").as_deref()
        ),
        (Err("ENOENT".into()), Ok(""))
    );
    assert_eq!(
        world.server.store.db.accounts.total(),
        before,
        "its memory is given back"
    );
}

#[test]
fn conflicts() {
    let mut world = World::new(&[5]);
    let cases: [(&str, u32, &str, u32, &str, bool); 6] = [
        (
            "read, then changed",
            xs::XS_READ,
            "/a\0",
            xs::XS_WRITE,
            "/a\0z",
            true,
        ),
        (
            "read, then removed",
            xs::XS_READ,
            "/a\0",
            xs::XS_RM,
            "/a\0",
            true,
        ),
        (
            "not there, then made",
            xs::XS_READ,
            "/n\0",
            xs::XS_WRITE,
            "/n\0z",
            true,
        ),
        (
            "listed, then another child",
            xs::XS_DIRECTORY,
            "/\0",
            xs::XS_WRITE,
            "/m\0z",
            true,
        ),
        (
            "read, others changed",
            xs::XS_READ,
            "/a\0",
            xs::XS_WRITE,
            "/tool\0z",
            false,
        ),
        (
            "read, others' permissions",
            xs::XS_READ,
            "/a\0",
            xs::XS_SET_PERMS,
            "/tool\0r0\0",
            false,
        ),
    ];
    for (name, read, read_payload, change, change_payload, conflict) in cases {
        world.write(0, "/a", "x");
        let tx = world.start(0);
        let _ = world.tx(0, tx, read, read_payload);
        world
            .tx(0, tx, xs::XS_WRITE, "/local/domain/5/t\0y")
            .expect("writes");
        world.ok(0, change, change_payload);
        let expected = if conflict {
            Err("EAGAIN".to_string())
        } else {
            Ok("OK\0".to_string())
        };
        assert_eq!(world.commit(0, tx), expected, "{name}");
        assert_eq!(
            world.read(0, "/local/domain/5/t").is_ok(),
            !conflict,
            "{name}: all or nothing"
        );
        let _ = world.request(0, xs::XS_RM, "/local/domain/5/t\0");
    }
    assert_eq!(world.ok(0, xs::XS_CONTROL, "check\0"), "OK\0");
}

#[test]
fn two_that_make_children_of_one_node_conflict_and_the_second_try_works() {
    let mut world = World::new(&[]);
    world.write(0, "/d", "");
    let (first, second) = (world.start(0), world.start(0));
    world.tx(0, first, xs::XS_WRITE, "/d/1\0").expect("writes");
    world.tx(0, second, xs::XS_WRITE, "/d/2\0").expect("writes");
    assert!(world.commit(0, first).is_ok());
    assert_eq!(world.commit(0, second), Err("EAGAIN".into()));
    let again = world.start(0);
    world.tx(0, again, xs::XS_WRITE, "/d/2\0").expect("writes");
    assert!(world.commit(0, again).is_ok());
    assert_eq!(world.ok(0, xs::XS_DIRECTORY, "/d\0"), "1\x002\0");
    assert_eq!(world.ok(0, xs::XS_CONTROL, "check\0"), "OK\0");
}

#[test]
fn a_removed_and_remade_node_is_new() {
    let mut world = World::new(&[]);
    world.write(0, "/d/x/y", "1");
    let tx = world.start(0);
    world.tx(0, tx, xs::XS_RM, "/d\0").expect("removes");
    world.tx(0, tx, xs::XS_WRITE, "/d/x\x002").expect("writes");
    assert!(world.commit(0, tx).is_ok());
    assert_eq!(
        (world.read(0, "/d/x").as_deref(), world.read(0, "/d/x/y")),
        (Ok("2"), Err("ENOENT".into()))
    );
    let tx = world.start(0);
    world
        .tx(0, tx, xs::XS_WRITE, "/d/q/r\x002")
        .expect("writes");
    world.tx(0, tx, xs::XS_RM, "/d/q\0").expect("removes");
    assert!(world.commit(0, tx).is_ok());
    assert_eq!(world.ok(0, xs::XS_DIRECTORY, "/d\0"), "x\0");
    assert_eq!(world.ok(0, xs::XS_CONTROL, "check\0"), "OK\0");
}

#[test]
fn numbers_of_transactions() {
    let mut world = World::new(&[5, 6]);
    let tx = world.start(5);
    assert_eq!(
        world.tx(5, tx, xs::XS_TRANSACTION_START, "\0"),
        Err("EBUSY".into())
    );
    assert_eq!(
        world.tx(6, tx, xs::XS_READ, "data\0"),
        Err("ENOENT".into()),
        "another client's"
    );
    assert_eq!(world.tx(5, 99, xs::XS_READ, "data\0"), Err("ENOENT".into()));
    assert_eq!(
        world.tx(5, 99, xs::XS_TRANSACTION_START, "\0"),
        Err("ENOENT".into())
    );
    assert_eq!(world.error(5, xs::XS_TRANSACTION_END, "T\0"), "ENOENT");
    assert_eq!(
        world.tx(5, tx, xs::XS_TRANSACTION_END, "X\0"),
        Err("EINVAL".into())
    );
    assert_eq!(
        world.tx(5, 99, xs::XS_WATCH, "data\0t\0").as_deref(),
        Ok("OK\0"),
        "watches ignore the number"
    );
    world.ok(5, xs::XS_RESET_WATCHES, "\0");
    assert_eq!(
        world.commit(5, tx),
        Err("ENOENT".into()),
        "reset ends transactions too"
    );
}
