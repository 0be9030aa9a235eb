//! The Boot Loader Specification: a file for each entry in `loader/entries`.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::entry::{BootEntry, Menu};
use super::newest::by_version;
use super::{ENTRIES_MAX, Files, VALUE_MAX, text};

/// Reads the entries in `folder`, the newest first; `environment` is GRUB's, for variables in them.
pub fn read(
    files: &dyn Files,
    folder: &str,
    environment: &[(String, String)],
) -> Result<Menu, String> {
    let mut names: Vec<String> = files.list(folder, 4 * ENTRIES_MAX)?;
    names.retain(|name| name.ends_with(".conf"));
    names.sort_by(|a, b| by_version(b, a));
    names.truncate(ENTRIES_MAX);
    let mut menu = Menu::default();
    for name in names {
        let Some(text) = text(files, &alloc::format!("{folder}/{name}"))? else {
            continue;
        };
        let mut entry = BootEntry {
            id: name.trim_end_matches(".conf").to_string(),
            ..BootEntry::default()
        };
        for line in text.lines() {
            let line = line.trim();
            let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let rest = expand(rest.trim(), environment);
            match word {
                "title" => entry.title = rest,
                "linux" => entry.kernel = rest,
                "initrd" => entry
                    .initrds
                    .extend(rest.split_whitespace().map(String::from)),
                "options" => {
                    if !entry.cmdline.is_empty() {
                        entry.cmdline.push(' ');
                    }
                    entry.cmdline += &rest;
                }
                _ => {}
            }
        }
        entry.initrds.truncate(ENTRIES_MAX);
        if !entry.kernel.is_empty() {
            menu.entries.push(entry);
        }
    }
    Ok(menu)
}

/// Words that are `$name` become the variable's value.
fn expand(text: &str, environment: &[(String, String)]) -> String {
    let words = text.split_whitespace().filter_map(|word| {
        let Some(name) = word.strip_prefix('$') else {
            return Some(word);
        };
        let found = environment.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    });
    let words: Vec<&str> = words.collect();
    let mut expanded = words.join(" ");
    let end = expanded.floor_char_boundary(16 * VALUE_MAX);
    expanded.truncate(end);
    expanded
}
