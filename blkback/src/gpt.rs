//! The partition table of a disk (UEFI specification 2.10, chapter 5: GUID partition table).
//!
//! The disk's contents were written by whoever had it before: every number is checked, nothing is believed.

use alloc::string::String;
use alloc::vec::Vec;

use xen_abi::microhv::VOLUME_UNWIPED;

use crate::extents::Extent;

/// Bytes of the disk's logical blocks. Other sizes are not supported.
const BLOCK: usize = 512;
/// Bytes of an entry, at least, by the specification.
const ENTRY: usize = 128;
/// Bytes of a table that we read at most: 1,024 entries of the usual size (128 entries are usual).
const MAX_TABLE: usize = 1024 * ENTRY;
/// What `params` of sectors that are to be made zeros begin with; the volume's name follows. For Domain-0 only.
pub const WIPE: &str = "/dev/wipe/";
const SIGNATURE: &[u8; 8] = b"EFI PART";
/// Bytes of the header that the specification defines.
const HEADER: usize = 92;

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its place in the table, from 1 on.
    pub number: u32,
    /// Its name; what is no UTF-16 is replaced.
    pub name: String,
    /// Where it is.
    pub extent: Extent,
    /// Its sectors are still to be made zeros: it is no disk for anybody.
    pub unwiped: bool,
}

/// Why a table cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GptError {
    /// The disk could not be read.
    Unreadable,
    /// There is no table.
    Missing,
    /// The named part of it is wrong.
    Bad(&'static str),
}

impl core::fmt::Display for GptError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Unreadable => f.write_str("cannot read the disk"),
            Self::Missing => f.write_str("no GUID partition table"),
            Self::Bad(what) => write!(f, "GUID partition table: bad {what}"),
        }
    }
}

/// Reads the partitions of a disk of `sectors` sectors with `read`, which gives `count` sectors from a sector on. The copy at
/// the disk's end is used if the first one is damaged.
///
/// # Errors
/// What is wrong with the first table, if neither can be used.
pub fn partitions(
    sectors: u64,
    mut read: impl FnMut(u64, usize) -> Option<Vec<u8>>,
) -> Result<Vec<Partition>, GptError> {
    let first = table(sectors, 1, &mut read);
    match (&first, sectors.checked_sub(1)) {
        (Err(_), Some(last)) if last > 1 => table(sectors, last, &mut read).or(first),
        _ => first,
    }
}

fn table(
    sectors: u64,
    at: u64,
    read: &mut impl FnMut(u64, usize) -> Option<Vec<u8>>,
) -> Result<Vec<Partition>, GptError> {
    if at >= sectors {
        return Err(GptError::Missing);
    }
    let header = read(at, 1).ok_or(GptError::Unreadable)?;
    let header = header.get(..BLOCK).ok_or(GptError::Unreadable)?;
    if &header[..8] != SIGNATURE {
        return Err(GptError::Missing);
    }
    let size = number(header, 12, 4) as usize;
    let mut sum = header
        .get(..size)
        .filter(|_| size >= HEADER)
        .ok_or(GptError::Bad("header size"))?
        .to_vec();
    sum[16..20].fill(0);
    if u64::from(crc32(&sum)) != number(header, 16, 4) {
        return Err(GptError::Bad("header checksum"));
    }
    if number(header, 24, 8) != at {
        return Err(GptError::Bad("header position"));
    }
    let (start, count, entry_size) = (
        number(header, 72, 8),
        number(header, 80, 4),
        number(header, 84, 4),
    );
    let entry_size = usize::try_from(entry_size).map_err(|_| GptError::Bad("entry size"))?;
    if entry_size < ENTRY || !entry_size.is_power_of_two() {
        return Err(GptError::Bad("entry size"));
    }
    let bytes = usize::try_from(count)
        .ok()
        .and_then(|count| count.checked_mul(entry_size));
    let bytes = bytes
        .filter(|&bytes| bytes <= MAX_TABLE)
        .ok_or(GptError::Bad("number of entries"))?;
    let blocks = bytes.div_ceil(BLOCK);
    if start
        .checked_add(blocks as u64)
        .is_none_or(|end| end > sectors)
    {
        return Err(GptError::Bad("table position"));
    }
    let table = read(start, blocks).ok_or(GptError::Unreadable)?;
    let table = table.get(..bytes).ok_or(GptError::Unreadable)?;
    if u64::from(crc32(table)) != number(header, 88, 4) {
        return Err(GptError::Bad("table checksum"));
    }
    let partition = |(index, entry): (usize, &[u8])| {
        let (first, last) = (number(entry, 32, 8), number(entry, 40, 8));
        if entry[..16] == [0; 16] || first > last || last >= sectors {
            return None;
        }
        let extent = Extent {
            start: first,
            sectors: last - first + 1,
        };
        Some(Partition {
            number: index as u32 + 1,
            name: name(&entry[56..ENTRY]),
            extent,
            unwiped: entry[..16] == VOLUME_UNWIPED,
        })
    };
    Ok(table
        .chunks_exact(entry_size)
        .enumerate()
        .filter_map(partition)
        .collect())
}

