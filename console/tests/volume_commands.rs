//! `volume create`, `list`, `resize` and `destroy`, and that nobody gets what was on a volume's sectors before.

mod gpt_disk;
mod machine;
mod ramdisk;
mod typing;

use std::ops::Range;

use console::app::App;
use console::archive::Archive;
use console::partitions::WINDOW;
use gpt_disk::{SECTORS, Sparse, Window, usual};
use machine::Pretend;
use ramdisk::RamDisk;
use typing::{CFG, archive, type_line};

/// The next disk that Domain-0 asks for is that part of the machine's.
fn lend(app: &mut App<'_, Pretend>, window: &Window, first: u64, sectors: u64) {
    let part = Box::new(window.part(first, sectors));
    app.host.disks.push_back((part, sectors));
}

/// Domain-0 with an open partition table.
fn booted<'a>(archive: &'a [u8], window: &Window) -> App<'a, Pretend> {
    let mut host = Pretend::new();
    host.whole = SECTORS;
    let options = "prompt_status console_log=1";
    let mut app = App::new(host, Archive::new(archive), options);
    app.start();
    app.host.seen();
    app.host.disks.push_back((Box::new(window.clone()), WINDOW));
    app
}

/// What was wiped is no disk of Domain-0's any more.
fn assert_detached(app: &App<'_, Pretend>) {
    let mut left = app.host.store.keys();
    assert_eq!(left.find(|key| key.contains("/vbd/0/51760")), None);
}

/// Somebody's data in these sectors.
fn scribble(window: &Window, sectors: Range<u64>) {
    let mut image = window.image.borrow_mut();
    image
        .written
        .extend(sectors.map(|sector| (sector, vec![0xee; 512])));
}

/// How many of these sectors are not zeros.
fn old(image: &Sparse, sectors: Range<u64>) -> usize {
    let written = image.written.range(sectors);
    written
        .filter(|(_, bytes)| bytes.iter().any(|byte| *byte != 0))
        .count()
}

/// Sectors of the volume of that name, as blkback would find it in a copy.
fn volume(window: &Window, primary: bool, name: &str) -> Range<u64> {
    let copy = window.copy(primary).unwrap();
    let found = copy.iter().find(|found| found.0 == name);
    found.map_or(0..0, |(_, first, sectors)| *first..first + sectors)
}

/// Whatever has reached the disk when the power fails: what is a volume is wiped, but for what was that volume's before.
fn always_wiped(before: &Sparse, window: &Window, name: &str, own: &Range<u64>) {
    let view = Window::over(before.clone());
    for group in window.journal.borrow().iter() {
        // The worst order: of what was written between two flushes only the table came.
        let (table, rest): (Vec<_>, Vec<_>) = group
            .iter()
            .partition(|(at, _)| *at < 34 || *at > SECTORS - 34);
        for writes in [table, rest] {
            let mut image = view.image.borrow_mut();
            image.written.extend(writes.into_iter().cloned());
            drop(image);
            for primary in [true, false] {
                // Torn copies are nobody's.
                let Some(_) = view.copy(primary) else {
                    continue;
                };
                let volume = volume(&view, primary, name);
                let new = volume.start.max(own.end)..volume.end.max(own.end);
                assert_eq!(old(&view.image.borrow(), new), 0);
            }
        }
    }
}

#[test]
fn what_was_on_its_sectors_is_gone_when_a_volume_is_there() {
    let archive = archive(CFG);
    let window = usual();
    scribble(&window, 16_000..30_000);
    let before = window.image.borrow().clone();
    let mut app = booted(&archive, &window);
    lend(&mut app, &window, 16_384, 8192);
    let created = type_line(&mut app, "volume create -V 4M data");
    assert_eq!(created, (String::new(), 0));
    assert_eq!(volume(&window, true, "data"), 16_384..24_576);
    let image = window.image.borrow().clone();
    assert_eq!(old(&image, 16_384..24_576), 0);
    // Not a sector more.
    assert_eq!(old(&image, 16_000..30_000), 14_000 - 8192);
    always_wiped(&before, &window, "data", &(0..0));
    // It grows, and keeps what is its own.
    scribble(&window, 20_000..20_010);
    let before = window.image.borrow().clone();
    window.journal.borrow_mut().clear();
    window.journal.borrow_mut().push(Vec::new());
    lend(&mut app, &window, 24_576, 4096);
    let grown = type_line(&mut app, "volume resize -V 6M data");
    assert_eq!(grown, (String::new(), 0));
    assert_eq!(volume(&window, true, "data"), 16_384..28_672);
    let image = window.image.borrow().clone();
    assert_eq!(old(&image, 16_384..28_672), 10);
    assert_eq!(old(&image, 28_672..30_000), 30_000 - 28_672);
    always_wiped(&before, &window, "data", &(16_384..24_576));
    // It grows by what it lost.
    assert_eq!(type_line(&mut app, "volume resize -f -V 1M data").1, 0);
    lend(&mut app, &window, 18_432, 2048);
    assert_eq!(type_line(&mut app, "volume resize -V 2M data").1, 0);
    assert_eq!(
        old(&window.image.borrow(), volume(&window, true, "data")),
        0
    );
    assert_detached(&app);
}

