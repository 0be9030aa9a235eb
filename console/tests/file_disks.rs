//! Files on Domain-0's disk as guests' disks.

mod machine;
mod ramdisk;
mod typing;

use console::app::App;
use console::archive::Archive;
use console::volume::Volume;
use machine::Pretend;
use proptest::prelude::*;
use ramdisk::{RamDisk, check};
use typing::{CFG, archive, type_line};

fn mount(disk: &RamDisk) -> Volume {
    Volume::mount(disk.boxed(), disk.sectors()).unwrap()
}

/// The bytes that are at `ranges`.
fn at(disk: &RamDisk, ranges: &[(u64, u64)]) -> Vec<u8> {
    let ram = disk.0.borrow();
    ranges
        .iter()
        .flat_map(|&(first, count)| {
            ram.bytes[first as usize * 512..][..count as usize * 512].to_vec()
        })
        .collect()
}

#[test]
fn a_file_in_pieces_is_found_piece_by_piece() {
    let disk = RamDisk::formatted();
    let volume = mount(&disk);
    let (mut one, mut two) = (Vec::new(), Vec::new());
    for round in 0..20_u8 {
        one.extend([round; 1500]);
        two.extend([0x80 | round; 700]);
        volume.append("srv/one.img", &[round; 1500]).unwrap();
        volume.append("srv/two.img", &[0x80 | round; 700]).unwrap();
    }
    for (path, bytes) in [("srv/one.img", &one), ("srv/two.img", &two)] {
        let file = volume.extents(path).unwrap();
        assert!(file.ranges.len() > 5, "{:?}", file.ranges);
        let whole = bytes.len() / 512 * 512;
        assert_eq!(at(&disk, &file.ranges), bytes[..whole], "{path}");
    }
    volume.append("srv/empty.img", b"").unwrap();
    for (path, error) in [
        ("srv/nothing.img", "No such file or directory"),
        ("srv", "Is a directory"),
        ("srv/empty.img", "the file is empty"),
    ] {
        assert_eq!(volume.extents(path).unwrap_err().to_string(), error);
    }
    for round in 0..1100 {
        volume.append("srv/many.img", &[1; 512]).unwrap();
        volume.append("srv/between.img", &[2; 512]).unwrap();
        let error = volume.extents("srv/many.img").err();
        assert_eq!(error.is_some(), round >= 1024, "{round}: {error:?}");
    }
    let error = volume.extents("srv/many.img").unwrap_err().to_string();
    assert!(error.contains("too fragmented"), "{error}");
}

#[test]
fn a_held_file_is_not_touched_and_its_neighbours_are_whole() {
    let disk = RamDisk::formatted();
    let volume = mount(&disk);
    volume.append("srv/disk.img", &[7; 4096]).unwrap();
    volume.append("srv/other.log", b"one\n").unwrap();
    let file = volume.extents("srv/disk.img").unwrap();
    assert_eq!(volume.read("srv/disk.img").unwrap(), [7; 4096]);
    volume.hold(&file);
    volume.hold(&file);
    // The guest writes past Domain-0.
    for &(first, count) in &file.ranges {
        disk.0.borrow_mut().bytes[first as usize * 512..][..count as usize * 512].fill(9);
    }
    let busy = |result: Result<(), console::volume::VolumeError>| {
        assert_eq!(result.unwrap_err().to_string(), "Text file busy");
    };
    busy(volume.append("srv/disk.img", b"more"));
    busy(volume.append("SRV/DISK.IMG", b"more"));
    busy(volume.replace("srv/disk.img", "srv/old.img"));
    busy(volume.replace("srv/other.log", "srv/disk.img"));
    volume.let_go(&file);
    busy(volume.append("srv/disk.img", b"more"));
    for round in 0..50 {
        volume
            .append("srv/other.log", &vec![b'x'; round * 10])
            .unwrap();
        volume
            .append(&format!("srv/{round}.log"), b"short")
            .unwrap();
        volume.commit().unwrap();
    }
    assert_eq!(at(&disk, &file.ranges), [9; 4096]);
    volume.let_go(&file);
    assert_eq!(volume.read("srv/disk.img").unwrap(), [9; 4096]);
    volume.append("srv/disk.img", b"more").unwrap();
    volume.commit().unwrap();
    check(&disk.0.borrow().bytes).unwrap();
}

fn booted<'a>(archive: &'a [u8], disk: &RamDisk) -> App<'a, Pretend> {
    let mut host = Pretend::new();
    host.disks.push_back((disk.boxed(), disk.sectors()));
    let mut app = App::new(host, Archive::new(archive), "prompt_status");
    app.start();
    app.host.seen();
    app
}

