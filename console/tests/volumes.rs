//! Volumes: the partition table on a disk that may lose power at any moment.

mod gpt_disk;

use console::partitions::{ALIGNMENT, Table, TableError, WINDOW, size, store};
use gpt_disk::{SECTORS, Window, table, usual};
use gpt_disk_types::Guid;
use gptman::GPT;
use proptest::prelude::*;

const UNIQUE: Guid = Guid::from_bytes([7; 16]);

/// Everything that is to be wiped is.
fn wipe(table: &mut Table) {
    while let Some(place) = table.unwiped() {
        table.wiped(&place).unwrap();
    }
}

#[test]
fn volumes_are_made_grow_and_go() {
    let window = usual();
    let mut changed = table(&window);
    // The unaligned end of debian-root is in nobody's way.
    assert_eq!(changed.free(), [(16_384, SECTORS - 2048 - 16_384)]);
    changed.create("data", 20 * ALIGNMENT, UNIQUE).unwrap();
    changed.create("more", ALIGNMENT, UNIQUE).unwrap();
    wipe(&mut changed);
    store(&mut window.clone(), &changed).unwrap();
    let wanted = [
        ("bios", 34, 2014),
        ("microhv", 2048, 4096),
        ("debian-root", 6144, 10_000),
        ("data", 16_384, 40_960),
        ("more", 57_344, 2048),
    ]
    .map(|(name, first, sectors)| (name.to_string(), first, sectors));
    for primary in [true, false] {
        assert_eq!(window.copy(primary).as_deref(), Some(&wanted[..]));
    }
    // Everything that others wrote is kept.
    let gpt = GPT::find_from(&mut window.image.borrow().clone()).unwrap();
    assert_eq!(
        (gpt[2].attribute_bits, gpt[2].unique_partition_guid),
        (4, [2; 16])
    );
    assert_eq!(gpt.header.disk_guid, [0xd1; 16]);

    let mut changed = table(&window);
    assert_eq!(
        changed.resize("data", 21 * ALIGNMENT, false, UNIQUE),
        Err(TableError::NoSpace(20 * ALIGNMENT))
    );
    assert_eq!(
        changed.resize("data", 19 * ALIGNMENT, false, UNIQUE),
        Err(TableError::Shrinks)
    );
    changed.destroy("more").unwrap();
    changed
        .resize("data", 21 * ALIGNMENT, false, UNIQUE)
        .unwrap();
    wipe(&mut changed);
    changed
        .resize("debian-root", 5 * ALIGNMENT, false, UNIQUE)
        .unwrap_err();
    changed.resize("data", 3 * ALIGNMENT, true, UNIQUE).unwrap();
    let last = changed.partitions().pop().unwrap();
    assert_eq!(
        (last.name.as_str(), last.first, last.sectors),
        ("data", 16_384, 6144)
    );
}

#[test]
fn what_is_not_wiped_is_no_volume() {
    let window = usual();
    let mut changed = table(&window);
    changed.create("data", 2 * ALIGNMENT, UNIQUE).unwrap();
    let new = changed.unwiped().unwrap();
    assert_eq!(
        (new.name.as_str(), new.first, new.sectors),
        ("data", 16_384, 4096)
    );
    assert_eq!(changed.volume("data"), Err(TableError::Unwiped));
    let again = changed.create("data", ALIGNMENT, UNIQUE);
    assert_eq!(again, Err(TableError::Exists));
    let grown = changed.resize("data", 3 * ALIGNMENT, true, UNIQUE);
    assert_eq!(grown, Err(TableError::Unwiped));
    changed.wiped(&new).unwrap();
    assert_eq!(changed.wiped(&new), Err(TableError::Missing));
    let old = changed.volume("data").unwrap();
    assert_eq!(changed.unwiped(), None);
    // What it grows by is not its own yet.
    changed
        .resize("data", 5 * ALIGNMENT, false, UNIQUE)
        .unwrap();
    store(&mut window.clone(), &changed).unwrap();
    let mut changed = table(&window);
    assert_eq!(changed.volume("data").as_ref(), Ok(&old));
    let more = changed.unwiped().unwrap();
    assert_eq!(
        (more.name.as_str(), more.first, more.sectors),
        ("data", 20_480, 6144)
    );
    for sectors in [ALIGNMENT, 8 * ALIGNMENT] {
        let resized = changed.resize("data", sectors, true, UNIQUE);
        assert_eq!(resized, Err(TableError::Unwiped));
    }
    changed.wiped(&more).unwrap();
    assert_eq!(changed.volume("data").unwrap().sectors, 10_240);
    assert_eq!(changed.unwiped(), None);
    // It goes with what it was to grow by.
    changed
        .resize("data", 6 * ALIGNMENT, false, UNIQUE)
        .unwrap();
    changed.create("other", ALIGNMENT, UNIQUE).unwrap();
    changed.destroy("data").unwrap();
    let left: Vec<_> = changed.partitions().into_iter().skip(3).collect();
    assert_eq!(left.len(), 1);
    assert_eq!((left[0].name.as_str(), left[0].unwiped), ("other", true));
    changed.destroy("other").unwrap();
    assert_eq!(changed, table(&usual()));
}

