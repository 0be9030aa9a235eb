//! Where on a disk a file system may be: all of it, or a partition of an MBR or a GPT.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

const SECTOR: u64 = 512;
/// Partitions that are looked at.
const PLACES_MAX: usize = 128;
/// Bytes of an entry of a GPT, as most have it, and at most.
const GPT_ENTRY: usize = 128;
const GPT_ENTRY_MAX: u64 = 4096;
/// MBR partition types: none, extended ones, and "there is a GPT".
const NONE: u8 = 0;
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];
const PROTECTIVE: u8 = 0xee;

/// A part of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its number, as Linux counts it; `None` is the whole disk.
    pub number: Option<u32>,
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub size: u64,
}

/// The whole of a disk of `size` bytes, and its partitions in their order. `read` fills a buffer from a byte on.
///
/// # Errors
/// Those of `read`.
pub fn places(
    size: u64,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<(), String>,
) -> Result<Vec<Place>, String> {
    let mut places = vec![Place {
        number: None,
        start: 0,
        size,
    }];
    if size < 2 * SECTOR {
        return Ok(places);
    }
    let mut mbr = [0; 512];
    read(0, &mut mbr)?;
    if mbr.get(510..) != Some(&[0x55, 0xaa]) {
        return Ok(places);
    }
    let mut gpt = false;
    for number in 1..=4_u32 {
        let at = 446 + 16 * (number as usize - 1);
        let kind = mbr.get(at + 4).copied().unwrap_or(NONE);
        gpt |= kind == PROTECTIVE;
        if kind == NONE || kind == PROTECTIVE || EXTENDED.contains(&kind) {
            continue;
        }
        let (start, count) = (field(&mbr, at + 8, 4), field(&mbr, at + 12, 4));
        add(
            &mut places,
            size,
            number,
            start,
            start.saturating_add(count),
        );
    }
    if !gpt {
        return Ok(places);
    }
    let mut header = [0; 512];
    read(SECTOR, &mut header)?;
    if header.get(..8) != Some(b"EFI PART") {
        return Ok(places);
    }
    let (table, count, step) = (
        field(&header, 72, 8),
        field(&header, 80, 4),
        field(&header, 84, 4),
    );
    if !(GPT_ENTRY as u64..=GPT_ENTRY_MAX).contains(&step) {
        return Ok(places);
    }
    for index in 0..count.min(PLACES_MAX as u64) {
        let at = table
            .checked_mul(SECTOR)
            .and_then(|at| at.checked_add(index * step));
        let Some(at) = at.filter(|at| {
            at.checked_add(GPT_ENTRY as u64)
                .is_some_and(|end| end <= size)
        }) else {
            break;
        };
        let mut entry = [0; GPT_ENTRY];
        read(at, &mut entry)?;
        let unused = entry.iter().take(16).all(|&byte| byte == 0);
        if !unused {
            let (first, last) = (field(&entry, 32, 8), field(&entry, 40, 8));
            add(
                &mut places,
                size,
                index as u32 + 1,
                first,
                last.saturating_add(1),
            );
        }
    }
    Ok(places)
}

/// Adds sectors `first..end`, if the disk has them and no other partition is the same.
fn add(places: &mut Vec<Place>, size: u64, number: u32, first: u64, end: u64) {
    if first == 0 || first >= end || end > size / SECTOR {
        return;
    }
    let (start, size) = (first * SECTOR, (end - first) * SECTOR);
    if !places
        .iter()
        .any(|place| (place.start, place.size) == (start, size))
    {
        places.push(Place {
            number: Some(number),
            start,
            size,
        });
    }
}

