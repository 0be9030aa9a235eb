//! `menu.lst` and `grub.conf` of GRUB 0.97.

use super::entry::{BootEntry, Choice, Menu};
use super::{ENTRIES_MAX, TITLE_MAX, VALUE_MAX, cmdline, cut, initrds};

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
            "default" => menu.default = Choice::Named(cut(rest, VALUE_MAX)),
            "title" => {
                if menu.entries.len() >= ENTRIES_MAX {
                    break;
                }
                menu.entries.push(BootEntry {
                    title: cut(rest, TITLE_MAX),
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
                        entry.kernel = cut(path, VALUE_MAX);
                        entry.cmdline = cmdline(arguments.trim());
                    }
                    "initrd" => entry.initrds = initrds(rest.split_whitespace()),
                    _ => {}
                }
            }
        }
    }
    menu.entries.retain(|entry| !entry.kernel.is_empty());
    menu
}
