//! From a disk to what it boots.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bzimage::Source;
use ext4::{Error, Ext4};

use super::disk::{Part, Passing, Shared};
use super::entry::{BootEntry, Menu};
use super::partitions::{Place, places};
use super::{CMDLINE_MAX, Files, INITRDS_MAX, bls, extlinux, grub, grub_legacy, newest, text};
use crate::guest::{Content, File};

/// Folders with a boot loader's things: `/boot`, or the root of a file system that is mounted there.
const FOLDERS: [&str; 2] = ["/boot", ""];
/// Bytes of a RAM disk: no guest is larger.
const FILE_MAX: u64 = 4 << 30;
/// RAM disks begin at multiples of this.
const ALIGN: u64 = 4;

/// What the operator wants of a disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// `--entry`: a number or a title.
    pub entry: Option<String>,
    /// Put behind the entry's command line.
    pub cmdline: String,
    /// The disk's name in the guest.
    pub vdev: String,
}

/// What a disk boots.
pub struct Boot {
    /// Where it was found, for the guest's log.
    pub found: String,
    /// The file system.
    pub files: Ext4<Part>,
    /// The entry, its paths being those of the file system.
    pub entry: BootEntry,
}

/// Looks through all file systems of a disk, in their order, for something to boot.
///
/// # Errors
/// What is wrong with what was found, or what was looked for where.
pub fn boot_of(disk: &Shared, wish: &Wish) -> Result<Boot, String> {
    let mut seen = Vec::new();
    let mut wrong = None;
    for place in places(disk.size(), |offset, into| disk.read(offset, into))? {
        let part = Part {
            disk: disk.clone(),
            place,
        };
        let name = name_of(&wish.vdev, place);
        let files = match Ext4::open(part) {
            Ok(files) => files,
            Err(Error::NotExt4) => continue,
            Err(error) => {
                wrong.get_or_insert(format!("{name}: {error}"));
                continue;
            }
        };
        match choose(&files, wish, &name) {
            Ok(Some((found, entry))) => {
                let dirty = if files.is_dirty() {
                    "; it was not unmounted, and its journal is not replayed"
                } else {
                    ""
                };
                return Ok(Boot {
                    found: format!("{found} on {name}{dirty}"),
                    files,
                    entry,
                });
            }
            Ok(None) => seen.push(name),
            Err(error) => {
                wrong.get_or_insert(format!("{name}: {error}"));
            }
        }
    }
    Err(match wrong {
        Some(wrong) => wrong,
        None if seen.is_empty() => {
            "no ext4 file system, neither on the whole disk nor in a partition".to_string()
        }
        None => format!("no kernel in /boot or / of {}", seen.join(", ")),
    })
}

/// The device's name in the guest.
fn name_of(vdev: &str, place: Place) -> String {
    match place.number {
        Some(number) => format!("{vdev}{number}"),
        None => vdev.to_string(),
    }
}

/// Looks for something to boot in one file system; tells which file said so. `device` is its name in the guest.
///
/// # Errors
/// What is wrong with what is there.
pub fn choose(
    files: &dyn Files,
    wish: &Wish,
    device: &str,
) -> Result<Option<(String, BootEntry)>, String> {
    let Some(found) = menu_of(files)? else {
        return Ok(None);
    };
    let count = found.menu.entries.len();
    let entry = match &wish.entry {
        Some(wanted) => found
            .menu
            .entry(wanted)
            .ok_or_else(|| format!("{}: no entry {wanted:?} among its {count}", found.path))?,
        None => match found.menu.default_entry() {
            Some(entry) => entry,
            None => return Ok(None),
        },
    };
    let mut entry = entry.clone();
    if entry.initrds.len() > INITRDS_MAX {
        return Err(format!("{}: more than {INITRDS_MAX} RAM disks", found.path));
    }
    let named = |path: &str| {
        // It is shown on the operator's terminal, and in logs.
        if path.contains(char::is_control) {
            return Err(format!("{}: bad path {path:?}", found.path));
        }
        path_of(files, path)?
            .ok_or_else(|| format!("{}: {path}: No such file or directory", found.path))
    };
    entry.kernel = named(&entry.kernel)?;
    let initrds = entry.initrds.iter().map(|path| named(path));
    entry.initrds = initrds.collect::<Result<_, _>>()?;
    // As with pygrub, what the operator says comes last, and the last one counts.
    if !wish.cmdline.is_empty() {
        if !entry.cmdline.is_empty() {
            entry.cmdline.push(' ');
        }
        entry.cmdline += &wish.cmdline;
    }
    if !found.configured
        && !entry
            .cmdline
            .split_whitespace()
            .any(|word| word.starts_with("root="))
    {
        // A kernel that nobody configured is on its root file system, most likely.
        entry.cmdline = format!("root=/dev/{device} ro {}", entry.cmdline)
            .trim_end()
            .to_string();
    }
    if entry.cmdline.len() > CMDLINE_MAX {
        return Err(format!(
            "{}: a command line above {CMDLINE_MAX} bytes",
            found.path
        ));
    }
    Ok(Some((found.path, entry)))
}

/// A menu.
struct Found {
    /// The file or folder that has it.
    path: String,
    menu: Menu,
    /// Whether somebody wrote it, command lines and all.
    configured: bool,
}