fn field(bytes: &[u8], at: usize, size: usize) -> u64 {
    let field = bytes.iter().skip(at).take(size).rev();
    field.fold(0, |number, &byte| number << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A disk of `sectors` sectors with these bytes.
    fn places_on(sectors: usize, bytes: &[(usize, &[u8])]) -> Vec<Place> {
        let mut disk = vec![0; sectors * 512];
        for (at, bytes) in bytes {
            disk[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        let size = disk.len() as u64;
        places(size, |offset, into| {
            let start = offset as usize;
            into.copy_from_slice(&disk[start..start + into.len()]);
            Ok(())
        })
        .unwrap()
    }

    fn partition(number: u32, start: u64, size: u64) -> Place {
        Place {
            number: Some(number),
            start: start * 512,
            size: size * 512,
        }
    }

    #[test]
    fn partitions_of_both_kinds() {
        let whole = |sectors: u64| Place {
            number: None,
            start: 0,
            size: sectors * 512,
        };
        let magic = (510, &[0x55, 0xaa][..]);
        let mbr = |kind: u8, start: u8, count: u8| {
            [0, 0, 0, 0, kind, 0, 0, 0, start, 0, 0, 0, count, 0, 0, 0]
        };
        assert_eq!(places_on(1, &[]), [whole(1)]);
        assert_eq!(places_on(100, &[(446, &mbr(0x83, 10, 20))]), [whole(100)]);
        let entries: [(usize, &[u8]); 4] = [
            (446, &mbr(0x83, 10, 20)),
            (462, &mbr(0x05, 40, 20)),
            (478, &mbr(0x83, 90, 20)),
            (494, &mbr(0x82, 40, 50)),
        ];
        assert_eq!(
            places_on(100, &[&entries[..], &[magic]].concat()),
            [whole(100), partition(1, 10, 20), partition(4, 40, 50)]
        );
        let entry = |first: u8, last: u8| {
            let mut entry = vec![7; 128];
            entry[32..48].fill(0);
            entry[32] = first;
            entry[40] = last;
            entry
        };
        let header = |table: u8, count: u8, step: u8| {
            let mut header = b"EFI PART".to_vec();
            header.resize(512, 0);
            header[72] = table;
            header[80] = count;
            header[84] = step;
            header
        };
        let gpt = |header: &[u8]| {
            places_on(
                100,
                &[
                    (446, &mbr(0xee, 1, 99)),
                    magic,
                    (512, header),
                    (1024, &entry(34, 40)),
                    (1024 + 256, &entry(50, 99)),
                    (1024 + 384, &entry(50, 100)),
                    (1024 + 512, &entry(60, 50)),
                ],
            )
        };
        assert_eq!(
            gpt(&header(2, 128, 128)),
            [whole(100), partition(1, 34, 7), partition(3, 50, 50)]
        );
        // The same sectors twice are looked at once.
        let same = entry(34, 40);
        let all = [
            (446, &mbr(0xee, 1, 99)[..]),
            magic,
            (512, &header(2, 128, 128)),
            (1024, &same),
            (1024 + 128, &same),
        ];
        assert_eq!(places_on(100, &all), [whole(100), partition(1, 34, 7)]);
        for header in [
            header(2, 128, 0),
            header(99, 128, 128),
            header(0xff, 128, 128),
        ] {
            assert_eq!(gpt(&header).first(), Some(&whole(100)));
        }
    }

    proptest! {
        #[test]
        fn no_partition_table_makes_it_panic(
            mut mbr in prop::collection::vec(any::<u8>(), 512),
            header in prop::collection::vec(any::<u8>(), 24),
            table in prop::collection::vec(any::<u8>(), 1024),
            gpt in any::<bool>(),
        ) {
            mbr[510..].copy_from_slice(&[0x55, 0xaa]);
            mbr[450] = if gpt { 0xee } else { mbr[450] };
            let found = places_on(64, &[(0, &mbr), (512, b"EFI PART"), (512 + 72, &header), (1024, &table)]);
            for place in found {
                prop_assert!(place.start.checked_add(place.size).is_some_and(|end| end <= 64 * 512));
            }
        }
    }
}
