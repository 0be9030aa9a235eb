//! The partition table of the machine's disk, as far as volumes are concerned: an empty place is found, a name is given, a
//! volume grows or goes. What a table looks like on the disk, and that there always is a whole one, is [`copies`]' business.

mod copies;
mod unwiped;

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

pub use copies::{Opened, WINDOW, look, open, store};
use gpt_disk_types::{GptPartitionEntry, GptPartitionType, Guid, LbaLe, guid};

use crate::host::DiskError;

/// Entries of a table; other numbers are not supported, nor usual.
pub const ENTRIES: usize = 128;
/// Volumes begin and end at multiples of this: 1 MiB in sectors.
pub const ALIGNMENT: u64 = 2048;
/// The partition with Domain-0's own files.
const FILES: &str = "microhv";
/// "Linux filesystem data".
const VOLUME: GptPartitionType = GptPartitionType(guid!("0fc63daf-8483-4772-8e79-3d69d8477de4"));
/// Partitions that are no volumes: the machine boots from them, or Domain-0 has its files there.
const PROTECTED: [(GptPartitionType, &str); 3] = [
    (GptPartitionType::EFI_SYSTEM, "the EFI system partition"),
    (
        GptPartitionType(guid!("21686148-6449-6e6f-744e-656564454649")),
        "GRUB's BIOS boot partition",
    ),
    (GptPartitionType::BASIC_DATA, "a FAT or NTFS partition"),
];

/// A table in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Sectors of the disk.
    sectors: u64,
    disk_guid: Guid,
    /// [`ENTRIES`] of them.
    entries: Vec<GptPartitionEntry>,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its place in the table, from 1 on.
    pub number: usize,
    /// Its name.
    pub name: String,
    /// First sector.
    pub first: u64,
    /// Sectors.
    pub sectors: u64,
    /// Why it is no volume, if it is none.
    pub protected: Option<&'static str>,
    /// It may hold what was there before: not a volume yet, or what the volume of its name, which it follows, is to grow by.
    pub unwiped: bool,
}

/// What can be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableError {
    /// The disk.
    Disk(DiskError),
    /// There is no table.
    None,
    /// A part of it is not as it should be.
    Bad(&'static str),
    /// There is one of that name.
    Exists,
    /// There is none.
    Missing,
    /// It is no volume.
    Protected(&'static str),
    /// Not a name.
    Name,
    /// Not a size.
    Size,
    /// No place is large enough; the largest has this many sectors.
    NoSpace(u64),
    /// All entries are used.
    Full,
    /// It would become smaller.
    Shrinks,
    /// It, or what it grows by, is still to be made zeros.
    Unwiped,
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) => error.fmt(f),
            Self::None => f.write_str("the disk has no GUID partition table"),
            Self::Bad(what) => write!(f, "GUID partition table: bad {what}"),
            Self::Exists => f.write_str("volume already exists"),
            Self::Missing => f.write_str("volume does not exist"),
            Self::Protected(what) => write!(f, "it is no volume, but {what}"),
            Self::Name => f.write_str(
                "invalid name: 1 to 36 letters, digits and . _ - +, not beginning with -",
            ),
            Self::Size => f.write_str("invalid size: a number with K, M, G or T behind it"),
            Self::NoSpace(most) => {
                write!(
                    f,
                    "out of space: there is room for {} MiB",
                    most / ALIGNMENT
                )
            }
            Self::Full => write!(f, "the partition table is full ({ENTRIES} entries)"),
            Self::Shrinks => f.write_str("it would lose what is behind its new end; -f does it"),
            Self::Unwiped => f.write_str("volume is still being wiped"),
        }
    }
}

impl From<DiskError> for TableError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

/// Sectors of a size as `zfs create -V` takes it: a number with `K`, `M`, `G` or `T` behind it (powers of 1024), rounded up to
/// whole MiB.
///
/// # Errors
/// [`TableError::Size`].
pub fn size(text: &str) -> Result<u64, TableError> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or_default();
    let shift = match unit.to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        "T" | "TB" | "TIB" => 40,
        _ => return Err(TableError::Size),
    };
    let number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let bytes = digits
        .parse::<u64>()
        .ok()
        .filter(|bytes| number && *bytes > 0);
    let bytes = bytes.and_then(|number| number.checked_mul(1 << shift));
    let sectors = bytes.ok_or(TableError::Size)?.div_ceil(512);
    sectors
        .checked_next_multiple_of(ALIGNMENT)
        .ok_or(TableError::Size)
}

impl Table {
    /// The first and the last sector for partitions.
    fn usable(&self) -> (u64, u64) {
        let table = copies::TABLE_SECTORS;
        (table + 2, self.sectors.saturating_sub(table + 2))
    }

    /// The partitions, in the order of the table.
    #[must_use]
    pub fn partitions(&self) -> Vec<Partition> {
        let used = (1..)
            .zip(&self.entries)
            .filter(|(_, entry)| entry.is_used());
        used.map(|(number, entry)| {
            // Taken apart: the fields are not aligned.
            let GptPartitionEntry {
                partition_type_guid,
                starting_lba,
                ending_lba,
                name,
                ..
            } = *entry;
            let name: String = name.chars().collect();
            let mut kinds = PROTECTED.iter();
            let protected = kinds.find(|(kind, _)| *kind == partition_type_guid);
            let first = starting_lba.to_u64();
            Partition {
                number,
                first,
                sectors: ending_lba.to_u64().saturating_sub(first).saturating_add(1),
                protected: match protected {
                    _ if name == FILES => Some("Domain-0's files"),
                    protected => protected.map(|(_, what)| *what),
                },
                unwiped: partition_type_guid == unwiped::UNWIPED,
                name,
            }
        })
        .collect()
    }

