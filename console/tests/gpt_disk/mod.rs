//! A pretended disk with a partition table, made by another implementation.
#![allow(dead_code, reason = "each test file uses a part")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom, Write};
use std::rc::Rc;

use console::host::{Disk, DiskError};
use console::partitions::{Opened, Table, TableError, WINDOW, open};
use gptman::{GPT, GPTPartitionEntry};

/// 64 MiB.
pub const SECTORS: u64 = 131_072;

/// What reached the disk: groups of writes, each ended by a flush.
pub type Journal = Vec<Vec<(u64, Vec<u8>)>>;

/// A disk of which only the sectors that were written are kept.
#[derive(Clone, Default, PartialEq)]
pub struct Sparse {
    pub sectors: u64,
    pub written: BTreeMap<u64, Vec<u8>>,
    position: u64,
}

impl Sparse {
    pub fn sector(&self, sector: u64) -> Vec<u8> {
        let written = self.written.get(&sector);
        written.cloned().unwrap_or_else(|| vec![0; 512])
    }

    /// Changes the byte at `at`.
    pub fn change(&mut self, at: u64, how: impl FnOnce(u8) -> u8) {
        let mut sector = self.sector(at / 512);
        let byte = &mut sector[(at % 512) as usize];
        *byte = how(*byte);
        self.written.insert(at / 512, sector);
    }
}

impl Read for Sparse {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        for byte in into.iter_mut() {
            *byte = self.sector(self.position / 512)[(self.position % 512) as usize];
            self.position += 1;
        }
        Ok(into.len())
    }
}

impl Write for Sparse {
    fn write(&mut self, from: &[u8]) -> std::io::Result<usize> {
        for &byte in from {
            self.change(self.position, |_| byte);
            self.position += 1;
        }
        Ok(from.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Seek for Sparse {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.position = match to {
            SeekFrom::Start(place) => place,
            SeekFrom::Current(by) => self.position.strict_add_signed(by),
            SeekFrom::End(by) => (self.sectors * 512).strict_add_signed(by),
        };
        Ok(self.position)
    }
}

/// A disk, seen through the window on its table, or as a part of it.
#[derive(Clone)]
pub struct Window {
    pub image: Rc<RefCell<Sparse>>,
    pub journal: Rc<RefCell<Journal>>,
    /// First sector and sectors.
    pub part: Option<(u64, u64)>,
}

impl Window {
    /// A disk with `partitions`: type, first sector, sectors, name.
    pub fn new(partitions: &[(u8, u64, u64, &str)]) -> Self {
        let mut image = Sparse {
            sectors: SECTORS,
            ..Sparse::default()
        };
        let mut gpt = GPT::new_from(&mut image, 512, [0xd1; 16]).unwrap();
        for (index, (kind, first, sectors, name)) in (1..).zip(partitions) {
            gpt[index] = GPTPartitionEntry {
                partition_type_guid: match kind {
                    b'e' => *b"\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b",
                    b'b' => *b"Hah!IdontNeedEFI",
                    _ => *b"\xaf\x3d\xc6\x0f\x83\x84\x72\x47\x8e\x79\x3d\x69\xd8\x47\x7d\xe4",
                },
                unique_partition_guid: [index as u8; 16],
                starting_lba: *first,
                ending_lba: first + sectors - 1,
                attribute_bits: 4,
                partition_name: (*name).into(),
            };
        }
        gpt.write_into(&mut image).unwrap();
        Self::over(image)
    }

    pub fn over(image: Sparse) -> Self {
        Self {
            image: Rc::new(RefCell::new(image)),
            journal: Rc::new(RefCell::new(vec![vec![]])),
            part: None,
        }
    }

    /// A part of the same disk.
    pub fn part(&self, first: u64, sectors: u64) -> Self {
        Self {
            part: Some((first, sectors)),
            ..self.clone()
        }
    }

    /// Where on the disk a sector of the window is.
    pub fn at(&self, sector: u64) -> u64 {
        match (self.part, sector) {
            (Some((first, sectors)), _) => {
                assert!(sector < sectors);
                first + sector
            }
            (None, 0..33) => sector + 1,
            (None, _) => {
                assert!(sector < WINDOW);
                self.image.borrow().sectors - WINDOW + sector
            }
        }
    }

    pub fn open(&self) -> Result<Opened, TableError> {
        let sectors = self.image.borrow().sectors;
        open(&mut self.clone(), sectors)
    }

    /// Names, first sectors and sectors, as another implementation reads them from one copy, of what is wiped.
    pub fn copy(&self, primary: bool) -> Option<Vec<(String, u64, u64)>> {
        let mut image = self.image.borrow().clone();
        let other = if primary { image.sectors - 1 } else { 1 };
        image.written.remove(&other);
        let gpt = GPT::find_from(&mut image).ok()?;
        let used = gpt.iter().filter(|(_, entry)| {
            entry.is_used() && entry.partition_type_guid != xen_abi::microhv::VOLUME_UNWIPED
        });
        Some(
            used.map(|(_, entry)| {
                (
                    entry.partition_name.as_str().to_string(),
                    entry.starting_lba,
                    entry.size().unwrap(),
                )
            })
            .collect(),
        )
    }
}

impl Disk for Window {
    fn read(&mut self, sector: u64, into: &mut [u8]) -> Result<(), DiskError> {
        for (sector, into) in (sector..).zip(into.chunks_mut(512)) {
            let at = self.at(sector);
            into.copy_from_slice(&self.image.borrow().sector(at));
        }
        Ok(())
    }

    fn write(&mut self, writes: &[(u64, &[u8])]) -> Result<(), DiskError> {
        for (sector, bytes) in writes {
            for (sector, bytes) in (*sector..).zip(bytes.chunks(512)) {
                let at = self.at(sector);
                let written = &mut self.image.borrow_mut().written;
                written.insert(at, bytes.to_vec());
                let mut journal = self.journal.borrow_mut();
                journal.last_mut().unwrap().push((at, bytes.to_vec()));
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        self.journal.borrow_mut().push(vec![]);
        Ok(())
    }
}

pub fn usual() -> Window {
    Window::new(&[
        (b'b', 34, 2014, "bios"),
        (b'e', 2048, 4096, "microhv"),
        (b'l', 6144, 10_000, "debian-root"),
    ])
}

pub fn table(window: &Window) -> Table {
    let opened = window.open().unwrap();
    assert_eq!(opened.mended, None);
    opened.table
}