#[test]
fn what_is_wrong_is_named() {
    let mut table = table(&usual());
    let mut create = |name: &str, sectors| table.create(name, sectors, UNIQUE);
    for name in ["", ".", "..", "-x", "a/b", "a b", "größer", &"x".repeat(37)] {
        assert_eq!(create(name, ALIGNMENT), Err(TableError::Name), "{name}");
    }
    assert_eq!(create("microhv", ALIGNMENT), Err(TableError::Exists));
    assert_eq!(create("x", 0), Err(TableError::Size));
    assert_eq!(
        create("x", SECTORS / ALIGNMENT * ALIGNMENT),
        Err(TableError::NoSpace(112_640))
    );
    for name in ["bios", "microhv"] {
        assert!(matches!(table.destroy(name), Err(TableError::Protected(_))));
        assert!(matches!(
            table.resize(name, ALIGNMENT, true, UNIQUE),
            Err(TableError::Protected(_))
        ));
    }
    assert_eq!(table.destroy("nothing"), Err(TableError::Missing));
    for number in 0.. {
        match table.create(&format!("v{number}"), ALIGNMENT, UNIQUE) {
            Ok(()) => assert!(number < 55),
            Err(error) => {
                assert_eq!(error, TableError::NoSpace(0));
                break;
            }
        }
    }
    for (text, sectors) in [
        ("20G", Ok(20 << 21)),
        ("1", Ok(2048)),
        ("1048577", Ok(4096)),
        ("512k", Ok(2048)),
        ("3MiB", Ok(6144)),
        ("1T", Ok(1 << 31)),
        ("", Err(TableError::Size)),
        ("0", Err(TableError::Size)),
        ("G", Err(TableError::Size)),
        ("-1G", Err(TableError::Size)),
        ("1.5G", Err(TableError::Size)),
        ("5X", Err(TableError::Size)),
        ("99999999999999999999", Err(TableError::Size)),
        ("18446744073709551615T", Err(TableError::Size)),
    ] {
        assert_eq!(size(text), sectors, "{text}");
    }
}

#[test]
fn a_disk_that_has_grown_has_its_backup_at_the_end_again() {
    let window = usual();
    let mut image = window.image.borrow().clone();
    image.sectors *= 2;
    let window = Window::over(image);
    assert!(
        window
            .open()
            .unwrap()
            .mended
            .unwrap()
            .contains("not at the disk's end")
    );
    assert_eq!(window.copy(true), window.copy(false));
    assert_eq!(
        table(&window).free(),
        [(16_384, 2 * SECTORS - 2048 - 16_384)]
    );
}

#[test]
fn tables_that_are_not_understood_are_left_alone() {
    for (at, error) in [
        (512, "no GUID partition table"),
        (512 + 24, "bad header checksum"),
    ] {
        let window = usual();
        let mut image = window.image.borrow_mut();
        image.change(at, |byte| byte ^ 1);
        image.change((SECTORS - 1) * 512, |byte| byte ^ 1);
        let before = image.clone();
        drop(image);
        let said = window.open().unwrap_err().to_string();
        assert!(said.contains(error), "{said}");
        assert!(*window.image.borrow() == before, "it was written to");
    }
}