    /// Places without a partition, aligned: first sector and sectors, from the disk's beginning on.
    #[must_use]
    pub fn free(&self) -> Vec<(u64, u64)> {
        let (first, last) = self.usable();
        let mut used: Vec<(u64, u64)> = self
            .partitions()
            .iter()
            .map(|partition| (partition.first, partition.sectors))
            .collect();
        used.sort_unstable();
        used.push((last.saturating_add(1), 0));
        let (mut free, mut next) = (Vec::new(), first);
        for (start, sectors) in used {
            let begin = next.next_multiple_of(ALIGNMENT);
            let end = start / ALIGNMENT * ALIGNMENT;
            if end > begin {
                free.push((begin, end - begin));
            }
            next = next.max(start.saturating_add(sectors));
        }
        free
    }

    /// The volume of that name.
    ///
    /// # Errors
    /// There is none, it is no volume, or not one yet.
    pub fn volume(&self, name: &str) -> Result<Partition, TableError> {
        let mut found = self.partitions();
        found.retain(|partition| partition.name == name);
        // Not what it is to grow by.
        let found = found.into_iter().min_by_key(|found| found.unwiped);
        let found = found.ok_or(TableError::Missing)?;
        if found.unwiped {
            return Err(TableError::Unwiped);
        }
        match found.protected {
            Some(what) => Err(TableError::Protected(what)),
            None => Ok(found),
        }
    }

    /// Makes a volume in the first place that is large enough. It is one when it has been wiped: [`Table::wiped`].
    ///
    /// # Errors
    /// The name, the size, or that there is no room.
    pub fn create(&mut self, name: &str, sectors: u64, unique: Guid) -> Result<(), TableError> {
        let good = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
        let dots = name.chars().all(|c| c == '.');
        if dots || name.len() > 36 || name.starts_with('-') || !name.chars().all(good) {
            return Err(TableError::Name);
        }
        if self.partitions().iter().any(|other| other.name == name) {
            return Err(TableError::Exists);
        }
        if sectors == 0 || !sectors.is_multiple_of(ALIGNMENT) {
            return Err(TableError::Size);
        }
        let free = self.free();
        let place = free.iter().find(|(_, room)| *room >= sectors);
        let Some(&(first, _)) = place else {
            let most = free.iter().map(|(_, room)| *room).max();
            return Err(TableError::NoSpace(most.unwrap_or(0)));
        };
        self.add_unwiped(name, (first, sectors), unique)
    }

    /// Moves the end of a volume. What is behind a new end is lost, which has to be `forced`. What it grows by is its own when it
    /// has been wiped: [`Table::wiped`].
    ///
    /// # Errors
    /// There is no such volume, no room behind it, it would shrink, or grows already.
    pub fn resize(
        &mut self,
        name: &str,
        sectors: u64,
        forced: bool,
        unique: Guid,
    ) -> Result<(), TableError> {
        let volume = self.volume(name)?;
        let mut all = self.partitions().into_iter();
        if all.any(|other| other.unwiped && other.name == name) {
            return Err(TableError::Unwiped);
        }
        if sectors == 0 || !sectors.is_multiple_of(ALIGNMENT) {
            return Err(TableError::Size);
        }
        if sectors < volume.sectors && !forced {
            return Err(TableError::Shrinks);
        }
        let end = volume.first.saturating_add(volume.sectors);
        // Free places begin aligned; so does what is behind a volume that ends unaligned.
        let behind = end.next_multiple_of(ALIGNMENT);
        let free = self.free().into_iter().find(|(first, _)| *first == behind);
        let most = match free {
            Some((first, room)) => first - volume.first + room,
            None => volume.sectors,
        };
        if sectors > most {
            return Err(TableError::NoSpace(most));
        }
        if let Some(more @ 1..) = sectors.checked_sub(volume.sectors) {
            return self.add_unwiped(name, (end, more), unique);
        }
        self.entry(&volume)?.ending_lba = LbaLe::from_u64(volume.first + sectors - 1);
        Ok(())
    }

    /// Removes a volume from the table, also one that is not wiped yet; its sectors keep their contents.
    ///
    /// # Errors
    /// There is no such volume.
    pub fn destroy(&mut self, name: &str) -> Result<(), TableError> {
        match self.volume(name) {
            Ok(volume) => *self.entry(&volume)? = GptPartitionEntry::default(),
            Err(TableError::Unwiped) => {}
            Err(error) => return Err(error),
        }
        for part in self.partitions() {
            if part.unwiped && part.name == name {
                *self.entry(&part)? = GptPartitionEntry::default();
            }
        }
        Ok(())
    }

    fn entry(&mut self, partition: &Partition) -> Result<&mut GptPartitionEntry, TableError> {
        let index = partition.number.checked_sub(1);
        let entry = index.and_then(|index| self.entries.get_mut(index));
        entry.ok_or(TableError::Missing)
    }
}

/// A size for people: `20.0G`.
#[must_use]
pub fn human(sectors: u64) -> String {
    let mebibytes = sectors / ALIGNMENT;
    match mebibytes {
        0..1024 => alloc::format!("{mebibytes}M"),
        _ => {
            let tenths = mebibytes.saturating_mul(10) / 1024;
            alloc::format!("{}.{}G", tenths / 10, tenths % 10)
        }
    }
    .to_string()
}