#[test]
fn a_guest_has_a_file_and_an_iso_until_it_ends() {
    let disk = RamDisk::formatted();
    let volume = mount(&disk);
    volume.append("srv/disk.img", &[7; 8192]).unwrap();
    volume.append("srv/cd.iso", &[8; 4096]).unwrap();
    let wanted = volume.extents("srv/disk.img").unwrap().ranges;
    drop(volume);
    let cfg = CFG.replace(
        "rw' ]",
        "rw', '/srv/disk.img,raw,xvdb,rw', '/srv/cd.iso,,hdc,devtype=cdrom' ]",
    );
    let archive = archive(&cfg);
    let mut app = booted(&archive, &disk);
    let before = app.host.store.clone();
    let (said, status) = type_line(&mut app, "xl create /etc/xen/debian.cfg");
    assert_eq!(status, 0, "{said}");
    let back = |app: &App<'_, Pretend>, vbd: u32, key: &str| {
        let path = format!("/local/domain/5/device/vbd/{vbd}/backend");
        let back = app.host.store[&path].clone();
        app.host.store.get(&format!("{back}/{key}")).cloned()
    };
    let text: Vec<_> = wanted
        .iter()
        .map(|(first, count)| format!("{first}+{count}"))
        .collect();
    for (key, value) in [
        ("extents-of", "/dev/gpt/microhv"),
        ("extents/0", &text.join(",")),
        ("params", "/srv/disk.img"),
        ("type", "file"),
        ("mode", "w"),
    ] {
        assert_eq!(back(&app, 51728, key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(back(&app, 5632, "mode").as_deref(), Some("r"));
    assert_eq!(back(&app, 5632, "device-type").as_deref(), Some("cdrom"));
    assert_eq!(back(&app, 51712, "extents-of"), None);
    let held = |app: &App<'_, Pretend>| app.files_held();
    assert_eq!(held(&app), 2);
    assert_eq!(type_line(&mut app, "xl block-detach 5 xvdb").1, 0);
    assert_eq!(held(&app), 1);
    let attach = "xl block-attach 5 file:/srv/disk.img xvdb w!";
    assert_eq!(type_line(&mut app, attach), (String::new(), 0));
    assert_eq!(back(&app, 51728, "mode").as_deref(), Some("w!"));
    for (spec, text) in [
        (
            "/srv/nothing.img,raw,xvdc,rw",
            "disk xvdc: /srv/nothing.img: No such file or directory",
        ),
        ("/srv,raw,xvdc,rw", "disk xvdc: /srv: Is a directory"),
        (
            "/srv/disk.img,qcow2,xvdc,rw",
            "disk xvdc: only raw images are supported",
        ),
        (
            ",,hdd,cdrom",
            "disk hdd: drives without a medium are not supported",
        ),
    ] {
        let (said, status) = type_line(&mut app, &format!("xl block-attach 5 {spec}"));
        assert_eq!((said.lines().next(), status), (Some(text), 1));
    }
    assert_eq!(held(&app), 2);
    assert_eq!(type_line(&mut app, "xl destroy debian").1, 0);
    assert_eq!(held(&app), 0);
    assert_eq!(app.host.store, before, "something is left in the store");
}

#[test]
fn a_log_that_is_a_guests_disk_is_left_alone_and_the_others_go_on() {
    let disk = RamDisk::formatted();
    let volume = mount(&disk);
    volume
        .append("var/log/xen/xl-debian.log", &[7; 4096])
        .unwrap();
    volume.commit().unwrap();
    drop(volume);
    let cfg = CFG.replace("rw' ]", "rw', '/var/log/xen/xl-debian.log,raw,xvdb,w!' ]");
    let archive = archive(&cfg);
    let mut app = booted(&archive, &disk);
    let (said, status) = type_line(&mut app, "xl create /etc/xen/debian.cfg");
    assert_eq!(status, 0, "{said}");
    let mut all = said;
    for _ in 0..3 {
        app.host.now += 1_000_000_000;
        app.turn();
    }
    all += &app.host.seen();
    assert_eq!(all.matches("Text file busy").count(), 1, "{all}");
    assert!(!all.contains("no more logs"), "{all}");
    let (list, _) = type_line(&mut app, "xl list -l debian");
    assert_eq!(list.matches("\"readwrite\": 1").count(), 2, "{list}");
    app.host.says(5, "something else\n");
    app.turn();
    app.host.now += 1_000_000_000;
    app.turn();
    let volume = mount(&disk);
    assert_eq!(volume.read("var/log/xen/xl-debian.log").unwrap(), [7; 4096]);
    let log = volume.read("var/log/xen/console/guest-debian.log");
    let log = log.unwrap();
    assert!(String::from_utf8(log).unwrap().contains("something else"));
}

#[test]
fn without_a_disk_files_are_refused_by_name() {
    let archive = archive(&CFG.replace("rw' ]", "rw', '/srv/disk.img,raw,xvdb,rw' ]"));
    let mut app = typing::booted(&archive);
    let (said, status) = type_line(&mut app, "xl create /etc/xen/debian.cfg");
    assert!(
        said.ends_with("debian: disk xvdb: /srv/disk.img: Domain-0 has no disk with files"),
        "{said}"
    );
    assert_eq!(status, 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// However files grow between each other: each one's extents are its own bytes, and no sector is two files'.
    #[test]
    fn extents_are_the_file_and_nobody_elses(
        steps in prop::collection::vec((0..3usize, 0..6000usize), 1..40),
    ) {
        let disk = RamDisk::formatted();
        let volume = mount(&disk);
        let mut files = [vec![], vec![], vec![]];
        for (step, (file, length)) in steps.into_iter().enumerate() {
            let bytes = vec![step as u8 + 1; length];
            volume.append(&format!("srv/{file}.img"), &bytes).unwrap();
            files[file].extend(bytes);
        }
        let mut seen = std::collections::BTreeSet::new();
        for (index, bytes) in files.iter().enumerate() {
            let extents = volume.extents(&format!("srv/{index}.img"));
            prop_assert_eq!(extents.is_ok(), bytes.len() >= 512);
            let Ok(extents) = extents else { continue };
            let whole = bytes.len() / 512 * 512;
            prop_assert_eq!(&at(&disk, &extents.ranges)[..], &bytes[..whole]);
            for (first, count) in extents.ranges {
                for sector in first..first + count {
                    prop_assert!(seen.insert(sector));
                }
            }
        }
    }
}