#[test]
fn domain_0_goes_on_while_a_volume_is_wiped_and_so_does_the_wiping_after_a_power_cut() {
    let archive = archive(CFG);
    let window = usual();
    scribble(&window, 16_384..40_000);
    let mut app = booted(&archive, &window);
    assert_eq!(type_line(&mut app, "xl create /etc/xen/debian.cfg").1, 0);
    lend(&mut app, &window, 16_384, 20_480);
    // With Ctrl-C.
    app.host.typed = b"volume create -V 10M data\r\x03".to_vec();
    app.turn();
    let seen = app.host.seen();
    let said = "it goes on meanwhile: volume list says how far it is\n[1]Domain-0# ";
    assert!(seen.ends_with(said), "{seen}");
    let (said, _) = type_line(&mut app, "volume list");
    let row = |said: &str| {
        said.lines()
            .find(|line| line.starts_with("data "))
            .map(String::from)
    };
    let listed = row(&said).unwrap();
    assert!(
        listed.contains("10M  (is being wiped: ") && !listed.contains("100%"),
        "{listed}"
    );
    for line in ["one", "two"] {
        app.host.says(5, &format!("{line}\n"));
        app.turn();
        let seen = app.host.seen();
        assert!(seen.contains(&format!("(debian) {line}")), "{seen}");
        assert!(!seen.contains("were wiped"), "{seen}");
    }
    assert!(volume(&window, true, "data").is_empty());

    // The power fails. Without files on a disk Domain-0 leaves that alone until somebody asks.
    drop(app);
    let mut app = booted(&archive, &window);
    let before = window.image.borrow().clone();
    (0..10).for_each(|_| app.turn());
    assert!(*window.image.borrow() == before);
    // With them it goes on at boot; first it looks.
    drop(app);
    let files = RamDisk::formatted();
    let mut host = Pretend::new();
    host.whole = SECTORS;
    host.disks.push_back((files.boxed(), files.sectors()));
    host.disks.push_back((Box::new(window.clone()), WINDOW));
    let part = window.part(16_384, 20_480);
    host.disks.push_back((Box::new(part), 20_480));
    let mut app = App::new(host, Archive::new(&archive), "prompt_status");
    app.start();
    let seen = app.host.seen();
    let said = "Domain-0# \nvolume data: the wiping goes on\n";
    assert!(seen.ends_with(said), "{seen}");
    let listed = row(&type_line(&mut app, "volume list").0).unwrap();
    assert!(listed.contains("10M  (is being wiped: "), "{listed}");
    while volume(&window, true, "data").is_empty() {
        app.turn();
    }
    let seen = app.host.seen();
    assert!(
        seen.contains("volume data: 20480 sectors were wiped"),
        "{seen}"
    );
    assert_eq!(old(&window.image.borrow(), 16_384..36_864), 0);
    let listed = row(&type_line(&mut app, "volume list").0).unwrap();
    assert!(listed.ends_with("10M  -"), "{listed}");
    let (log, _) = type_line(&mut app, "cat /var/log/xen/hypervisor.log");
    assert!(log.contains("volume data: the wiping goes on"), "{log}");
    assert_detached(&app);
}

#[test]
fn where_nothing_is_to_be_wiped_the_table_is_read_at_boot_and_left_as_it_is() {
    let archive = archive(CFG);
    let window = usual();
    // Mended when somebody asks for volumes, and not before.
    window.image.borrow_mut().change(512 + 16, |byte| byte ^ 1);
    let before = window.image.borrow().clone();
    let files = RamDisk::formatted();
    let mut host = Pretend::new();
    host.whole = SECTORS;
    host.disks.push_back((files.boxed(), files.sectors()));
    host.disks.push_back((Box::new(window.clone()), WINDOW));
    let mut app = App::new(host, Archive::new(&archive), "prompt_status");
    app.start();
    let seen = app.host.seen();
    assert!(!seen.contains("wip"), "{seen}");
    assert!(*window.image.borrow() == before && app.host.disks.is_empty());
    let mut left = app.host.store.keys();
    assert_eq!(left.find(|key| key.contains("/vbd/0/51744")), None);
}

#[test]
fn a_volume_that_cannot_be_wiped_is_none_and_can_be_destroyed() {
    let archive = archive(CFG);
    let window = usual();
    let mut app = booted(&archive, &window);
    let (said, status) = type_line(&mut app, "volume create -V 10M data");
    assert!(
        said.starts_with("volume data is not wiped, and nobody's until it is: "),
        "{said}"
    );
    assert_eq!(status, 1);
    let (said, status) = type_line(&mut app, "volume list");
    assert!(said.contains("10M  (not wiped yet)"), "{said}");
    assert_eq!(status, 0);
    // Another disk than it should be.
    lend(&mut app, &window, 16_384, 20_479);
    let (said, _) = type_line(&mut app, "volume list");
    assert!(said.contains("20479 sectors instead of 20480"), "{said}");
    // It goes while it is being wiped.
    lend(&mut app, &window, 16_384, 20_480);
    let (said, _) = type_line(&mut app, "volume list");
    assert!(said.contains("(is being wiped: 0%)"), "{said}");
    let destroyed = type_line(&mut app, "volume destroy data");
    assert_eq!(destroyed, (String::new(), 0));
    let (said, _) = type_line(&mut app, "volume list");
    assert!(!said.contains("data"), "{said}");
    assert_detached(&app);
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
    lend(&mut app, &window, 16_384, 40_960);
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
    lend(&mut app, &window, 57_344, 2048);
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
