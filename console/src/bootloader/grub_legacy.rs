//! `menu.lst` and `grub.conf` of GRUB 0.97.

use alloc::string::{String, ToString};

use super::ENTRIES_MAX;
use super::entry::{BootEntry, Choice, Menu};

/// Reads the file's text; lines that are not known have no effect.
pub fn parse(text: &str) -> Menu {
    let mut menu = Menu::default();
    for line in text.lines() {
        let line = line.trim();
        let (word, rest) = line
            .split_once(|c: char| c.is_whitespace() || c == '=')
            .unwrap_or((line, ""));
        let rest = rest.trim();
        match word {
            "default" => menu.default = Choice::Named(rest.to_string()),
            "title" => {
                if menu.entries.len() >= ENTRIES_MAX {
                    break;
                }
                menu.entries.push(BootEntry {
                    title: rest.to_string(),
                    ..BootEntry::default()
                });
            }
            _ => {
                let Some(entry) = menu.entries.last_mut() else {
                    continue;
                };
                match word {
                    "kernel" => {
                        let (path, arguments) =
                            rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
                        entry.kernel = path.to_string();
                        entry.cmdline = arguments.trim().to_string();
                    }
                    "initrd" => entry.initrds = rest.split_whitespace().map(String::from).collect(),
                    _ => {}
                }
            }
        }
    }
    menu.entries.retain(|entry| !entry.kernel.is_empty());
    menu
}