/// As `sgdisk -j` leaves it: the entries are not behind the header. All sums are right.
#[test]
fn a_table_that_is_meant_to_be_unusual_is_left_alone() {
    let window = usual();
    {
        let mut image = window.image.borrow_mut();
        let mut header = image.sector(1);
        header[72] = 40;
        header[16..20].fill(0);
        let sum = !header[..92].iter().fold(!0_u32, |sum, byte| {
            (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
                (sum >> 1) ^ ((sum & 1) * 0xedb8_8320)
            })
        });
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        image.written.insert(1, header);
    }
    let before = window.image.borrow().clone();
    let said = window.open().unwrap_err().to_string();
    assert!(said.contains("bad position"), "{said}");
    assert!(*window.image.borrow() == before, "it was written to");
}

/// The power fails after any sector, in any of two orders: the table is the old or the new one, and whole again at once.
#[test]
fn power_may_fail_between_any_two_sectors() {
    let window = usual();
    let before = window.image.borrow().clone();
    let old = table(&window);
    let mut new = old.clone();
    new.create("data", 20 * ALIGNMENT, UNIQUE).unwrap();
    new.destroy("debian-root").unwrap();
    store(&mut window.clone(), &new).unwrap();
    let journal = window.journal.borrow().clone();
    assert!(journal.iter().flatten().count() == 66);
    for backwards in [false, true] {
        let writes: Vec<_> = journal
            .iter()
            .flat_map(|group| {
                let mut group = group.clone();
                if backwards {
                    group.reverse();
                }
                group
            })
            .collect();
        for cut in 0..=writes.len() {
            let mut image = before.clone();
            for (at, bytes) in &writes[..cut] {
                image.written.insert(*at, bytes.clone());
            }
            let window = Window::over(image);
            let opened = window.open().unwrap();
            let done = opened.table == new;
            assert!(done || opened.table == old, "{cut}");
            assert!(done || cut < 66, "{cut}: all was written");
            assert_eq!(window.copy(true), window.copy(false), "{cut}");
            assert_eq!(table(&window), opened.table, "{cut}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    /// Whatever is done: partitions keep apart, within the disk, and both copies say the same.
    #[test]
    fn volumes_keep_apart(
        steps in prop::collection::vec((0..5u8, 0..6u8, 1..20u64), 1..40),
    ) {
        let window = usual();
        for (what, name, size) in steps {
            let mut changed = table(&window);
            let name = format!("v{name}");
            let sectors = size * ALIGNMENT;
            let _ = match what {
                0 | 1 => changed.create(&name, sectors, UNIQUE),
                2 => changed.resize(&name, sectors, size % 2 == 0, UNIQUE),
                3 => changed.unwiped().map_or(Ok(()), |place| changed.wiped(&place)),
                _ => changed.destroy(&name),
            };
            store(&mut window.clone(), &changed).unwrap();
            let mut used: Vec<_> = changed.partitions().iter().map(|p| (p.first, p.sectors)).collect();
            used.extend(changed.free());
            used.sort_unstable();
            prop_assert!(used.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0));
            prop_assert!(used.iter().all(|(first, sectors)| *first >= 34 && first + sectors <= SECTORS - 33));
            prop_assert_eq!(window.copy(true), window.copy(false));
        }
    }

    /// Any bytes in place of any of the table's: an answer.
    #[test]
    fn any_table_is_survived(
        noise in prop::collection::vec((0..WINDOW * 512, any::<u8>()), 1..30),
    ) {
        let window = usual();
        for (place, byte) in noise {
            let at = window.at(place / 512) * 512 + place % 512;
            window.image.borrow_mut().change(at, |_| byte);
        }
        if let Ok(opened) = window.open() {
            prop_assert_eq!(opened.table.partitions().len(), 3);
            prop_assert_eq!(window.copy(true), window.copy(false));
        }
    }
}
