//! A disk in memory that remembers the order in which it was written, and a check of what is on it.
#![allow(dead_code, reason = "each test file uses a part")]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use console::host::{Disk, DiskError, SECTOR};
use hadris_fat::format::{FatFormatOptions, FatTypeSelection, FatVolumeFormatter};
use hadris_fat::sync::{Error, ErrorKind, IoResult, Read, Seek, SeekFrom, Write};

/// The smallest FAT32 there is has 65,525 clusters.
pub const SIZE: usize = 34 << 20;

/// Contents, and each request that changed them.
#[derive(Clone, Default)]
pub struct Ram {
    pub bytes: Vec<u8>,
    pub journal: Vec<(u64, Vec<u8>)>,
    /// How long the journal was at each flush: what is before is on the disk, what is behind may be in any part.
    pub flushes: Vec<usize>,
    pub requests: usize,
    pub fail: bool,
    /// Reads that succeed; then they fail.
    pub reads_left: Option<usize>,
}

/// A disk that its maker can look at.
#[derive(Clone, Default)]
pub struct RamDisk(pub Rc<RefCell<Ram>>);

impl RamDisk {
    pub fn new(bytes: Vec<u8>) -> Self {
        let ram = Ram {
            bytes,
            ..Ram::default()
        };
        Self(Rc::new(RefCell::new(ram)))
    }

    /// A disk with an empty file system.
    pub fn formatted() -> Self {
        thread_local!(static EMPTY: Vec<u8> = format());
        Self::new(EMPTY.with(Clone::clone))
    }

    pub fn sectors(&self) -> u64 {
        (self.0.borrow().bytes.len() / SECTOR) as u64
    }

    pub fn boxed(&self) -> Box<dyn Disk> {
        Box::new(self.clone())
    }
}

impl Disk for RamDisk {
    fn read(&mut self, sector: u64, into: &mut [u8]) -> Result<(), DiskError> {
        let mut ram = self.0.borrow_mut();
        ram.requests += 1;
        if let Some(left) = &mut ram.reads_left {
            *left = left.checked_sub(1).ok_or(DiskError::Failed)?;
        }
        let start = sector as usize * SECTOR;
        let from = ram.bytes.get(start..start + into.len());
        into.copy_from_slice(from.ok_or(DiskError::Outside)?);
        Ok(())
    }

