//! The Boot Loader Specification: a file for each entry in `loader/entries`.

use alloc::string::{String, ToString};

use super::entry::{BootEntry, Menu};
use super::newest::by_version;
use super::{CMDLINE_MAX, ENTRIES_MAX, Files, INITRDS_MAX, TITLE_MAX, VALUE_MAX, cmdline, initrds};

/// Bytes of an entry's file: those that systems write have less than one KiB.
const FILE_MAX: usize = 16 << 10;

/// Reads the entries in `folder`, the newest first; `environment` is GRUB's, for variables in them.
pub fn read(
    files: &dyn Files,
    folder: &str,
    environment: &[(String, String)],
) -> Result<Menu, String> {
    let mut names = files.list(folder, 4 * ENTRIES_MAX)?;
    names.retain(|name| name.ends_with(".conf") && !name.contains(char::is_control));
    names.sort_by(|a, b| by_version(b, a));
    names.truncate(ENTRIES_MAX);
    let mut menu = Menu::default();
    for name in names {
        let Some(bytes) = files.read(&alloc::format!("{folder}/{name}"), FILE_MAX)? else {
            continue;
        };
        let text = String::from_utf8_lossy(&bytes);
        let mut entry = BootEntry {
            id: name.trim_end_matches(".conf").to_string(),
            ..BootEntry::default()
        };
        for line in text.lines() {
            let line = line.trim();
            let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let words = expand(rest, environment);
            match word {
                "title" => entry.title = joined(words, TITLE_MAX),
                "linux" => entry.kernel = joined(words, VALUE_MAX),
                "initrd" => {
                    let room = (INITRDS_MAX + 1).saturating_sub(entry.initrds.len());
                    let paths = words.flat_map(str::split_whitespace).take(room);
                    entry.initrds.extend(initrds(paths));
                }
                "options" => {
                    let room = (CMDLINE_MAX + 1).saturating_sub(entry.cmdline.len());
                    let more = joined(words, room);
                    if !entry.cmdline.is_empty() && !more.is_empty() {
                        entry.cmdline.push(' ');
                    }
                    entry.cmdline += &more;
                }
                _ => {}
            }
        }
        if !entry.kernel.is_empty() {
            menu.entries.push(entry);
        }
    }
    Ok(menu)
}

/// The words of a line. Those that are `$name` become the variable's value.
fn expand<'a>(text: &'a str, environment: &'a [(String, String)]) -> impl Iterator<Item = &'a str> {
    text.split_whitespace().filter_map(|word| {
        let Some(name) = word.strip_prefix('$') else {
            return Some(word);
        };
        let found = environment.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    })
}

/// Words with spaces between, as many as there are until `limit` bytes are reached; the last one may go beyond, as far as a
/// command line may.
fn joined<'a>(words: impl Iterator<Item = &'a str>, limit: usize) -> String {
    let mut text = String::new();
    for word in words {
        if text.len() >= limit {
            break;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text += &cmdline(word);
    }
    text
}
