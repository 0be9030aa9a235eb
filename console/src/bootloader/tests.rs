use alloc::collections::BTreeMap;
use alloc::string::ToString;
use std::vec;

use proptest::prelude::*;

use super::*;

/// Files by path.
pub struct Tree(pub BTreeMap<String, Vec<u8>>);

impl Tree {
    fn of(files: &[(&str, &str)]) -> Self {
        let files = files.iter();
        Self(
            files
                .map(|(path, text)| (path.to_string(), text.as_bytes().to_vec()))
                .collect(),
        )
    }
}

impl Files for Tree {
    fn read(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, String> {
        match self.0.get(path) {
            Some(bytes) if bytes.len() > limit => Err(alloc::format!("{path}: File too large")),
            found => Ok(found.cloned()),
        }
    }

    fn list(&self, path: &str, limit: usize) -> Result<Vec<String>, String> {
        let inside = alloc::format!("{path}/");
        let names = self.0.keys().filter_map(|file| file.strip_prefix(&inside));
        let names = names.filter(|name| !name.contains('/')).take(limit);
        Ok(names.map(String::from).collect())
    }

    fn has(&self, path: &str) -> Result<bool, String> {
        Ok(self.0.contains_key(path))
    }
}

fn chosen(files: &[(&str, &str)], wish: &Wish) -> Result<Option<(String, BootEntry)>, String> {
    choose(&Tree::of(files), wish, "xvda1")
}

fn found(files: &[(&str, &str)]) -> (String, BootEntry) {
    chosen(files, &Wish::default()).unwrap().unwrap()
}

#[test]
fn grub_comes_first_and_the_operator_last() {
    let files = [
        (
            "/boot/grub/grub.cfg",
            "menuentry a { linux /vmlinuz-1 root=/dev/sda1 quiet; initrd /initrd-1 }\nmenuentry b { linux /boot/other }",
        ),
        ("/boot/vmlinuz-1", ""),
        ("/boot/initrd-1", ""),
        (
            "/boot/extlinux/extlinux.conf",
            "label x\nkernel /boot/vmlinuz-1",
        ),
    ];
    let wish = Wish {
        cmdline: "root=/dev/xvda1 console=hvc0".to_string(),
        ..Wish::default()
    };
    let (path, entry) = chosen(&files, &wish).unwrap().unwrap();
    assert_eq!(path, "/boot/grub/grub.cfg");
    // A path of a /boot that was a file system of its own.
    assert_eq!(entry.kernel, "/boot/vmlinuz-1");
    assert_eq!(entry.initrds, ["/boot/initrd-1"]);
    assert_eq!(
        entry.cmdline,
        "root=/dev/sda1 quiet root=/dev/xvda1 console=hvc0"
    );
    let entry = |entry: &str| Wish {
        entry: Some(entry.to_string()),
        ..Wish::default()
    };
    assert_eq!(
        chosen(&files, &entry("b")),
        Err("/boot/grub/grub.cfg: /boot/other: No such file or directory".to_string())
    );
    assert_eq!(
        chosen(&files, &entry("2")),
        Err("/boot/grub/grub.cfg: no entry \"2\" among its 2".to_string())
    );
}

#[test]
fn a_file_system_of_boot_alone() {
    let (path, entry) = found(&[
        ("/grub/grub.cfg", "menuentry a { linux ($root)/vmlinuz }\n"),
        ("/vmlinuz", ""),
    ]);
    assert_eq!(
        (path.as_str(), entry.kernel.as_str()),
        ("/grub/grub.cfg", "/vmlinuz")
    );
    // Written when it was a folder.
    let (_, entry) = found(&[
        ("/grub/grub.cfg", "menuentry a { linux /boot/vmlinuz }\n"),
        ("/vmlinuz", ""),
    ]);
    assert_eq!(entry.kernel, "/vmlinuz");
}

#[test]
fn extlinux() {
    let config = "DEFAULT second\nPROMPT 0\nAPPEND everywhere\nLABEL first\n  KERNEL ../vmlinuz-1\nlabel second\n  menu label ^Second one\n  linux vmlinuz-2\n  initrd initrd-2,more\n  append root=/dev/xvda ro\nlabel third\n kernel vmlinuz-2\n append initrd=initrd-2 quiet\n menu default\n";
    let files = [
        ("/boot/extlinux/extlinux.conf", config),
        ("/boot/extlinux/vmlinuz-2", ""),
        ("/boot/extlinux/initrd-2", ""),
        ("/boot/extlinux/more", ""),
    ];
    let (_, entry) = found(&files);
    assert_eq!(
        (entry.title.as_str(), entry.cmdline.as_str()),
        ("third", "quiet")
    );
    assert_eq!(entry.initrds, ["/boot/extlinux/initrd-2"]);
    let wish = Wish {
        entry: Some("Second one".to_string()),
        ..Wish::default()
    };
    let (_, entry) = chosen(&files, &wish).unwrap().unwrap();
    assert_eq!(
        entry.initrds,
        ["/boot/extlinux/initrd-2", "/boot/extlinux/more"]
    );
    assert_eq!(entry.cmdline, "root=/dev/xvda ro");
}

#[test]
fn grub_legacy() {
    let (path, entry) = found(&[
        (
            "/boot/grub/menu.lst",
            "default\t1\ntimeout 5\ntitle old\nroot (hd0,0)\nkernel /boot/k1 a\ntitle new one\nkernel (hd0,0)/boot/k2 root=/dev/xvda ro\ninitrd /boot/i2\nsavedefault\n",
        ),
        ("/boot/k2", ""),
        ("/boot/i2", ""),
    ]);
    assert_eq!(path, "/boot/grub/menu.lst");
    assert_eq!(
        (entry.title.as_str(), entry.cmdline.as_str()),
        ("new one", "root=/dev/xvda ro")
    );
    assert_eq!(
        (entry.kernel.as_str(), entry.initrds[0].as_str()),
        ("/boot/k2", "/boot/i2")
    );
}

#[test]
fn entries_that_are_files_of_their_own() {
    let (path, entry) = found(&[
        (
            "/grub2/grub.cfg",
            "load_env\nset default=\"${saved_entry}\"\nblscfg\n",
        ),
        (
            "/grub2/grubenv",
            "saved_entry=m-6.9.0\nkernelopts=root=UUID=5 ro\n",
        ),
        (
            "/loader/entries/m-6.10.0.conf",
            "title New\nversion 6.10.0\nlinux /vmlinuz-6.10.0\ninitrd /initramfs-6.10.0.img $tuned_initrd\noptions $kernelopts quiet\n",
        ),
        (
            "/loader/entries/m-6.9.0.conf",
            "title Old\nlinux /vmlinuz-6.9.0\noptions a\noptions b",
        ),
        ("/vmlinuz-6.10.0", ""),
        ("/vmlinuz-6.9.0", ""),
        ("/initramfs-6.10.0.img", ""),
    ]);
    assert_eq!(
        (path.as_str(), entry.cmdline.as_str()),
        ("/grub2/grub.cfg", "a b")
    );
    let (path, entry) = found(&[
        ("/boot/loader/entries/a-6.9.conf", "linux /boot/vmlinuz-6.9"),
        (
            "/boot/loader/entries/a-6.10.conf",
            "linux /vmlinuz-6.10\noptions ro",
        ),
        ("/boot/vmlinuz-6.10", ""),
    ]);
    assert_eq!(path, "/boot/loader/entries");
    assert_eq!(
        (entry.kernel.as_str(), entry.cmdline.as_str()),
        ("/boot/vmlinuz-6.10", "ro")
    );
}

#[test]
fn without_any_configuration_the_newest_kernel() {
    let (path, entry) = found(&[
        ("/boot/vmlinuz-6.1.0-9-amd64", ""),
        ("/boot/vmlinuz-6.1.0-18-amd64", ""),
        ("/boot/vmlinuz-6.1.0-18-rc1-amd64", ""),
        ("/boot/initrd.img-6.1.0-9-amd64", ""),
        ("/boot/initrd.img-6.1.0-18-amd64", ""),
        ("/boot/grub/grub.cfg", "set timeout=5\n"),
    ]);
    assert_eq!(path, "/boot/");
    assert_eq!(entry.kernel, "/boot/vmlinuz-6.1.0-18-amd64");
    assert_eq!(entry.initrds, ["/boot/initrd.img-6.1.0-18-amd64"]);
    assert_eq!(entry.cmdline, "root=/dev/xvda1 ro");
    let wish = Wish {
        cmdline: "root=LABEL=x".to_string(),
        ..Wish::default()
    };
    let (path, entry) = chosen(&[("/vmlinuz", ""), ("/initrd.img", "")], &wish)
        .unwrap()
        .unwrap();
    assert_eq!((path.as_str(), entry.kernel.as_str()), ("/", "/vmlinuz"));
    assert_eq!(entry.initrds, ["/initrd.img"]);
    assert_eq!(entry.cmdline, "root=LABEL=x");
    assert_eq!(chosen(&[("/etc/passwd", "")], &wish), Ok(None));
}

#[test]
fn too_much_is_refused() {
    let long = "menuentry a { linux /k ".to_string() + &"x".repeat(5000) + " }";
    let files = [("/boot/grub/grub.cfg", long.as_str()), ("/k", "")];
    // A value is cut at 4096 characters; the operator's come on top.
    let wish = Wish {
        cmdline: "console=hvc0".to_string(),
        ..Wish::default()
    };
    let error = chosen(&files, &wish).unwrap_err();
    assert_eq!(
        error,
        "/boot/grub/grub.cfg: a command line above 4096 bytes"
    );
    let big = "#".repeat(300 << 10);
    let error = chosen(&[("/boot/grub/grub.cfg", &big)], &wish).unwrap_err();
    assert_eq!(error, "/boot/grub/grub.cfg: File too large");
}

/// Bytes that a menu holds.
fn held(menu: &Menu) -> usize {
    let entries = menu.entries.iter().map(|entry| {
        let texts = [&entry.title, &entry.id, &entry.kernel, &entry.cmdline];
        let inside = entry.inside.iter().flat_map(|(title, id)| [title, id]);
        let texts = texts.into_iter().chain(&entry.initrds).chain(inside);
        let list = entry.initrds.capacity() + 2 * entry.inside.capacity();
        list * size_of::<String>() + texts.map(String::capacity).sum::<usize>()
    });
    entries.sum()
}

#[test]
fn what_a_configuration_makes_of_little_is_little() {
    let labels = "\nlabel x\nkernel /k\n".repeat(ENTRIES_MAX);
    let commas = "append initrd=".to_string() + &",".repeat(200 << 10);
    let menu = extlinux::parse(&(commas + &labels), "/boot/extlinux");
    assert_eq!(menu.entries.len(), ENTRIES_MAX);
    assert!(held(&menu) < 1 << 20, "{}", held(&menu));
    let menu = extlinux::parse(
        &("append ".to_string() + &"x".repeat(200 << 10) + &labels),
        "",
    );
    assert!(held(&menu) < 1 << 20, "{}", held(&menu));
    let title = "title x\nkernel /k\ninitrd ".to_string() + &"/i ".repeat(60 << 10);
    assert!(held(&grub_legacy::parse(&title)) < 64 << 10);

    let environment = grub::environment(&("a=".to_string() + &"x".repeat(250 << 10)));
    let lines = ["title", "options", "options", "initrd"];
    let text = lines.map(|word| word.to_string() + &" $a".repeat(1000));
    let text = "linux /k\n".to_string() + &text.join("\n");
    let mut files = Tree(BTreeMap::new());
    for number in 0..100 {
        let path = alloc::format!("/loader/entries/{number}.conf");
        files.0.insert(path, text.clone().into_bytes());
    }
    let menu = bls::read(&files, "/loader/entries", &environment).unwrap();
    assert_eq!(menu.entries.len(), ENTRIES_MAX);
    assert!(held(&menu) < 16 << 20, "{}", held(&menu));
}

#[test]
fn what_a_guest_writes_does_not_command_the_terminal() {
    let files = |path| [("/boot/grub/grub.cfg", path), ("/k\x1b[2J", ""), ("/k", "")];
    for text in [
        "menuentry x { linux '/k\x1b[2J' }",
        "menuentry x { linux /none\u{9b}2J }",
        "menuentry x { linux '/no\n[42] line' }",
        "menuentry x { linux /k; initrd /k\x1b[2J }",
    ] {
        let said = chosen(&files(text), &Wish::default()).unwrap_err();
        assert!(said.contains("bad path \"/"), "{said}");
        assert!(!said.contains(char::is_control), "{said:?}");
    }
    let files = [
        ("/loader/entries/\x1b[2J.conf", "linux /k"),
        ("/vmlinuz", ""),
        ("/k", ""),
    ];
    assert_eq!(found(&files).1.kernel, "/vmlinuz");
}

#[test]
fn what_is_cut_is_not_booted() {
    let refused = |path: &str, text: &str| {
        let files = [(path, text), ("/k", ""), ("/i", "")];
        chosen(&files, &Wish::default()).unwrap_err()
    };
    let long = "x".repeat(CMDLINE_MAX + 1);
    let many = |separator: &str| vec!["/i"; INITRDS_MAX + 1].join(separator);
    let paths = [
        "/loader/entries/a.conf",
        "/extlinux.conf",
        "/grub/menu.lst",
        "/grub/grub.cfg",
    ];
    let texts = |arguments: &str, spaces: &str, commas: &str| {
        [
            alloc::format!("linux /k\noptions {arguments}\ninitrd {spaces}"),
            alloc::format!("label a\nlinux /k\nappend {arguments}\ninitrd {commas}"),
            alloc::format!("title a\nkernel /k {arguments}\ninitrd {spaces}"),
            alloc::format!("menuentry a {{ linux /k {arguments}\ninitrd {spaces}\n}}"),
        ]
    };
    for (path, text) in paths.iter().zip(texts(&(long + " y"), "/i", "/i")) {
        let place = path.trim_end_matches("/a.conf");
        let wanted = alloc::format!("{place}: a command line above 4096 bytes");
        assert_eq!(refused(path, &text), wanted);
    }
    for (path, text) in paths.iter().zip(texts("", &many(" "), &many(","))) {
        let place = path.trim_end_matches("/a.conf");
        let wanted = alloc::format!("{place}: more than 16 RAM disks");
        assert_eq!(refused(path, &text), wanted);
    }
}

proptest! {
    #[test]
    fn no_configuration_makes_it_panic(
        name in prop::sample::select(vec!["/boot/extlinux/extlinux.conf", "/boot/grub/menu.lst", "/boot/loader/entries/a.conf", "/boot/grub/grubenv"]),
        lines in prop::collection::vec(prop::sample::select(vec![
            "default 1", "label", "label x", "title", "title y", "kernel", "kernel /k a", "linux k", "append initrd=,", "append",
            "menu default", "menu", "initrd ,", "initrd", "options $a", "=", "é", "",
        ]), 0..60),
        any in any::<String>(),
        environment in any::<bool>(),
    ) {
        let text = lines.join("\n") + &any;
        let mut files = vec![(name, text.as_str()), ("/k", ""), ("/boot/k", "")];
        if environment {
            // So that variables in the others are something.
            files.push(("/boot/grub/grubenv", "a=k b\nsaved_entry=1>x"));
            files.push(("/boot/grub/grub.cfg", "load_env\nset default=$saved_entry\nblscfg"));
        }
        if let Ok(Some((_, entry))) = chosen(&files, &Wish::default()) {
            prop_assert!(entry.cmdline.len() <= CMDLINE_MAX && entry.initrds.len() <= INITRDS_MAX);
        }
    }
}