/// The little-endian number of `len` bytes at `at`; the caller has checked that it is there.
fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes
        .iter()
        .skip(at)
        .take(len)
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn name(bytes: &[u8]) -> String {
    let units = bytes
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .take_while(|unit| *unit != 0);
    char::decode_utf16(units)
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

/// CRC-32 as in Ethernet (reflected polynomial 0xedb88320), which the specification asks for.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let carry = crc & 1 != 0;
            crc >>= 1;
            if carry {
                crc ^= 0xedb8_8320;
            }
        }
    }
    !crc
}

/// What a backend's `params` key leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A disk.
    Disk(Extent),
    /// Sectors that are still to be made zeros.
    Unwiped(Extent),
}

/// Finds on `disk` what a backend's `params` key names: `/dev/gpt/NAME`, `/dev/vd0pN`, or `/dev/vd0`, the whole of the disk `vd0`;
/// [`WIPE`] and a name for what is to be made zeros.
#[must_use]
pub fn find(params: &str, disk: &str, sectors: u64, partitions: &[Partition]) -> Option<Found> {
    let named = |name: &str, wanted: bool| {
        let mut all = partitions.iter();
        all.find(|partition| partition.name == name && partition.unwiped == wanted)
    };
    let partition = if let Some(name) = params.strip_prefix(WIPE) {
        named(name, true)?
    } else if let Some(name) = params.strip_prefix("/dev/gpt/") {
        // What a volume is to grow by has its name.
        named(name, false).or_else(|| named(name, true))?
    } else {
        match params.strip_prefix("/dev/")?.strip_prefix(disk)? {
            "" => return Some(Found::Disk(Extent { start: 0, sectors })),
            part => {
                let number: u32 = part.strip_prefix('p')?.parse().ok()?;
                let mut all = partitions.iter();
                all.find(|partition| partition.number == number)?
            }
        }
    };
    Some(match partition.unwiped {
        true => Found::Unwiped(partition.extent),
        false => Found::Disk(partition.extent),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A disk with partitions of the given names, each of 100 sectors from sector 2048 on.
    pub(crate) fn disk(sectors: u64, names: &[&str]) -> Vec<u8> {
        let mut disk = vec![0; sectors as usize * BLOCK];
        let mut table = vec![0; 128 * ENTRY];
        for (index, name) in names.iter().enumerate() {
            let entry = &mut table[index * ENTRY..][..ENTRY];
            entry[..16].fill(0xaf);
            let first = 2048 + index as u64 * 100;
            entry[32..40].copy_from_slice(&first.to_le_bytes());
            entry[40..48].copy_from_slice(&(first + 99).to_le_bytes());
            for (unit, place) in name.encode_utf16().zip(entry[56..].chunks_exact_mut(2)) {
                place.copy_from_slice(&unit.to_le_bytes());
            }
        }
        for (at, start) in [(1, 2), (sectors - 1, sectors - 33)] {
            let mut header = vec![0; BLOCK];
            header[..8].copy_from_slice(SIGNATURE);
            header[12..16].copy_from_slice(&92u32.to_le_bytes());
            header[24..32].copy_from_slice(&at.to_le_bytes());
            header[72..80].copy_from_slice(&start.to_le_bytes());
            header[80..84].copy_from_slice(&128u32.to_le_bytes());
            header[84..88].copy_from_slice(&128u32.to_le_bytes());
            header[88..92].copy_from_slice(&crc32(&table).to_le_bytes());
            let sum = crc32(&header[..92]);
            header[16..20].copy_from_slice(&sum.to_le_bytes());
            disk[at as usize * BLOCK..][..BLOCK].copy_from_slice(&header);
            disk[start as usize * BLOCK..][..table.len()].copy_from_slice(&table);
        }
        disk
    }

    /// Changes the type of the partitions with these numbers.
    pub(crate) fn set_unwiped(disk: &mut [u8], numbers: &[usize]) {
        let sectors = disk.len() / BLOCK;
        for (at, start) in [(1, 2), (sectors - 1, sectors - 33)] {
            for number in numbers {
                disk[start * BLOCK + (number - 1) * ENTRY..][..16].copy_from_slice(&VOLUME_UNWIPED);
            }
            let sum = crc32(&disk[start * BLOCK..][..128 * ENTRY]);
            let header = &mut disk[at * BLOCK..][..BLOCK];
            header[88..92].copy_from_slice(&sum.to_le_bytes());
            header[16..20].fill(0);
            let sum = crc32(&header[..92]);
            header[16..20].copy_from_slice(&sum.to_le_bytes());
        }
    }

    fn parse(disk: &[u8]) -> Result<Vec<Partition>, GptError> {
        partitions((disk.len() / BLOCK) as u64, |at, count| {
            disk.get(at as usize * BLOCK..)?
                .get(..count * BLOCK)
                .map(<[u8]>::to_vec)
        })
    }

    #[test]
    fn partitions_are_found_by_name_and_number() {
        let found = parse(&disk(4096, &["boot", "debian-root", "größer"])).unwrap();
        assert_eq!(found.len(), 3);
        let root = Extent {
            start: 2148,
            sectors: 100,
        };
        assert_eq!(
            find("/dev/gpt/debian-root", "vd0", 4096, &found),
            Some(Found::Disk(root))
        );
        assert_eq!(
            find("/dev/vd0p2", "vd0", 4096, &found),
            Some(Found::Disk(root))
        );
        let disk = |start, sectors| Some(Found::Disk(Extent { start, sectors }));
        assert_eq!(
            find("/dev/gpt/größer", "vd0", 4096, &found),
            disk(2248, 100)
        );
        assert_eq!(find("/dev/vd0", "vd0", 4096, &found), disk(0, 4096));
        for nothing in [
            "/dev/gpt/",
            "/dev/gpt/debian",
            "/dev/vd0p4",
            "/dev/vd0p",
            "/dev/vd1",
            "/dev/md0",
            "/dev/vd00",
            "/dev/vd0x",
            "/dev/wipe/debian-root",
            "debian-root",
            "",
        ] {
            assert_eq!(find(nothing, "vd0", 4096, &found), None, "{nothing}");
        }
    }

    #[test]
    fn what_is_not_wiped_is_told_apart_by_its_type() {
        let mut disk = disk(4096, &["data", "new", "data"]);
        assert!(parse(&disk).unwrap().iter().all(|found| !found.unwiped));
        set_unwiped(&mut disk, &[2, 3]);
        let found = parse(&disk).unwrap();
        let find = |params: &str| find(params, "vd0", 4096, &found);
        let extent = |start| Extent {
            start,
            sectors: 100,
        };
        for (params, place) in [
            ("/dev/gpt/data", Found::Disk(extent(2048))),
            ("/dev/wipe/data", Found::Unwiped(extent(2248))),
            ("/dev/vd0p3", Found::Unwiped(extent(2248))),
            ("/dev/gpt/new", Found::Unwiped(extent(2148))),
            ("/dev/wipe/new", Found::Unwiped(extent(2148))),
        ] {
            assert_eq!(find(params), Some(place), "{params}");
        }
        assert_eq!(find("/dev/wipe/"), None);
    }

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_damaged_table_is_replaced_by_its_copy() {
        let good = disk(4096, &["root"]);
        for place in [512 + 20, 512 + 80, 1024 + 60] {
            let mut bad = good.clone();
            bad[place] ^= 1;
            assert_eq!(parse(&bad).unwrap().len(), 1, "byte {place}");
            bad[4095 * 512 + 80] ^= 1;
            assert!(matches!(parse(&bad), Err(GptError::Bad(_))), "byte {place}");
        }
        assert_eq!(parse(&vec![0; 4096 * 512]), Err(GptError::Missing));
        assert_eq!(parse(&[]), Err(GptError::Missing));
    }

    #[test]
    fn partitions_that_reach_beyond_the_disk_are_left_out() {
        let mut short = disk(4096, &["inside", "outside"]);
        let entry = 1024 + 128;
        short[entry + 40..entry + 48].copy_from_slice(&4096u64.to_le_bytes());
        let sum = crc32(&short[1024..1024 + 128 * 128]);
        short[512 + 88..512 + 92].copy_from_slice(&sum.to_le_bytes());
        short[512 + 16..512 + 20].fill(0);
        let sum = crc32(&short[512..512 + 92]);
        short[512 + 16..512 + 20].copy_from_slice(&sum.to_le_bytes());
        let names: Vec<_> = parse(&short)
            .unwrap()
            .into_iter()
            .map(|partition| partition.name)
            .collect();
        assert_eq!(names, ["inside"]);
    }

    proptest! {
        /// Any header with a right checksum: an answer, and only partitions on the disk.
        #[test]
        fn any_table_is_survived(
            size in prop_oneof![Just(92u32), any::<u32>()],
            start in prop_oneof![0..5000u64, any::<u64>()],
            count in prop_oneof![0..2000u32, any::<u32>()],
            entry in prop_oneof![Just(128u32), any::<u32>()],
            noise in prop::collection::vec(any::<u8>(), 512),
        ) {
            let mut disk = disk(4096, &["root"]);
            disk[2048 * 512..2049 * 512].copy_from_slice(&noise);
            let header = &mut disk[512..1024];
            header[12..16].copy_from_slice(&size.to_le_bytes());
            header[72..80].copy_from_slice(&start.to_le_bytes());
            header[80..84].copy_from_slice(&count.to_le_bytes());
            header[84..88].copy_from_slice(&entry.to_le_bytes());
            header[16..20].fill(0);
            let sum = crc32(&header[..(size as usize).clamp(92, 512)]);
            header[16..20].copy_from_slice(&sum.to_le_bytes());
            for partition in parse(&disk).unwrap_or_default() {
                prop_assert!(partition.extent.start + partition.extent.sectors <= 4096);
            }
        }
    }
}
