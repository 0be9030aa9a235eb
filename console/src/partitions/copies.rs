//! The two copies of a table on the disk (UEFI specification 2.10, section 5.3): the primary one behind the first sector, the
//! backup at the disk's end.
//!
//! There is a whole copy at every moment: a change goes to the backup first, then, when that is on the disk, to the primary. A
//! torn copy is told by its checksums, and is made anew from the other before anything else changes. If both are whole and
//! differ, the power failed between them: the primary, which blkback reads too, is the one that counts.

use alloc::vec;
use alloc::vec::Vec;

use bytemuck::{bytes_of, pod_read_unaligned};
use gpt_disk_types::{
    BlockSize, Crc32, GptHeader, GptPartitionEntry, GptPartitionEntryArray,
    GptPartitionEntryArrayLayout, GptPartitionEntrySize, Lba, LbaLe, U32Le,
};

use super::{ENTRIES, Table, TableError};
use crate::host::{Disk, SECTOR};

/// Sectors of the entries.
pub(super) const TABLE_SECTORS: u64 = 32;
/// Sectors of one copy: the entries, and the header.
const COPY: u64 = TABLE_SECTORS + 1;
/// Sectors of the disk that has both copies and nothing else: the primary's header and entries, then the backup's entries
/// and header (blkback's `params` is `/dev/gpt`).
pub const WINDOW: u64 = 2 * COPY;
/// The header's bytes that there are.
const HEADER: usize = size_of::<GptHeader>();

/// What is wrong with a copy that was not written as a whole.
const HEADER_SUM: &str = "header checksum";
const TABLE_SUM: &str = "table checksum";

/// Where a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copy {
    Primary,
    Backup,
}

impl Copy {
    /// Where header and entries are in the window.
    const fn window(self) -> (u64, u64) {
        match self {
            Self::Primary => (0, 1),
            Self::Backup => (WINDOW - 1, COPY),
        }
    }

    /// Where they are on a disk of `sectors` sectors.
    const fn place(self, sectors: u64) -> (u64, u64) {
        match self {
            Self::Primary => (1, 2),
            Self::Backup => (sectors - 1, sectors - COPY),
        }
    }
}

/// A table that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The table.
    pub table: Table,
    /// What was wrong with a copy and is mended.
    pub mended: Option<&'static str>,
}

/// Reads the table of a disk of `sectors` sectors through its window, and mends a copy that is torn or old.
///
/// # Errors
/// Neither copy can be used, or the disk fails.
pub fn open(window: &mut dyn Disk, sectors: u64) -> Result<Opened, TableError> {
    if sectors < 2 * COPY + 2 {
        return Err(TableError::None);
    }
    let primary = read(window, sectors, Copy::Primary);
    let backup = read(window, sectors, Copy::Backup);
    let (table, mended) = match (primary, backup) {
        (Ok((table, true)), Ok((backup, _))) if table == backup => (table, None),
        // The disk has become larger: the backup has to be at its end.
        (Ok((table, false)), _) => {
            store(window, &table)?;
            (
                table,
                Some("the backup partition table was not at the disk's end"),
            )
        }
        (Ok((table, _)), Ok(_)) => {
            write(window, &table, Copy::Backup)?;
            (
                table,
                Some("the backup partition table was older than the primary one"),
            )
        }
        (Ok((table, _)), Err(_)) => {
            write(window, &table, Copy::Backup)?;
            (table, Some("the backup partition table was damaged"))
        }
        (Err(error), Ok(_)) if !is_torn(&error) => return Err(error),
        (Err(_), Ok((table, _))) => {
            write(window, &table, Copy::Primary)?;
            (table, Some("the primary partition table was damaged"))
        }
        (Err(error), Err(_)) => return Err(error),
    };
    Ok(Opened { table, mended })
}

/// Reads one copy of the table, which is whole; changes nothing.
///
/// # Errors
/// As [`open`].
pub fn look(window: &mut dyn Disk, sectors: u64) -> Result<Table, TableError> {
    if sectors < 2 * COPY + 2 {
        return Err(TableError::None);
    }
    let table = match read(window, sectors, Copy::Primary) {
        Err(error) if is_torn(&error) => read(window, sectors, Copy::Backup),
        table => table,
    };
    table.map(|(table, _)| table)
}

/// Whether what was read may be what a power failure left. Everything else was meant, if not by us: a table that is whole and
/// elsewhere, or of another size.
fn is_torn(error: &TableError) -> bool {
    matches!(
        error,
        TableError::None | TableError::Bad(HEADER_SUM | TABLE_SUM)
    )
}

