//! Guests that boot from their own disks: what `xl create` does about it, from the disk to the guest.

mod machine;
#[path = "../../lib/ext4/tests/mke2fs/mod.rs"]
mod mke2fs;
mod ramdisk;
mod typing;

use std::collections::BTreeMap;

use console::app::App;
use machine::{Pretend, kernel};
use ramdisk::RamDisk;
use typing::{archive, booted, bzimage, lz4, type_line};

const CFG: &str = r#"
name = "own"
type = "pvh"
bootloader = "pygrub"
extra = "console=hvc0"
memory = 256
disk = [ '/dev/gpt/own-root,raw,xvda,rw' ]
"#;

const GRUB: &str = "set default=1\nmenuentry 'one' { linux /boot/vmlinuz-1 from=one }\n\
                    menuentry 'two' { linux /boot/vmlinuz-2 from=two; initrd /boot/early /boot/initrd.img-2 }\n";

/// An ext4 file system with these files.
fn file_system(files: &[(&str, &[u8])]) -> Vec<u8> {
    mke2fs::image("8M", &["-t", "ext4"], |tree| {
        for (path, bytes) in files {
            mke2fs::write(tree, path, bytes);
        }
    })
}

/// Nodes of the store that were not there before.
fn left(app: &App<'_, Pretend>, before: &BTreeMap<String, String>) -> Vec<String> {
    let nodes = app.host.store.keys();
    nodes
        .filter(|path| !before.contains_key(*path))
        .cloned()
        .collect()
}

fn debian(grub: &str) -> Vec<u8> {
    let packed = bzimage(&lz4(&kernel()));
    file_system(&[
        ("boot/grub/grub.cfg", grub.as_bytes()),
        ("boot/vmlinuz-1", &kernel()),
        ("boot/vmlinuz-2", &packed),
        ("boot/early", b"early"),
        ("boot/initrd.img-2", &vec![7; 5000]),
        ("boot/bad", &bzimage(b"rubbish")),
        ("boot/text", b"text"),
    ])
}

/// Puts the disk where the next one that asks gets it, and creates the guest.
fn create(app: &mut App<'_, Pretend>, disk: &RamDisk, more: &str) -> (String, i32) {
    app.host.disks.push_back((disk.boxed(), disk.sectors()));
    type_line(app, &format!("xl create /etc/xen/debian.cfg {more}"))
}

#[test]
fn the_default_entry_boots_and_the_disk_is_the_guests_again() {
    let archive = archive(CFG);
    let mut app = booted(&archive);
    let disk = RamDisk::new(debian(GRUB));
    let (said, status) = create(&mut app, &disk, "");
    assert_eq!(status, 0, "{said}");
    let domain = &app.host.domains[&5];
    // The kernel's code, and behind everything else both RAM disks, each at a multiple of 4.
    assert_eq!(domain.written[&0x100_0000], 4);
    let ramdisk: usize = domain.written.values().filter(|&&size| size > 4000).sum();
    assert_eq!(ramdisk, 5008 - 8);
    let store = &app.host.store;
    let own: Vec<_> = store
        .keys()
        .filter(|path| path.contains("vbd/0/51728"))
        .collect();
    assert!(own.is_empty(), "{own:?}");
    assert!(
        !store
            .keys()
            .any(|path| path.starts_with("/local/domain/0/device/vbd/51728"))
    );
    assert_eq!(store["/local/domain/3/backend/vbd/5/51712/mode"], "w");
    let (log, _) = type_line(&mut app, "cat /var/log/xen/xl-own.log");
    assert!(
        log.contains(
            "bootloader: /boot/grub/grub.cfg on xvda: \"two\": kernel /boot/vmlinuz-2, ramdisk /boot/early /boot/initrd.img-2, \
             command line \"from=two console=hvc0\""
        ),
        "{log}"
    );
}

#[test]
fn another_entry_may_be_asked_for() {
    let archive = archive(CFG);
    for (entry, found) in [("0", "\"one\""), ("one", "\"one\""), ("two", "\"two\"")] {
        let mut app = booted(&archive);
        let more = format!("'bootloader_args=[\"--entry={entry}\"]'");
        let (said, status) = create(&mut app, &RamDisk::new(debian(GRUB)), &more);
        assert_eq!(status, 0, "{said}");
        let (log, _) = type_line(&mut app, "cat /var/log/xen/xl-own.log");
        assert!(log.contains(found), "{log}");
    }
}

