//! The file system with Domain-0's files, on a disk that may lose power at any moment.

mod ramdisk;

use std::collections::BTreeMap;

use console::volume::Volume;
use ramdisk::{RamDisk, SIZE, check};

fn mount(disk: &RamDisk) -> Volume {
    Volume::mount(disk.boxed(), disk.sectors()).unwrap()
}

const LOG: &str = "var/log/xen/console/guest-a long name.log";
const OLD: &str = "var/log/xen/console/guest-a long name.log.1";

#[test]
fn files_grow_and_give_way() {
    let disk = RamDisk::formatted();
    let volume = mount(&disk);
    assert_eq!(volume.files(), []);
    assert_eq!(volume.size(LOG).unwrap(), 0);
    volume.append(LOG, b"one\n").unwrap();
    volume.append(LOG, &[b'x'; 1500]).unwrap();
    volume.append("etc/plain.cfg", b"").unwrap();
    volume.commit().unwrap();
    assert_eq!(volume.read(LOG).unwrap().len(), 1504);
    volume.replace(LOG, OLD).unwrap();
    volume.append(LOG, b"new\n").unwrap();
    volume.commit().unwrap();
    assert!(!volume.is_dirty());
    volume.replace(LOG, OLD).unwrap();
    assert_eq!(volume.read(OLD).unwrap(), b"new\n");
    assert!(volume.read(LOG).is_err());
    let files = check(&disk.0.borrow().bytes).unwrap();
    assert_eq!(files.keys().collect::<Vec<_>>(), ["etc/plain.cfg", OLD]);
    let mut again = mount(&disk).files();
    again.sort();
    assert_eq!(
        again,
        [("etc/plain.cfg".to_string(), 0), (OLD.to_string(), 4)]
    );
}

/// What a day of logging does: folders, new files, growth, rotation, folders that grow.
fn day(volume: &Volume) {
    for round in 0..12_usize {
        for name in [
            "hypervisor.log",
            "xl-debian.log",
            "console/guest-debian.log",
        ] {
            let path = format!("var/log/xen/{name}");
            if round % 5 == 4 {
                volume.replace(&path, &format!("{path}.1")).unwrap();
            }
            let line = format!("line of round {round}\n");
            volume
                .append(&path, line.repeat(round * 7 + 1).as_bytes())
                .unwrap();
        }
        volume
            .append(
                &format!("var/log/xen/xl-guest-number-{round}.log"),
                b"created\n",
            )
            .unwrap();
        volume.commit().unwrap();
    }
}

#[test]
fn power_may_fail_between_any_two_writes() {
    let disk = RamDisk::formatted();
    let mut image = disk.0.borrow().bytes.clone();
    day(&mount(&disk));
    let journal = disk.0.borrow().journal.clone();
    assert!(journal.len() > 150, "{} writes", journal.len());
    let mut before: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (number, write) in journal.iter().enumerate() {
        apply(&mut image, write);
        before = whole(&image, &before, &format!("after write {number}"));
    }
}

/// A disk has its writes in whatever order it likes until it is flushed.
#[test]
fn power_may_fail_with_any_of_the_writes_since_the_last_flush() {
    let disk = RamDisk::formatted();
    let image = disk.0.borrow().bytes.clone();
    day(&mount(&disk));
    cut_between_flushes(&disk, image, 0, |_| {});
}

/// There the new name may be far from the old one, on the disk too.
#[test]
fn a_log_in_a_large_folder_gives_way_in_one_piece() {
    let disk = RamDisk::formatted();
    let volume = mount(&disk);
    let content: Vec<u8> = (0..9000)
        .flat_map(|n| format!("{n}\n").into_bytes())
        .collect();
    volume.append(LOG, &content).unwrap();
    for number in 0..600 {
        let path = format!("var/log/xen/console/guest-number-{number}.log");
        volume.append(&path, b"").unwrap();
    }
    volume.commit().unwrap();
    let (image, from) = {
        let ram = disk.0.borrow();
        (ram.bytes.clone(), ram.journal.len())
    };
    for round in 0..3 {
        volume.replace(LOG, OLD).unwrap();
        let files = check(&disk.0.borrow().bytes).unwrap();
        assert!(
            files[OLD] == content && !files.contains_key(LOG),
            "round {round}"
        );
        volume.append(LOG, &content).unwrap();
        volume.commit().unwrap();
    }
    cut_between_flushes(&disk, image, from, |files| {
        let whole = |path: &str| files.get(path).is_some_and(|found| *found == content);
        assert!(whole(LOG) || whole(OLD), "neither is whole");
    });
}

/// Looks for damage, and with `look`, after any of the writes from the `first` on, to `image`.
fn cut_between_flushes(
    disk: &RamDisk,
    mut image: Vec<u8>,
    first: usize,
    look: impl Fn(&BTreeMap<String, Vec<u8>>),
) {
    let (journal, flushes) = {
        let ram = disk.0.borrow();
        (ram.journal.clone(), ram.flushes.clone())
    };
    assert_eq!(
        flushes.last(),
        Some(&journal.len()),
        "the last writes are flushed"
    );
    let (mut before, mut from, mut random) = (BTreeMap::new(), first, 1_u32);
    for to in flushes.into_iter().skip_while(|to| *to <= first) {
        let group = &journal[from..to];
        for _ in 0..if group.len() > 1 { 3 } else { 0 } {
            let mut cut = image.clone();
            for write in group {
                // Numerical Recipes' generator; its high bits are good.
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if random >> 31 == 1 {
                    apply(&mut cut, write);
                }
            }
            let when = format!("some of the writes {from}..{to}");
            look(&whole(&cut, &before, &when));
        }
        for write in group {
            apply(&mut image, write);
        }
        before = whole(&image, &before, &format!("after write {to}"));
        look(&before);
        from = to;
    }
}

