use super::world::World;
use xen_abi::io::xs_wire as xs;

#[test]
fn values_and_directories() {
    let mut world = World::new(&[5]);
    world.write(0, "/a/b/c", "hello");
    assert_eq!(world.read(0, "/a/b/c").as_deref(), Ok("hello"));
    assert_eq!(
        world.read(0, "/a/b").as_deref(),
        Ok(""),
        "parents come with empty values"
    );
    world.write(0, "/a/z", "");
    world.write(0, "/a/y", "");
    assert_eq!(
        world.ok(0, xs::XS_DIRECTORY, "/a\0"),
        "b\0z\0y\0",
        "in the order in which they came"
    );
    assert_eq!(world.ok(0, xs::XS_DIRECTORY, "/\0"), "tool\0local\0a\0");
    assert_eq!(world.ok(0, xs::XS_MKDIR, "/a/b/c\0"), "OK\0");
    assert_eq!(
        world.read(0, "/a/b/c").as_deref(),
        Ok("hello"),
        "mkdir leaves it alone"
    );
    world.ok(0, xs::XS_RM, "/a/b\0");
    assert_eq!(world.read(0, "/a/b/c"), Err("ENOENT".into()));
    assert_eq!(world.ok(0, xs::XS_DIRECTORY, "/a\0"), "z\0y\0");
    assert_eq!(
        world.ok(0, xs::XS_RM, "/a/b\0"),
        "OK\0",
        "it need not be there"
    );
    assert_eq!(
        world.error(0, xs::XS_RM, "/a/b/c\0"),
        "ENOENT",
        "but its parent must"
    );
    assert_eq!(world.error(0, xs::XS_RM, "/\0"), "EINVAL");
    assert_eq!(world.ok(0, xs::XS_CONTROL, "check\0"), "OK\0");
    let binary = [b"/bin\0".as_slice(), &[0, 1, 255, 0]].concat();
    world
        .request_tx(0, 0, xs::XS_WRITE, &binary)
        .expect("any bytes are a value");
    assert_eq!(
        world.request(0, xs::XS_READ, "/bin\0"),
        Ok(vec![0, 1, 255, 0])
    );
}

#[test]
fn malformed_requests() {
    let mut world = World::new(&[]);
    for (kind, payload) in [
        (xs::XS_READ, ""),
        (xs::XS_READ, "/a"),
        (xs::XS_READ, "/a\0b\0"),
        (xs::XS_READ, "a b\0"),
        (xs::XS_READ, "@releaseDomain\0"),
        (xs::XS_WRITE, "/a"),
        (xs::XS_WRITE, "\0x"),
        (xs::XS_MKDIR, "/a//b\0"),
        (xs::XS_DIRECTORY_PART, "/\0"),
        (xs::XS_DIRECTORY_PART, "/\0x\0"),
        (xs::XS_SET_PERMS, "/tool\0"),
        (xs::XS_SET_PERMS, "/tool\0q0\0"),
        (xs::XS_WATCH, "/a\0"),
        (xs::XS_WATCH, "/a\0t\0x\0"),
        (xs::XS_UNWATCH, "/a\0"),
        (xs::XS_INTRODUCE, "5\x001\0"),
        (xs::XS_INTRODUCE, "5\x001\x000\0"),
        (xs::XS_INTRODUCE, "0\x001\x001\0"),
        (xs::XS_INTRODUCE, "32752\x001\x001\0"),
        (xs::XS_GET_DOMAIN_PATH, "x\0"),
        (xs::XS_CONTROL, "explode\0"),
        (xs::XS_SET_QUOTA, "nodes\0"),
        (xs::XS_GET_QUOTA, "nothing\0"),
    ] {
        assert_eq!(
            world.error(0, kind, payload),
            "EINVAL",
            "{kind} {payload:?}"
        );
    }
    for kind in [
        xs::XS_WATCH_EVENT,
        xs::XS_ERROR,
        20,
        xs::XS_TYPE_COUNT,
        xs::XS_INVALID,
        u32::MAX,
    ] {
        assert_eq!(world.error(0, kind, "/\0"), "ENOSYS");
    }
}

