//! Without a boot loader's configuration: the newest kernel that lies about.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cmp::Ordering;

use super::Files;
use super::entry::{BootEntry, Menu};

/// Names in a folder that are looked at.
const NAMES_MAX: usize = 1024;

/// A menu of the kernels in `folder`, the newest first, and of those that its `vmlinuz` and the like are.
pub fn read(files: &dyn Files, folder: &str) -> Result<Menu, String> {
    let names = files.list(folder, NAMES_MAX)?;
    let mut versions: Vec<&str> = names
        .iter()
        .filter_map(|name| {
            name.strip_prefix("vmlinuz-")
                .or_else(|| name.strip_prefix("vmlinux-"))
        })
        .collect();
    versions.sort_by(|a, b| by_version(b, a));
    versions.dedup();
    let mut menu = Menu::default();
    for version in versions.into_iter().take(super::ENTRIES_MAX) {
        let initrds = [
            format!("initrd.img-{version}"),
            format!("initramfs-{version}.img"),
            format!("initrd-{version}"),
            format!("initramfs-{version}"),
        ];
        let kernels = [format!("vmlinuz-{version}"), format!("vmlinux-{version}")];
        add(&mut menu, folder, &names, &kernels, &initrds);
    }
    // Symlinks to the newest, as Debian has them in /.
    let plain = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    add(
        &mut menu,
        folder,
        &names,
        &plain(&["vmlinuz", "vmlinux", "bzImage"]),
        &plain(&[
            "initrd.img",
            "initrd",
            "initramfs.img",
            "initramfs-linux.img",
        ]),
    );
    // A name may be that of a folder, or of a symlink that leads nowhere.
    let mut entries = Vec::new();
    for mut entry in menu.entries {
        let initrd = entry.initrds.pop();
        if let Some(initrd) = initrd
            && files.has(&initrd)?
        {
            entry.initrds.push(initrd);
        }
        if files.has(&entry.kernel)? {
            entries.push(entry);
        }
    }
    menu.entries = entries;
    Ok(menu)
}

fn add(menu: &mut Menu, folder: &str, names: &[String], kernels: &[String], initrds: &[String]) {
    let first = |wanted: &[String]| {
        let found = wanted.iter().find(|wanted| names.contains(wanted));
        found.map(|name| format!("{folder}/{name}"))
    };
    if let Some(kernel) = first(kernels) {
        menu.entries.push(BootEntry {
            title: kernel.clone(),
            kernel,
            initrds: first(initrds).into_iter().collect(),
            ..BootEntry::default()
        });
    }
}

/// Compares versions: numbers in them by their size, everything else as text. What is not the whole version of a release
/// comes before it, as with `-rc`.
pub fn by_version(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (text_a, number_a, rest_a) = piece(a);
        let (text_b, number_b, rest_b) = piece(b);
        let release = text_b.starts_with("-rc").cmp(&text_a.starts_with("-rc"));
        let by_text = release.then_with(|| text_a.cmp(text_b));
        // Numbers without leading zeros: the longer one is larger.
        let by_number = number_a
            .len()
            .cmp(&number_b.len())
            .then_with(|| number_a.cmp(number_b));
        let order = by_text.then(by_number);
        if order != Ordering::Equal || (rest_a.is_empty() && rest_b.is_empty()) {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
}

/// What is before the first number, the number, and the rest.
fn piece(text: &str) -> (&str, &str, &str) {
    let digit = |c: char| c.is_ascii_digit();
    let (before, rest) = text.split_at(text.find(digit).unwrap_or(text.len()));
    let end = rest.find(|c| !digit(c)).unwrap_or(rest.len());
    let (number, rest) = rest.split_at(end);
    (before, number.trim_start_matches('0'), rest)
}
