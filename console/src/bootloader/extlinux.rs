//! `extlinux.conf`, of syslinux and of everything that followed it.

use alloc::format;
use alloc::string::String;

use super::entry::{BootEntry, Choice, Menu};
use super::{ENTRIES_MAX, TITLE_MAX, VALUE_MAX, cmdline, cut, initrds};

/// Reads the text of a file in `folder`, where paths that do not begin with a slash begin.
pub fn parse(text: &str, folder: &str) -> Menu {
    let mut menu = Menu::default();
    let mut append = String::new();
    let place = |path: String| {
        if path.starts_with('/') {
            path
        } else {
            format!("{folder}/{path}")
        }
    };
    for line in text.lines() {
        let line = line.trim();
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let word = word.to_ascii_lowercase();
        if word == "label" {
            if menu.entries.len() >= ENTRIES_MAX {
                break;
            }
            menu.entries.push(BootEntry {
                title: cut(rest, TITLE_MAX),
                id: cut(rest, TITLE_MAX),
                cmdline: append.clone(),
                ..BootEntry::default()
            });
            continue;
        }
        match (word.as_str(), menu.entries.last_mut()) {
            ("default", None) => menu.default = Choice::Named(cut(rest, VALUE_MAX)),
            // Before the first label it is for all without their own.
            ("append", None) => append = cmdline(rest),
            ("kernel" | "linux", Some(entry)) => entry.kernel = place(cut(rest, VALUE_MAX)),
            ("initrd", Some(entry)) => {
                let paths = initrds(rest.split(',').map(str::trim));
                entry.initrds = paths.into_iter().map(place).collect()
            }
            ("append", Some(entry)) => {
                entry.cmdline = if rest == "-" {
                    String::new()
                } else {
                    cmdline(rest)
                };
            }
            ("menu", Some(entry)) => {
                let (word, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
                if word.eq_ignore_ascii_case("default") {
                    menu.default = Choice::Named(entry.id.clone());
                } else if word.eq_ignore_ascii_case("label") {
                    // "^" marks the key.
                    entry.title = cut(&rest.trim().replace('^', ""), TITLE_MAX);
                }
            }
            _ => {}
        }
    }
    for entry in &mut menu.entries {
        // The old place of the RAM disk.
        let words = entry.cmdline.split_whitespace();
        let (initrd, others): (alloc::vec::Vec<&str>, alloc::vec::Vec<&str>) =
            words.partition(|word| word.starts_with("initrd="));
        if let Some(list) = initrd.first().and_then(|word| word.strip_prefix("initrd=")) {
            if entry.initrds.is_empty() {
                entry.initrds = initrds(list.split(',')).into_iter().map(place).collect();
            }
            entry.cmdline = others.join(" ");
        }
    }
    menu.entries.retain(|entry| !entry.kernel.is_empty());
    menu
}
