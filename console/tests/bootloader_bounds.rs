//! What a boot loader's configuration can make of Domain-0's memory and time, whatever is in it. One test, as the allocator
//! counts for all threads.

#[path = "../../lib/bzimage/tests/peak/mod.rs"]
mod peak;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use console::bootloader::{Files, Wish, choose};
use peak::peak_of;

/// What reading and looking at a menu may take.
const MEMORY_MAX: usize = 12 << 20;
/// No less than minutes are meant: without bounds these take hours.
const TIME_MAX: Duration = Duration::from_secs(120);
/// Bytes of a configuration.
const SIZE: usize = 256 << 10;

#[derive(Default)]
struct Tree(BTreeMap<String, Vec<u8>>);

impl Files for Tree {
    fn read(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, String> {
        match self.0.get(path) {
            Some(bytes) if bytes.len() > limit => Err("File too large".to_string()),
            found => Ok(found.cloned()),
        }
    }

    fn list(&self, path: &str, limit: usize) -> Result<Vec<String>, String> {
        let names = self.0.keys().filter_map(|file| file.strip_prefix(path));
        let names = names.filter_map(|name| name.strip_prefix('/'));
        Ok(names.take(limit).map(String::from).collect())
    }

    fn has(&self, path: &str) -> Result<bool, String> {
        Ok(path == "/k")
    }
}

/// `piece` again and again, as far as `begin` leaves room.
fn full(begin: &str, piece: &str) -> Vec<u8> {
    let count = (SIZE - begin.len()) / piece.len();
    (begin.to_string() + &piece.repeat(count)).into_bytes()
}

fn check(what: &str, files: &[(&str, Vec<u8>)]) {
    let files = files
        .iter()
        .map(|(path, text)| (path.to_string(), text.clone()));
    let files = Tree(files.collect());
    let start = Instant::now();
    let (peak, _) = peak_of(usize::MAX, || choose(&files, &Wish::default(), "xvda"));
    assert!(peak < MEMORY_MAX, "{what}: {peak} bytes");
    let taken = start.elapsed();
    assert!(taken < TIME_MAX, "{what}: {taken:?}");
}

#[test]
fn no_configuration_takes_much_memory_or_time() {
    let kernel = "menuentry m { linux /k\n";
    for (begin, piece) in [
        ("", "a\n"),
        ("", ";"),
        ("", "a "),
        (kernel, "\"\" "),
        (
            kernel,
            "initrd a b c d e f g h i j k l m n o p q r s t u v\n",
        ),
        ("linux ", "$a"),
        ("\"", "$a"),
        ("", "do "),
        ("", "then "),
        ("", "else "),
        ("", "if "),
        ("", "if a; "),
        ("", "if a; then "),
        ("", "for "),
        ("", "for do\n"),
        ("", "function {"),
        ("", "submenu { "),
        ("", "load_env\n"),
        ("", "${"),
        ("", "menuentry m { linux /k\n}\n"),
    ] {
        let text = full(begin, piece);
        check(
            &format!("grub.cfg {begin:?} {piece:?}"),
            &[("/grub/grub.cfg", text)],
        );
    }
    // Variables as large as they may be, again in each submenu.
    let values: String = (0..200)
        .map(|i| format!("set a{i}=$b{}\n", i % 7))
        .collect();
    let begin = "b=0123456789abcdef\n".to_string() + &"b=$b$b\n".repeat(12);
    let begin = begin + &(0..7).map(|i| format!("set b{i}=$b\n")).collect::<String>() + &values;
    check(
        "grub.cfg variables",
        &[("/grub/grub.cfg", full(&begin, "submenu $b { "))],
    );
    let environment = full("a=", "x");
    check(
        "grubenv",
        &[
            ("/grub/grubenv", environment.clone()),
            ("/grub/grub.cfg", full("", "load_env\nsubmenu $a $a { ")),
        ],
    );
    for (begin, piece) in [
        ("append initrd=", ","),
        ("append ", "x "),
        ("label a\ninitrd ", ","),
        ("", "label a\nlinux /k\n"),
        ("default ", "a>"),
    ] {
        let text = String::from_utf8(full(begin, piece)).unwrap();
        let labels = "\nlabel a\nlinux /k".repeat(64);
        let cut = text.len() - labels.len();
        let text = text[..cut].to_string() + &labels;
        check(
            &format!("extlinux.conf {begin:?}"),
            &[("/extlinux.conf", text.into_bytes())],
        );
    }
    let titles = full("title a\nkernel /k\ninitrd ", "a ");
    check("menu.lst", &[("/grub/menu.lst", titles)]);
    for word in ["title", "linux", "initrd", "options"] {
        let mut files = vec![("/grub/grubenv".to_string(), environment.clone())];
        for number in 0..64 {
            let text = format!("linux /k\n{word}") + &" $a".repeat(4000);
            files.push((format!("/loader/entries/{number}.conf"), text.into_bytes()));
        }
        let files: Vec<_> = files
            .iter()
            .map(|(path, text)| (path.as_str(), text.clone()))
            .collect();
        check(&format!("loader/entries {word}"), &files);
    }
}
