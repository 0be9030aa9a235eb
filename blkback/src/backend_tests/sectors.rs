//! Which sectors a virtual disk has: of a partition, a file, the table itself; and who has them already.

use super::*;

#[test]
fn sectors_that_another_writes_are_refused_unless_the_operator_says_so() {
    let error = |first: &str, second: (&str, &str)| {
        let mut play = Play::new();
        play.create("/dev/gpt/debian-root", first);
        let path = play.also(6, second.0, second.1);
        let back = |key| play.store.get(&format!("{path}/{key}"));
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
    play.also(0, "/dev/gpt/debian-root", "w");
    for (sector, bytes) in play.backends.units()[0]
        .engine
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
        seg[0] = crate::fake_frontend::page(9);
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
        while !play.backends.units()[0].engine.disk().queue.is_empty() {
            play.backends.units()[0].engine.disk().ready = 9;
            play.backends.units()[0].engine.complete();
        }
        front.next_response().unwrap().unwrap().status
    };
    assert_eq!(ask(&mut play, BLKIF_OP_READ, 1), 0);
    let firsts: Vec<u8> = data.bytes().iter().step_by(512).copied().collect();
    let wanted = [2143, 2052, 2053, 2054, 2102, 2103, 2104, 2105u32];
    assert_eq!(firsts, wanted.map(|sector| sector as u8));
    data.fill(0xee);
    assert_eq!(ask(&mut play, BLKIF_OP_WRITE, 0), 0);
    let content = &play.backends.units()[0].engine.disk().content;
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
    play.backends.units()[0].engine.disk().content = crate::gpt::tests::disk(4096, &["data"]);
    play.store.remove(BACK);
    play.create("/dev/gpt/data", "w");
    assert_eq!(play.state(), "2");
    // What was known stays.
    play.backends.units()[0].engine.disk().content.fill(0);
    play.store.remove(BACK);
    play.create("/dev/gpt/data", "w");
    assert_eq!(play.state(), "2");
}

#[test]
fn the_table_itself_is_domain_0s() {
    let mut play = Play::new();
    play.create("/dev/gpt", "w");
    assert_eq!(play.state(), "6");
    let back = play.also(0, "/dev/gpt", "w");
    let get = |key: &str| play.store.get(&format!("{back}/{key}"));
    assert_eq!(get("state").as_deref(), Some("2"));
    assert_eq!(get("disk-sectors").as_deref(), Some("4096"));
    assert_eq!(get("feature-discard"), None);
}

/// It may hold what was another guest's.
#[test]
fn what_is_not_wiped_is_for_domain_0_to_wipe_and_for_nobody_else() {
    let mut play = Play::new();
    let mut content = crate::gpt::tests::disk(4096, &["data", "data", "new"]);
    crate::gpt::tests::set_unwiped(&mut content, &[2, 3]);
    play.backends.units()[0].engine.disk().content = content;
    for (name, state) in [
        ("/dev/gpt/new", "6"),
        ("/dev/vd0p2", "6"),
        ("/dev/vd0p3", "6"),
        ("/dev/wipe/new", "6"),
        ("/dev/wipe/data", "6"),
        ("/dev/gpt/data", "2"),
    ] {
        play.create(name, "w");
        assert_eq!(play.state(), state, "{name}");
        let error = play.back("hotplug-error").unwrap_or_default();
        assert_eq!(error.contains("is not wiped yet"), state == "6", "{error}");
        play.store.remove(BACK);
        play.run();
    }
    for (name, state) in [
        ("/dev/wipe/new", "2"),
        ("/dev/gpt/new", "6"),
        ("/dev/wipe/other", "6"),
    ] {
        let back = play.also(0, name, "w");
        let get = |key: &str| play.store.get(&format!("{back}/{key}"));
        assert_eq!(get("state").as_deref(), Some(state), "{name}");
        // What forgets need not leave zeros.
        assert_eq!(get("feature-discard"), None, "{name}");
        let zeroes = get("discard-zeroes");
        assert_eq!(zeroes.as_deref(), (state == "2").then_some("1"), "{name}");
        play.store.remove(&back);
        play.run();
    }
}

#[test]
fn each_disk_has_its_own_names_and_sectors() {
    let mut play = Play::with(&["vd0", "md0"]);
    play.backends.units()[1].engine.disk().content = crate::gpt::tests::disk(4096, &["data"]);
    // Somebody has the same sectors of the other disk, to write.
    play.also(0, "/dev/vd0", "w");
    for name in ["/dev/md1", "/dev/vd0p2", "/dev/md0p2", "/dev/gpt/nothing"] {
        play.create(name, "w");
        assert_eq!(play.state(), "6", "{name}");
        play.store.remove(BACK);
        play.run();
    }
    play.create("/dev/md0p1", "w");
    let page = play.guest.grant(8, false);
    let mut front: FrontRing<BlkifRequest, BlkifResponse, Page> = FrontRing::init(page).unwrap();
    play.publish(RING);
    assert_eq!(play.back("sectors").as_deref(), Some("100"));
    play.guest.grant(9, false).fill(0xee);
    let mut seg = [BlkifRequestSegment::default(); 11];
    seg[0] = crate::fake_frontend::page(9);
    let request = BlkifRequest {
        operation: BLKIF_OP_WRITE,
        nr_segments: 1,
        seg,
        ..Default::default()
    };
    front.push_request(&request).unwrap();
    front.flush();
    play.backends.serve(1012);
    for unit in play.backends.units() {
        unit.engine.disk().ready = 9;
        unit.engine.complete();
    }
    assert_eq!(front.next_response().unwrap().unwrap().status, 0);
    let written = |unit: usize, play: &mut Play| {
        let content = &play.backends.units()[unit].engine.disk().content;
        content[2048 * 512..][..4096] == [0xee; 4096]
    };
    assert_eq!(
        (written(0, &mut play), written(1, &mut play)),
        (false, true)
    );
    // A name in either table is found.
    for name in [
        "/dev/gpt/data",
        "/dev/md0",
        "/dev/gpt/debian-root",
        "/dev/vd0",
    ] {
        play.store.remove(BACK);
        play.run();
        play.create(name, "w");
        let taken = name.starts_with("/dev/vd0") || name.contains("debian");
        assert_eq!(play.state(), if taken { "6" } else { "2" }, "{name}");
    }
}