fn apply(image: &mut [u8], (sector, bytes): &(u64, Vec<u8>)) {
    let start = *sector as usize * 512;
    image[start..start + bytes.len()].copy_from_slice(bytes);
}

/// Looks for damage; gives the files. `before` is what there was.
fn whole(
    image: &[u8],
    before: &BTreeMap<String, Vec<u8>>,
    when: &str,
) -> BTreeMap<String, Vec<u8>> {
    let files = check(image).unwrap_or_else(|error| panic!("{when}: {error}"));
    for (path, content) in &files {
        let text = String::from_utf8(content.clone()).unwrap_or_default();
        assert!(
            content.is_empty() || text.ends_with('\n'),
            "{when} {path} has {} bytes of something",
            content.len()
        );
    }
    // A log that was there is still there, under its name or as the old one; only old ones go.
    for path in before.keys().filter(|path| path.ends_with(".log")) {
        assert!(
            files.contains_key(path) || files.contains_key(&format!("{path}.1")),
            "{when} {path} is gone"
        );
    }
    files
}

#[test]
fn after_a_power_cut_files_go_on_where_they_ended() {
    let disk = RamDisk::formatted();
    let volume = mount(&disk);
    volume.append(LOG, &[b'a'; 700]).unwrap();
    volume.commit().unwrap();
    let writes = disk.0.borrow().journal.len();
    let mut image = disk.0.borrow().bytes.clone();
    volume.append(LOG, &[b'b'; 3000]).unwrap();
    volume.commit().unwrap();
    // Everything but the last write, which is the folder's: the clusters are there, the size is the old one.
    let journal = disk.0.borrow().journal.clone();
    assert!(journal.len() > writes + 2);
    for (sector, bytes) in &journal[writes..journal.len() - 1] {
        let start = *sector as usize * 512;
        image[start..start + bytes.len()].copy_from_slice(bytes);
    }
    let cut = RamDisk::new(image);
    let volume = mount(&cut);
    assert_eq!(volume.read(LOG).unwrap(), [b'a'; 700]);
    volume.append(LOG, &[b'c'; 2000]).unwrap();
    volume.commit().unwrap();
    let files = check(&cut.0.borrow().bytes).unwrap();
    assert_eq!(files[LOG], [vec![b'a'; 700], vec![b'c'; 2000]].concat());
}

#[test]
fn writing_is_done_in_batches() {
    let disk = RamDisk::formatted();
    let volume = mount(&disk);
    volume.append(LOG, b"first\n").unwrap();
    volume.commit().unwrap();
    let before = disk.0.borrow().requests;
    for _ in 0..100 {
        volume.append(LOG, b"line\n").unwrap();
    }
    volume.commit().unwrap();
    let requests = disk.0.borrow().requests - before;
    assert!(requests <= 7, "{requests} requests for one batch");
}

#[test]
fn a_disk_that_fails_keeps_what_it_has() {
    let disk = RamDisk::formatted();
    let volume = mount(&disk);
    volume.append(LOG, b"first\n").unwrap();
    volume.commit().unwrap();
    disk.0.borrow_mut().fail = true;
    volume.append(LOG, b"second\n").unwrap();
    assert!(volume.commit().is_err() && volume.is_dirty());
    let files = check(&disk.0.borrow().bytes).unwrap();
    assert_eq!(files[LOG], b"first\n");
    disk.0.borrow_mut().fail = false;
    volume.commit().unwrap();
    let files = check(&disk.0.borrow().bytes).unwrap();
    assert_eq!(files[LOG], b"first\nsecond\n");
}

#[test]
fn a_full_disk_is_an_error_and_stays_whole() {
    let disk = RamDisk::formatted();
    let volume = mount(&disk);
    let chunk = vec![b'\n'; 1 << 20];
    let result = (0..40).try_for_each(|number| {
        volume.append(&format!("file{number}"), &chunk)?;
        volume.commit()
    });
    assert_eq!(result.unwrap_err().to_string(), "No space left on device");
    volume.commit().unwrap();
    check(&disk.0.borrow().bytes).unwrap();
}

#[test]
fn what_is_no_file_system_is_refused() {
    for fill in [0, 0xff] {
        let disk = RamDisk::new(vec![fill; 1 << 20]);
        assert!(Volume::mount(disk.boxed(), disk.sectors()).is_err());
    }
    assert!(Volume::mount(RamDisk::default().boxed(), 0).is_err());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]
    /// Damage anywhere in what describes the file system: errors, but no panic and no endless loop.
    #[test]
    fn damage_does_no_harm(places: Vec<(u16, u8)>) {
        let disk = RamDisk::formatted();
        let volume = mount(&disk);
        volume.append(LOG, &[b'a'; 5000]).unwrap();
        volume.commit().unwrap();
        // Boot sectors, the beginning of the table, and the first clusters.
        let table = 32 * 512;
        let clusters = table + 512 * 540;
        for (place, byte) in places {
            let place = usize::from(place);
            let at = match place % 3 {
                0 => place / 3 % 1024,
                1 => table + place / 3 % 256,
                _ => clusters + place / 3 % 8192,
            };
            disk.0.borrow_mut().bytes[at.min(SIZE - 1)] = byte;
        }
        if let Ok(volume) = Volume::mount(disk.boxed(), disk.sectors()) {
            let _ = volume.files();
            let _ = volume.read(LOG);
            let _ = volume.append(LOG, b"more");
            let _ = volume.replace(LOG, OLD);
            let _ = volume.commit();
        }
    }
}