#[test]
fn what_is_wrong_is_named_and_nothing_is_left() {
    let archive = archive(CFG);
    let with = |path: &str| debian(&format!("menuentry x {{ linux {path} }}"));
    let disk = "own: bootloader: disk xvda (/dev/gpt/own-root): ";
    let mut damaged = debian(GRUB);
    damaged[1024 + 0x18] = 77;
    let cases: [(Vec<u8>, &str, String); 11] = [
        (vec![0; 1 << 20], "", format!("{disk}no ext4 file system, neither on the whole disk nor in a partition")),
        (file_system(&[("etc/passwd", b"")]), "", format!("{disk}no kernel in /boot or / of xvda")),
        (damaged, "", format!("{disk}xvda: damaged ext4 file system: bad block size")),
        (with("/boot/none"), "", format!("{disk}xvda: /boot/grub/grub.cfg: /boot/none: No such file or directory")),
        (with("/boot/bad"), "", "own: kernel /boot/bad: unknown compression, its first bytes are [72, 75, 62, 62, 69, 73]".into()),
        (with("/boot/text"), "", "own: kernel /boot/text: neither a bzImage nor an ELF file".into()),
        (debian(GRUB), "'bootloader_args=[\"--entry=9\"]'", format!("{disk}xvda: /boot/grub/grub.cfg: no entry \"9\" among its 2")),
        (debian(GRUB), "'bootloader_args=[\"--wrong\"]'", "own: bootloader_args: \"--wrong\" is not there, only \"--entry=NUMBER\" and \"--entry=TITLE\"".into()),
        (debian(GRUB), "'bootloader=\"grub\"'", "own: there is no bootloader \"grub\", only \"pygrub\"".into()),
        (debian(GRUB), "'disk=[]'", "own: bootloader: the guest has no disk".into()),
        (debian(GRUB), "'memory=17'", "own: kernel and modules need".into()),
    ];
    for (bytes, more, reason) in cases {
        let mut app = booted(&archive);
        let (nodes, free) = (app.host.store.clone(), app.host.free_pages);
        let (said, status) = create(&mut app, &RamDisk::new(bytes), more);
        assert!(said.contains(&reason), "want {reason}, got {said}");
        assert_eq!(status, 3, "{said}");
        assert!(!app.host.domains.contains_key(&5));
        let left = left(&app, &nodes);
        assert!(left.is_empty(), "{said}: {left:?}");
        assert_eq!(app.host.free_pages, free);
        assert!(app.host.watches.is_empty());
    }
}

#[test]
fn a_guest_that_reboots_meanwhile_waits_for_the_disks_place() {
    let archive = archive(CFG);
    let mut app = booted(&archive);
    let more = "'name=\"first\"' 'disk=[\"/dev/gpt/first,raw,xvda,rw\"]'";
    let (said, status) = create(&mut app, &RamDisk::new(debian(GRUB)), more);
    assert_eq!(status, 0, "{said}");
    app.host.now += 5_000_000_000;
    app.host.reboots_at_offer = Some(5);
    let disk = RamDisk::new(debian(GRUB));
    app.host.disks.push_back((disk.boxed(), disk.sectors()));
    // The second one's disk, then the first one's when it is its turn.
    let (said, status) = create(&mut app, &RamDisk::new(debian(GRUB)), "");
    assert_eq!(status, 0, "{said}");
    assert_eq!(type_line(&mut app, "xl domid own"), ("6".into(), 0));
    // Made anew, with the number that is free.
    assert_eq!(type_line(&mut app, "xl domid first"), ("5".into(), 0));
    assert!(app.host.disks.is_empty());
}

#[test]
fn a_disk_that_is_never_done_with_is_given_up() {
    let archive = archive(CFG);
    // Each condition reads the folder's block and its inode again.
    let with = |count: usize| {
        let text = "if [ -f /x ]; then fi\n".repeat(count);
        RamDisk::new(debian(&(text + "menuentry x { linux /boot/vmlinuz-1 }")))
    };
    let mut app = booted(&archive);
    let (said, status) = create(&mut app, &with(1000), "");
    assert_eq!(status, 0, "{said}");
    let mut app = booted(&archive);
    let (said, status) = create(&mut app, &with(11_000), "");
    assert!(
        said.contains("looking for a kernel takes more than 64 MiB"),
        "{said}"
    );
    assert_eq!(status, 3, "{said}");
}

#[test]
fn a_disk_that_fails_at_any_moment_leaves_nothing() {
    let archive = archive(CFG);
    let bytes = debian(GRUB);
    let mut failed = 0;
    for good in (0..400).step_by(3) {
        let mut app = booted(&archive);
        let nodes = app.host.store.clone();
        let disk = RamDisk::new(bytes.clone());
        disk.0.borrow_mut().reads_left = Some(good);
        let (said, status) = create(&mut app, &disk, "");
        if status == 0 {
            break;
        }
        failed += 1;
        assert!(said.contains("input/output error"), "{said}");
        assert!(!app.host.domains.contains_key(&5));
        let left = left(&app, &nodes);
        assert!(left.is_empty(), "{left:?}");
    }
    assert!(failed > 5, "{failed}");
}

#[test]
fn a_backend_that_refuses_is_quoted() {
    let archive = archive(CFG);
    let mut app = booted(&archive);
    app.host.backend_state = 6;
    let (said, status) = type_line(&mut app, "xl create /etc/xen/debian.cfg");
    assert_eq!(
        (
            said.contains("own: bootloader: disk xvda (/dev/gpt/own-root): blkback refuses it"),
            status
        ),
        (true, 3),
        "{said}"
    );
}