/// The first menu with entries: those of boot loaders, then the kernels that lie about.
fn menu_of(files: &dyn Files) -> Result<Option<Found>, String> {
    let configured = |path: String, menu: Menu| {
        (!menu.entries.is_empty()).then_some(Found {
            path,
            menu,
            configured: true,
        })
    };
    for folder in FOLDERS {
        let mut environment = Vec::new();
        for grub in ["grub", "grub2"] {
            let home = format!("{folder}/{grub}");
            if let Some(text) = text(files, &format!("{home}/grubenv"))? {
                environment = grub::environment(&text);
            }
            let path = format!("{home}/grub.cfg");
            let Some(text) = text(files, &path)? else {
                continue;
            };
            let grub = grub::parse(&text, &home, &environment, files);
            let mut menu = grub.menu;
            if grub.bls {
                let entries = bls::read(files, &format!("{folder}/loader/entries"), &environment)?;
                menu.entries.extend(entries.entries);
            }
            if let Some(found) = configured(path, menu) {
                return Ok(Some(found));
            }
        }
        for place in ["extlinux", "syslinux", ""] {
            let home = format!("{folder}/{place}");
            let home = home.trim_end_matches('/');
            for name in ["extlinux.conf", "syslinux.cfg"] {
                let path = format!("{home}/{name}");
                if let Some(text) = text(files, &path)?
                    && let Some(found) = configured(path, extlinux::parse(&text, home))
                {
                    return Ok(Some(found));
                }
            }
        }
        for name in ["menu.lst", "grub.conf"] {
            let path = format!("{folder}/grub/{name}");
            if let Some(text) = text(files, &path)?
                && let Some(found) = configured(path, grub_legacy::parse(&text))
            {
                return Ok(Some(found));
            }
        }
        let path = format!("{folder}/loader/entries");
        let menu = bls::read(files, &path, &environment)?;
        if let Some(found) = configured(path, menu) {
            return Ok(Some(found));
        }
    }
    for folder in FOLDERS {
        let menu = newest::read(files, folder)?;
        if !menu.entries.is_empty() {
            return Ok(Some(Found {
                path: format!("{folder}/"),
                menu,
                configured: false,
            }));
        }
    }
    Ok(None)
}

/// Where a path of a menu is: without GRUB's device, and below `/boot` if that was a file system of its own when the menu
/// was written.
fn path_of(files: &dyn Files, path: &str) -> Result<Option<String>, String> {
    let path = match path.strip_prefix('(') {
        Some(rest) => rest.split_once(')').map_or("", |(_, path)| path),
        None => path,
    };
    let path = format!("/{}", path.trim_start_matches('/'));
    let below = format!("/boot{path}");
    let without = path.strip_prefix("/boot").unwrap_or_default().to_string();
    for path in [path, below, without] {
        if path.starts_with('/') && files.has(&path)? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// The file at `path`, to be read into a guest.
///
/// # Errors
/// The file system's.
pub fn file_of(files: &Ext4<Part>, path: &str) -> Result<File<'static>, String> {
    let file = files
        .open_file(path)
        .map_err(|error| format!("{path}: {error}"))?;
    let size = file.size();
    if size > FILE_MAX {
        return Err(format!("{path}: File too large"));
    }
    Ok(File {
        path: path.to_string(),
        content: Content::Stream {
            size,
            source: Box::new(Passing(file)),
        },
    })
}

/// The files at `paths`, one behind the other as the kernel takes RAM disks; none if there are none.
///
/// # Errors
/// The file system's.
pub fn files_of(files: &Ext4<Part>, paths: &[String]) -> Result<Option<File<'static>>, String> {
    if let [path] = paths {
        return file_of(files, path).map(Some);
    }
    let mut size = 0;
    let mut sources = VecDeque::new();
    for path in paths {
        let Content::Stream { size: one, source } = file_of(files, path)?.content else {
            continue;
        };
        size += one.next_multiple_of(ALIGN);
        sources.push_back((one, source));
    }
    Ok((!sources.is_empty()).then(|| File {
        path: paths.join(" "),
        content: Content::Stream {
            size,
            source: Box::new(Chain { sources, done: 0 }),
        },
    }))
}

/// Files one behind the other, each at a multiple of [`ALIGN`].
struct Chain {
    sources: VecDeque<(u64, Box<dyn Source>)>,
    /// Bytes of the first one that are read.
    done: u64,
}

impl Source for Chain {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, String> {
        while let Some((size, source)) = self.sources.front_mut() {
            let count = source.read(into)?;
            if count > 0 || into.is_empty() {
                self.done += count as u64;
                return Ok(count);
            }
            if self.done < *size {
                return Err("truncated".to_string());
            }
            let fill = size.next_multiple_of(ALIGN) - self.done;
            let count = into.len().min(usize::try_from(fill).unwrap_or(0));
            if count == 0 {
                self.sources.pop_front();
                self.done = 0;
                continue;
            }
            into.iter_mut().take(count).for_each(|byte| *byte = 0);
            self.done += count as u64;
            return Ok(count);
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;

    #[test]
    fn files_in_a_row_begin_at_multiples_of_four() {
        let files: [&'static [u8]; 5] = [b"one", b"", b"four", b"seven ", b"end"];
        for step in 1..12 {
            let sources = files.map(|file| (file.len() as u64, Box::new(file) as Box<dyn Source>));
            let mut chain = Chain {
                sources: sources.into(),
                done: 0,
            };
            let mut bytes = Vec::new();
            let mut piece = vec![0xee; step];
            loop {
                match chain.read(&mut piece).unwrap() {
                    0 => break,
                    count => bytes.extend_from_slice(&piece[..count]),
                }
            }
            assert_eq!(bytes, b"one\0fourseven \0\0end\0", "{step}");
        }
        let mut short = Chain {
            sources: [(4, Box::new(&b"one"[..]) as Box<dyn Source>)].into(),
            done: 0,
        };
        assert_eq!(short.read(&mut [0; 9]), Ok(3));
        assert_eq!(short.read(&mut [0; 9]), Err("truncated".to_string()));
    }
}