/// Writes a changed table; both copies must have been whole.
///
/// # Errors
/// The disk's. One copy is whole then.
pub fn store(window: &mut dyn Disk, table: &Table) -> Result<(), TableError> {
    write(window, table, Copy::Backup)?;
    write(window, table, Copy::Primary)
}

/// Reads a copy; whether it knows where the other is, too.
fn read(window: &mut dyn Disk, sectors: u64, copy: Copy) -> Result<(Table, bool), TableError> {
    let (header_at, table_at) = copy.window();
    let mut sector = [0; SECTOR];
    window.read(header_at, &mut sector)?;
    let header: GptHeader = pod_read_unaligned(sector.get(..HEADER).unwrap_or_default());
    if !header.is_signature_valid() {
        return Err(TableError::None);
    }
    let bad = |what| Err(TableError::Bad(what));
    if header.header_size.to_u32() as usize != HEADER {
        return bad("header size");
    }
    if header.calculate_header_crc32() != header.header_crc32 {
        return bad(HEADER_SUM);
    }
    let (here, entries) = copy.place(sectors);
    if header.my_lba.to_u64() != here || header.partition_entry_lba.to_u64() != entries {
        return bad("position");
    }
    if header.number_of_partition_entries.to_u32() as usize != ENTRIES
        || header.size_of_partition_entry.to_u32() as usize != size_of::<GptPartitionEntry>()
    {
        return bad("number of entries: only 128 of 128 bytes are supported");
    }
    let mut bytes = vec![0; TABLE_SECTORS as usize * SECTOR];
    window.read(table_at, &mut bytes)?;
    if checksum(&mut bytes)? != header.partition_entry_array_crc32 {
        return bad(TABLE_SUM);
    }
    let entries: Vec<GptPartitionEntry> = bytes
        .chunks_exact(size_of::<GptPartitionEntry>())
        .map(pod_read_unaligned)
        .collect();
    let table = Table {
        sectors,
        disk_guid: header.disk_guid,
        entries,
    };
    let (first, last) = table.usable();
    let inside = |entry: &&GptPartitionEntry| {
        let (start, end) = (entry.starting_lba.to_u64(), entry.ending_lba.to_u64());
        start >= first && start <= end && end <= last
    };
    if !table
        .entries
        .iter()
        .filter(|entry| entry.is_used())
        .all(|entry| inside(&entry))
    {
        return bad("entry: a partition is not between the tables");
    }
    let other = match copy {
        Copy::Primary => Copy::Backup,
        Copy::Backup => Copy::Primary,
    };
    let knows = header.alternate_lba.to_u64() == other.place(sectors).0;
    Ok((table, knows))
}

/// Writes a copy, and waits until it is on the disk.
fn write(window: &mut dyn Disk, table: &Table, copy: Copy) -> Result<(), TableError> {
    let mut entries: Vec<u8> = table.entries.iter().flat_map(bytes_of).copied().collect();
    entries.resize(TABLE_SECTORS as usize * SECTOR, 0);
    let (here, entries_at) = copy.place(table.sectors);
    let alternate = match copy {
        Copy::Primary => Copy::Backup,
        Copy::Backup => Copy::Primary,
    };
    let (first, last) = table.usable();
    let mut header = GptHeader {
        my_lba: LbaLe::from_u64(here),
        alternate_lba: LbaLe::from_u64(alternate.place(table.sectors).0),
        first_usable_lba: LbaLe::from_u64(first),
        last_usable_lba: LbaLe::from_u64(last),
        disk_guid: table.disk_guid,
        partition_entry_lba: LbaLe::from_u64(entries_at),
        number_of_partition_entries: U32Le::from_u32(ENTRIES as u32),
        partition_entry_array_crc32: checksum(&mut entries)?,
        ..GptHeader::default()
    };
    header.update_header_crc32();
    let mut sector = bytes_of(&header).to_vec();
    sector.resize(SECTOR, 0);
    let (header_at, table_at) = copy.window();
    window.write(&[(table_at, &entries), (header_at, &sector)])?;
    window.flush()?;
    Ok(())
}

fn checksum(entries: &mut [u8]) -> Result<Crc32, TableError> {
    let size = size_of::<GptPartitionEntry>() as u32;
    let layout = GptPartitionEntryArrayLayout {
        start_lba: Lba(2),
        entry_size: GptPartitionEntrySize::new(size).map_err(|_| TableError::Bad("entry size"))?,
        num_entries: ENTRIES as u32,
    };
    GptPartitionEntryArray::new(layout, BlockSize::BS_512, entries)
        .map(|entries| entries.calculate_crc32())
        .map_err(|_| TableError::Bad("table size"))
}