#[test]
fn permissions() {
    let mut world = World::new(&[5, 6]);
    assert_eq!(world.ok(5, xs::XS_GET_PERMS, "data\0"), "n5\0");
    world.write(5, "data/x", "1");
    assert_eq!(
        world.ok(5, xs::XS_GET_PERMS, "/local/domain/5/data/x\0"),
        "n5\0",
        "what a guest makes is its own"
    );
    assert_eq!(
        world.read(6, "/local/domain/5/data/x"),
        Err("EACCES".into())
    );
    assert_eq!(
        world.read(6, "/local/domain/5/data/nothing"),
        Err("EACCES".into()),
        "and it may not know what is missing"
    );
    assert_eq!(world.read(5, "data/nothing"), Err("ENOENT".into()));
    assert_eq!(
        world.error(5, xs::XS_WRITE, "/local/domain/5/name\0me"),
        "EACCES",
        "its home is read-only"
    );
    assert_eq!(world.error(5, xs::XS_RM, "/local/domain/5\0"), "EACCES");
    assert_eq!(world.error(5, xs::XS_WRITE, "/x\0"), "EACCES");
    world.ok(5, xs::XS_SET_PERMS, "data/x\0n5\0r6\0");
    assert_eq!(
        world.read(6, "/local/domain/5/data/x").as_deref(),
        Ok("1"),
        "closed parents do not matter"
    );
    assert_eq!(
        world.error(6, xs::XS_WRITE, "/local/domain/5/data/x\x002"),
        "EACCES"
    );
    assert_eq!(
        world.error(6, xs::XS_SET_PERMS, "/local/domain/5/data/x\0b6\0"),
        "EACCES"
    );
    world.ok(5, xs::XS_SET_PERMS, "data/x\0n5\0b6\0");
    world.write(6, "/local/domain/5/data/x", "2");
    assert_eq!(
        world.error(6, xs::XS_SET_PERMS, "/local/domain/5/data/x\0b6\0"),
        "EACCES",
        "writers are no owners"
    );
    assert_eq!(
        world.error(5, xs::XS_SET_PERMS, "data/x\0n6\0"),
        "EPERM",
        "nobody gives a node away"
    );
    world.ok(0, xs::XS_SET_PERMS, "/local/domain/5/data/x\0n6\0");
    assert_eq!(world.read(5, "data/x"), Err("EACCES".into()));
    world.ok(0, xs::XS_SET_TARGET, "6\x005\0");
    assert_eq!(
        world.ok(6, xs::XS_DIRECTORY, "/local/domain/5/data\0"),
        "x\0",
        "6 may what 5 may"
    );
}

#[test]
fn only_the_control_domain_may() {
    let mut world = World::new(&[5]);
    for kind in [
        xs::XS_CONTROL,
        xs::XS_INTRODUCE,
        xs::XS_RELEASE,
        xs::XS_IS_DOMAIN_INTRODUCED,
        xs::XS_RESUME,
        xs::XS_SET_TARGET,
        xs::XS_SET_FEATURE,
        xs::XS_GET_QUOTA,
        xs::XS_SET_QUOTA,
    ] {
        assert_eq!(world.error(5, kind, "5\x001\x001\0"), "EACCES", "{kind}");
    }
    assert_eq!(world.error(5, xs::XS_GET_FEATURE, "0\0"), "EACCES");
}

#[test]
fn long_directories_come_in_parts() {
    let mut world = World::new(&[]);
    let names: Vec<String> = (0..600).map(|n| format!("child-{n}")).collect();
    for name in &names {
        world.write(0, &format!("/big/{name}"), "");
    }
    assert_eq!(world.error(0, xs::XS_DIRECTORY, "/big\0"), "E2BIG");
    let mut list = String::new();
    let mut generations = Vec::new();
    loop {
        let part = world.ok(0, xs::XS_DIRECTORY_PART, &format!("/big\0{}\0", list.len()));
        assert!(part.len() <= 4096);
        let (generation, children) = part.split_once('\0').expect("a generation");
        generations.push(generation.to_string());
        match children.strip_suffix("\0\0") {
            Some(last) => {
                list.push_str(last);
                break;
            }
            None => list.push_str(children),
        }
    }
    assert!(generations.len() > 1 && generations.iter().all(|g| Some(g) == generations.first()));
    assert_eq!(list.split('\0').collect::<Vec<_>>(), names);
    let end = world.ok(0, xs::XS_DIRECTORY_PART, "/big\x0099999\0");
    assert!(
        end.ends_with("\0\0"),
        "behind the list there is one empty name"
    );
    let empty = world.ok(0, xs::XS_DIRECTORY_PART, "/tool/xenstored\x000\0");
    assert!(empty.ends_with("\0\0") && empty.matches('\0').count() == 2);
}
