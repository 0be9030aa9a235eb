//! A boot menu, whatever language it was written in.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Something to boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootEntry {
    /// What the menu shows.
    pub title: String,
    /// Another name, if it has one.
    pub id: String,
    /// Titles and ids of the menus that it is in, the outermost first.
    pub inside: Vec<(String, String)>,
    /// Path of the kernel.
    pub kernel: String,
    /// Paths of RAM disks.
    pub initrds: Vec<String>,
    /// The kernel's command line.
    pub cmdline: String,
}

/// Which entry is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The first one.
    #[default]
    First,
    /// GRUB's `default`: a number, a title or an id; of entries in submenus several, with `>` between them. What does not
    /// exist is the first one.
    Named(String),
}

/// A boot menu.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Menu {
    /// Its entries, those of submenus in their places.
    pub entries: Vec<BootEntry>,
    /// Which of them starts by itself.
    pub default: Choice,
}

impl Menu {
    /// The entry that starts by itself.
    #[must_use]
    pub fn default_entry(&self) -> Option<&BootEntry> {
        let named = match &self.default {
            Choice::First => None,
            Choice::Named(name) => self.named(name),
        };
        named.or_else(|| self.entries.first())
    }

    /// The entry that pygrub's `--entry` means: a number among all, or a title.
    #[must_use]
    pub fn entry(&self, wanted: &str) -> Option<&BootEntry> {
        match wanted.parse::<usize>() {
            Ok(number) => self.entries.get(number),
            Err(_) => self.entries.iter().find(|entry| entry.title == wanted),
        }
    }

    fn named(&self, name: &str) -> Option<&BootEntry> {
        let mut candidates: Vec<&BootEntry> = self.entries.iter().collect();
        // A title may have a ">" in it.
        let whole = self
            .entries
            .iter()
            .find(|entry| entry.title == name || entry.id == name);
        for (level, part) in name.split('>').enumerate() {
            let part = part.trim();
            let mut items: Vec<(String, String)> = Vec::new();
            for entry in &candidates {
                let item = item(entry, level);
                // An entry is an item of its own, a submenu one for all its entries.
                if entry.inside.len() <= level || items.last() != Some(&item) {
                    items.push(item);
                }
            }
            let chosen = match part.parse::<usize>() {
                Ok(number) => items.get(number).cloned(),
                Err(_) => items
                    .iter()
                    .find(|(title, id)| title == part || id == part)
                    .cloned(),
            };
            let Some(chosen) = chosen else {
                return whole;
            };
            candidates.retain(|entry| item(entry, level) == chosen);
        }
        candidates.first().copied()
    }
}

/// What the menu at `level` shows for `entry`.
fn item(entry: &BootEntry, level: usize) -> (String, String) {
    entry
        .inside
        .get(level)
        .cloned()
        .unwrap_or_else(|| (entry.title.to_string(), entry.id.to_string()))
}
