//! Volumes: the partition table on a disk that may lose power at any moment, and the commands for it.

mod machine;
mod typing;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom, Write};
use std::rc::Rc;

use console::app::App;
use console::archive::Archive;
use console::host::{Disk, DiskError};
use console::partitions::{ALIGNMENT, Opened, Table, TableError, WINDOW, open, size, store};
use gpt_disk_types::Guid;
use gptman::{GPT, GPTPartitionEntry};
use machine::Pretend;
use proptest::prelude::*;
use typing::{CFG, archive, type_line};

/// 64 MiB.
const SECTORS: u64 = 131_072;
const UNIQUE: Guid = Guid::from_bytes([7; 16]);

/// What reached the disk: groups of writes, each ended by a flush.
type Journal = Vec<Vec<(u64, Vec<u8>)>>;

/// A disk of which only the sectors that were written are kept.
#[derive(Clone, Default, PartialEq)]
struct Sparse {
    sectors: u64,
    written: BTreeMap<u64, Vec<u8>>,
    position: u64,
}

impl Sparse {
    fn sector(&self, sector: u64) -> Vec<u8> {
        let written = self.written.get(&sector);
        written.cloned().unwrap_or_else(|| vec![0; 512])
    }

    /// Changes the byte at `at`.
    fn change(&mut self, at: u64, how: impl FnOnce(u8) -> u8) {
        let mut sector = self.sector(at / 512);
        let byte = &mut sector[(at % 512) as usize];
        *byte = how(*byte);
        self.written.insert(at / 512, sector);
    }
}

impl Read for Sparse {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        for byte in into.iter_mut() {
            *byte = self.sector(self.position / 512)[(self.position % 512) as usize];
            self.position += 1;
        }
        Ok(into.len())
    }
}

