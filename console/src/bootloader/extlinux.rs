//! `extlinux.conf`, of syslinux and of everything that followed it.

use alloc::format;
use alloc::string::{String, ToString};

use super::ENTRIES_MAX;
use super::entry::{BootEntry, Choice, Menu};

/// Reads the text of a file in `folder`, where paths that do not begin with a slash begin.
pub fn parse(text: &str, folder: &str) -> Menu {
    let mut menu = Menu::default();
    let mut append = String::new();
    let place = |path: &str| {
        if path.starts_with('/') {
            path.to_string()
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
                title: rest.to_string(),
                id: rest.to_string(),
                cmdline: append.clone(),
                ..BootEntry::default()
            });
            continue;
        }
        match (word.as_str(), menu.entries.last_mut()) {
            ("default", None) => menu.default = Choice::Named(rest.to_string()),
            // Before the first label it is for all without their own.
            ("append", None) => append = rest.to_string(),
            ("kernel" | "linux", Some(entry)) => entry.kernel = place(rest),
            ("initrd", Some(entry)) => {
                entry.initrds = rest.split(',').map(|path| place(path.trim())).collect()
            }
            ("append", Some(entry)) => {
                entry.cmdline = if rest == "-" {
                    String::new()
                } else {
                    rest.to_string()
                };
            }
            ("menu", Some(entry)) => {
                let (word, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
                if word.eq_ignore_ascii_case("default") {
                    menu.default = Choice::Named(entry.id.clone());
                } else if word.eq_ignore_ascii_case("label") {
                    // "^" marks the key.
                    entry.title = rest.trim().replace('^', "");
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
                entry.initrds = list.split(',').map(place).collect();
            }
            entry.cmdline = others.join(" ");
        }
    }
    menu.entries.retain(|entry| !entry.kernel.is_empty());
    menu
}