    fn write(&mut self, writes: &[(u64, &[u8])]) -> Result<(), DiskError> {
        let mut ram = self.0.borrow_mut();
        if ram.fail {
            return Err(DiskError::Failed);
        }
        for (sector, bytes) in writes {
            assert_eq!(bytes.len() % SECTOR, 0);
            ram.requests += 1;
            let start = *sector as usize * SECTOR;
            ram.bytes[start..start + bytes.len()].copy_from_slice(bytes);
            ram.journal.push((*sector, bytes.to_vec()));
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        let ram = &mut *self.0.borrow_mut();
        ram.requests += 1;
        ram.flushes.push(ram.journal.len());
        Ok(())
    }
}

struct Memory(Vec<u8>, usize);

impl Read for Memory {
    type Error = ErrorKind;
    fn read(&mut self, buf: &mut [u8]) -> IoResult<usize> {
        let count = buf.len().min(self.0.len() - self.1);
        buf[..count].copy_from_slice(&self.0[self.1..self.1 + count]);
        self.1 += count;
        Ok(count)
    }
}

impl Write for Memory {
    type Error = ErrorKind;
    fn write(&mut self, buf: &[u8]) -> IoResult<usize> {
        self.0[self.1..self.1 + buf.len()].copy_from_slice(buf);
        self.1 += buf.len();
        Ok(buf.len())
    }
    fn flush(&mut self) -> IoResult<()> {
        Ok(())
    }
}

impl Seek for Memory {
    type Error = ErrorKind;
    fn seek(&mut self, to: SeekFrom) -> IoResult<u64> {
        self.1 = match to {
            SeekFrom::Start(place) => place as usize,
            SeekFrom::Current(by) => self.1.checked_add_signed(by as isize).unwrap(),
            SeekFrom::End(_) => return Err(Error::from_kind(ErrorKind::Unsupported)),
        };
        Ok(self.1 as u64)
    }
}

fn format() -> Vec<u8> {
    let options = FatFormatOptions::new(SIZE as u64)
        .volume_label("MICROHV")
        .fat_type(FatTypeSelection::Fat32)
        .sectors_per_cluster(1)
        .fat_copies(1)
        .volume_id(1);
    let volume = FatVolumeFormatter::format(Memory(vec![0; SIZE], 0), options).unwrap();
    volume.into_inner().0
}

/// Everything that a check of a file system would mend, except lost clusters and the number of free ones; files by path
/// with their contents.
pub fn check(bytes: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let half = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let word = |at: usize| half(at) | half(at + 2) << 16;
    let table = half(14) * SECTOR;
    let clusters = table + usize::from(bytes[16]) * word(36) * SECTOR;
    let cluster_size = usize::from(bytes[13]) * SECTOR;
    let mut seen = BTreeSet::new();
    let mut chain = |first: usize| -> Result<Vec<u8>, String> {
        let (mut content, mut cluster) = (Vec::new(), first);
        while cluster < 0x0fff_fff8 {
            if cluster < 2 {
                return Err(format!("a chain leads to cluster {cluster}"));
            }
            if !seen.insert(cluster) {
                return Err(format!("cluster {cluster} is used twice"));
            }
            let at = clusters + (cluster - 2) * cluster_size;
            content.extend(&bytes[at..at + cluster_size]);
            cluster = word(table + cluster * 4) & 0x0fff_ffff;
        }
        Ok(content)
    };
    let mut files = BTreeMap::new();
    let mut folders = vec![(String::new(), word(44))];
    while let Some((path, first)) = folders.pop() {
        let mut long: Option<(u8, u8, Vec<u16>)> = None;
        for entry in chain(first)?.chunks(32) {
            match entry[0] {
                0 => break,
                0xe5 => {
                    if long.take().is_some() {
                        return Err(format!("{path}: a long name without a file"));
                    }
                    continue;
                }
                _ => {}
            }
            if entry[11] == 0x0f {
                let order = entry[0];
                let units: Vec<u16> = [1..11, 14..26, 28..32]
                    .into_iter()
                    .flat_map(|range| entry[range].chunks(2))
                    .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
                    .collect();
                long = match long.take() {
                    None if order & 0x40 != 0 => Some((order & 0x3f, entry[13], units)),
                    Some((last, sum, rest)) if order + 1 == last && entry[13] == sum => {
                        Some((order, sum, [units, rest].concat()))
                    }
                    _ => return Err(format!("{path}: a piece of a long name is out of place")),
                };
                continue;
            }
            let name = match long.take() {
                Some((1, sum, units)) => {
                    let own = entry[..11]
                        .iter()
                        .fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
                    if own != sum {
                        return Err(format!("{path}: a long name of another file"));
                    }
                    let end = units.iter().position(|&unit| unit == 0);
                    String::from_utf16_lossy(&units[..end.unwrap_or(units.len())])
                }
                Some(_) => return Err(format!("{path}: a long name is not complete")),
                None => {
                    let part =
                        |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_lowercase();
                    let (base, extension) = (part(&entry[..8]), part(&entry[8..11]));
                    let dot = if extension.is_empty() { "" } else { "." };
                    format!("{base}{dot}{extension}")
                }
            };
            if entry[11] & 8 != 0 || name == "." || name == ".." {
                continue;
            }
            let number = |at: usize| usize::from(u16::from_le_bytes([entry[at], entry[at + 1]]));
            let first = number(26) | number(20) << 16;
            let size = number(28) | number(30) << 16;
            let path = format!("{path}{name}");
            if entry[11] & 16 != 0 {
                folders.push((format!("{path}/"), first));
                continue;
            }
            let mut content = if first == 0 {
                Vec::new()
            } else {
                chain(first)?
            };
            if content.len() < size {
                return Err(format!(
                    "{path} has {size} bytes and clusters for {}",
                    content.len()
                ));
            }
            content.truncate(size);
            if files.insert(path.clone(), content).is_some() {
                return Err(format!("{path} is there twice"));
            }
        }
        if long.is_some() {
            return Err(format!("{path}: a long name without a file"));
        }
    }
    Ok(files)
}