impl Write for Sparse {
    fn write(&mut self, from: &[u8]) -> std::io::Result<usize> {
        for &byte in from {
            self.change(self.position, |_| byte);
            self.position += 1;
        }
        Ok(from.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Seek for Sparse {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.position = match to {
            SeekFrom::Start(place) => place,
            SeekFrom::Current(by) => self.position.strict_add_signed(by),
            SeekFrom::End(by) => (self.sectors * 512).strict_add_signed(by),
        };
        Ok(self.position)
    }
}

/// A disk, seen through the window on its table.
#[derive(Clone)]
struct Window {
    image: Rc<RefCell<Sparse>>,
    journal: Rc<RefCell<Journal>>,
}

impl Window {
    /// A disk with `partitions`: type, first sector, sectors, name.
    fn new(partitions: &[(u8, u64, u64, &str)]) -> Self {
        let mut image = Sparse {
            sectors: SECTORS,
            ..Sparse::default()
        };
        let mut gpt = GPT::new_from(&mut image, 512, [0xd1; 16]).unwrap();
        for (index, (kind, first, sectors, name)) in (1..).zip(partitions) {
            gpt[index] = GPTPartitionEntry {
                partition_type_guid: match kind {
                    b'e' => *b"\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b",
                    b'b' => *b"Hah!IdontNeedEFI",
                    _ => *b"\xaf\x3d\xc6\x0f\x83\x84\x72\x47\x8e\x79\x3d\x69\xd8\x47\x7d\xe4",
                },
                unique_partition_guid: [index as u8; 16],
                starting_lba: *first,
                ending_lba: first + sectors - 1,
                attribute_bits: 4,
                partition_name: (*name).into(),
            };
        }
        gpt.write_into(&mut image).unwrap();
        Self::over(image)
    }

    fn over(image: Sparse) -> Self {
        Self {
            image: Rc::new(RefCell::new(image)),
            journal: Rc::new(RefCell::new(vec![vec![]])),
        }
    }

    /// Where on the disk a sector of the window is.
    fn at(&self, sector: u64) -> u64 {
        assert!(sector < WINDOW);
        match sector {
            0..33 => sector + 1,
            _ => self.image.borrow().sectors - WINDOW + sector,
        }
    }

    fn open(&self) -> Result<Opened, TableError> {
        let sectors = self.image.borrow().sectors;
        open(&mut self.clone(), sectors)
    }

    /// Names, first sectors and sectors, as another implementation reads them from one copy.
    fn copy(&self, primary: bool) -> Option<Vec<(String, u64, u64)>> {
        let mut image = self.image.borrow().clone();
        let other = if primary { image.sectors - 1 } else { 1 };
        image.written.remove(&other);
        let gpt = GPT::find_from(&mut image).ok()?;
        let used = gpt.iter().filter(|(_, entry)| entry.is_used());
        Some(
            used.map(|(_, entry)| {
                (
                    entry.partition_name.as_str().to_string(),
                    entry.starting_lba,
                    entry.size().unwrap(),
                )
            })
            .collect(),
        )
    }
}

impl Disk for Window {
    fn read(&mut self, sector: u64, into: &mut [u8]) -> Result<(), DiskError> {
        for (sector, into) in (sector..).zip(into.chunks_mut(512)) {
            let at = self.at(sector);
            into.copy_from_slice(&self.image.borrow().sector(at));
        }
        Ok(())
    }

    fn write(&mut self, writes: &[(u64, &[u8])]) -> Result<(), DiskError> {
        for (sector, bytes) in writes {
            for (sector, bytes) in (*sector..).zip(bytes.chunks(512)) {
                let at = self.at(sector);
                let written = &mut self.image.borrow_mut().written;
                written.insert(at, bytes.to_vec());
                let mut journal = self.journal.borrow_mut();
                journal.last_mut().unwrap().push((at, bytes.to_vec()));
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        self.journal.borrow_mut().push(vec![]);
        Ok(())
    }
}

fn usual() -> Window {
    Window::new(&[
        (b'b', 34, 2014, "bios"),
        (b'e', 2048, 4096, "microhv"),
        (b'l', 6144, 10_000, "debian-root"),
    ])
}

fn table(window: &Window) -> Table {
    let opened = window.open().unwrap();
    assert_eq!(opened.mended, None);
    opened.table
}

#[test]
fn volumes_are_made_grow_and_go() {
    let window = usual();
    let mut changed = table(&window);
    // The unaligned end of debian-root is in nobody's way.
    assert_eq!(changed.free(), [(16_384, SECTORS - 2048 - 16_384)]);
    changed.create("data", 20 * ALIGNMENT, UNIQUE).unwrap();
    changed.create("more", ALIGNMENT, UNIQUE).unwrap();
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
        changed.resize("data", 21 * ALIGNMENT, false),
        Err(TableError::NoSpace(20 * ALIGNMENT))
    );
    assert_eq!(
        changed.resize("data", 19 * ALIGNMENT, false),
        Err(TableError::Shrinks)
    );
    changed.destroy("more").unwrap();
    changed.resize("data", 21 * ALIGNMENT, false).unwrap();
    changed
        .resize("debian-root", 5 * ALIGNMENT, false)
        .unwrap_err();
    changed.resize("data", 3 * ALIGNMENT, true).unwrap();
    let last = changed.partitions().pop().unwrap();
    assert_eq!(
        (last.name.as_str(), last.first, last.sectors),
        ("data", 16_384, 6144)
    );
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
            table.resize(name, ALIGNMENT, true),
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
        steps in prop::collection::vec((0..4u8, 0..6u8, 1..20u64), 1..40),
    ) {
        let window = usual();
        for (what, name, size) in steps {
            let mut changed = table(&window);
            let name = format!("v{name}");
            let sectors = size * ALIGNMENT;
            let _ = match what {
                0 | 1 => changed.create(&name, sectors, UNIQUE),
                2 => changed.resize(&name, sectors, size % 2 == 0),
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

#[test]
fn the_operators_commands() {
    let archive = archive(CFG);
    let window = usual();
    let mut host = Pretend::new();
    host.whole = SECTORS;
    let mut app = App::new(host, Archive::new(&archive), "prompt_status");
    app.start();
    app.host.seen();
    let (said, status) = type_line(&mut app, "volume list");
    assert!(said.starts_with("cannot list volumes: "), "{said}");
    assert_eq!(status, 1);
    app.host.disks.push_back((Box::new(window.clone()), WINDOW));
    assert_eq!(
        type_line(&mut app, "volume create -V 20M data"),
        (String::new(), 0)
    );
    assert_eq!(type_line(&mut app, "xl create /etc/xen/debian.cfg").1, 0);
    let (said, status) = type_line(&mut app, "xl volume list");
    assert_eq!(
        (said.as_str(), status),
        (
            "NAME                                     SIZE  USED BY\n\
             bios                                       0M  (GRUB's BIOS boot partition)\n\
             microhv                                    2M  (Domain-0's files)\n\
             debian-root                                4M  debian\n\
             data                                      20M  -\n\
             35M free, 35M in one piece",
            0
        )
    );
    let attach = "xl block-attach debian /dev/vd0p04,raw,xvdb,rw";
    assert_eq!(type_line(&mut app, attach).1, 0);
    for (line, text, code) in [
        (
            "volume create -V 20M data",
            "cannot create 'data': volume already exists",
            1,
        ),
        (
            "volume create -V 20G big",
            "cannot create 'big': out of space: there is room for 35 MiB",
            1,
        ),
        (
            "volume create -V much big",
            "cannot create 'big': invalid size: a number with K, M, G or T behind it",
            1,
        ),
        (
            "volume destroy data",
            "cannot destroy 'data': volume is busy: debian has it",
            1,
        ),
        (
            "volume resize -V 1M -f debian-root",
            "cannot resize 'debian-root': volume is busy: debian has it",
            1,
        ),
        (
            "volume destroy microhv",
            "cannot destroy 'microhv': it is no volume, but Domain-0's files",
            1,
        ),
        (
            "volume destroy bios",
            "cannot destroy 'bios': it is no volume, but GRUB's BIOS boot partition",
            1,
        ),
        (
            "volume destroy nothing",
            "cannot destroy 'nothing': volume does not exist",
            1,
        ),
    ] {
        let (said, status) = type_line(&mut app, line);
        assert_eq!((said.as_str(), status), (text, code), "{line}");
    }
    for line in [
        "volume create data",
        "volume destroy -V 1G data",
        "volume frob",
        "volume list data",
    ] {
        let (said, status) = type_line(&mut app, line);
        assert!(
            said.starts_with("usage: volume create -V SIZE NAME"),
            "{said}"
        );
        assert_eq!(status, 2, "{line}");
    }
    assert_eq!(type_line(&mut app, "xl block-detach debian xvdb").1, 0);
    assert_eq!(
        type_line(&mut app, "volume resize -V 21M data"),
        (String::new(), 0)
    );
    assert_eq!(
        type_line(&mut app, "volume destroy data"),
        (String::new(), 0)
    );
    // A torn copy is mended, which is said.
    window.image.borrow_mut().change(512 + 16, |byte| byte ^ 1);
    let (said, _) = type_line(&mut app, "volume list");
    assert!(
        said.starts_with("the primary partition table was damaged: it was made anew"),
        "{said}"
    );
    assert_eq!(window.copy(true), window.copy(false));
}
