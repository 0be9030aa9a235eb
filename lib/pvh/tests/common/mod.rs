//! A small ELF file writer and a sparse guest memory.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeMap;
use std::convert::Infallible;

/// Guest memory as 4-KiB pages; refuses what was not populated.
#[derive(Default)]
pub struct Memory(pub BTreeMap<u64, Vec<u8>>);

impl Memory {
    pub fn of(layout: &pvh::Layout) -> Self {
        let mut memory = Self::default();
        for range in layout.populate() {
            for gfn in range.first_gfn()..range.first_gfn() + range.frames() {
                memory.0.insert(gfn, Vec::new());
            }
        }
        memory
    }

    pub fn read(&self, gpa: u64, size: usize) -> Vec<u8> {
        (gpa..gpa + size as u64)
            .map(|a| {
                self.0[&(a / 4096)]
                    .get((a % 4096) as usize)
                    .copied()
                    .unwrap_or(0)
            })
            .collect()
    }

    pub fn u32(&self, gpa: u64) -> u32 {
        u32::from_le_bytes(self.read(gpa, 4).try_into().unwrap())
    }

    pub fn u64(&self, gpa: u64) -> u64 {
        u64::from_le_bytes(self.read(gpa, 8).try_into().unwrap())
    }
}

impl pvh::GuestMemory for Memory {
    type Error = Infallible;
    fn write(&mut self, gpa: u64, bytes: &[u8]) -> Result<(), Infallible> {
        for (address, byte) in (gpa..).zip(bytes) {
            let page = self
                .0
                .get_mut(&(address / 4096))
                .expect("write outside populated memory");
            page.resize(4096, 0);
            page[(address % 4096) as usize] = *byte;
        }
        Ok(())
    }
}

/// One segment: physical address, file bytes, size in memory.
pub type Part<'a> = (u64, &'a [u8], u64);

pub fn elf(class64: bool, machine: u16, note: Option<&[u8]>, parts: &[Part<'_>]) -> Vec<u8> {
    let mut note_bytes = Vec::new();
    // A note of another owner first, with a name that needs padding.
    for (name, kind, desc) in [(&b"Linux\0"[..], 18_u32, &[1_u8, 2, 3][..])]
        .into_iter()
        .chain(note.map(|desc| (&b"Xen\0"[..], 18, desc)))
    {
        note_bytes.extend((name.len() as u32).to_le_bytes());
        note_bytes.extend((desc.len() as u32).to_le_bytes());
        note_bytes.extend(kind.to_le_bytes());
        note_bytes.extend(name);
        note_bytes.resize(note_bytes.len().next_multiple_of(4), 0);
        note_bytes.extend(desc);
        note_bytes.resize(note_bytes.len().next_multiple_of(4), 0);
    }
    let (ehsize, phsize) = if class64 {
        (64_usize, 56_usize)
    } else {
        (52, 32)
    };
    let count = parts.len() + 1;
    let mut data: Vec<u8> = Vec::new();
    let mut headers: Vec<u8> = Vec::new();
    let mut header = |kind: u32, address: u64, bytes: &[u8], memsz: u64, align: u64| {
        let offset = (ehsize + phsize * count + data.len()) as u64;
        data.extend(bytes);
        let filesz = bytes.len() as u64;
        if class64 {
            headers.extend(kind.to_le_bytes());
            headers.extend(7_u32.to_le_bytes());
            for field in [offset, !0 << 30, address, filesz, memsz, align] {
                headers.extend(field.to_le_bytes());
            }
        } else {
            let words = [
                kind.into(),
                offset,
                0xc000_0000,
                address,
                filesz,
                memsz,
                7,
                align,
            ];
            for field in words {
                headers.extend((field as u32).to_le_bytes());
            }
        }
    };
    for (address, bytes, memsz) in parts {
        header(1, *address, bytes, *memsz, 4096);
    }
    header(4, 0, &note_bytes, note_bytes.len() as u64, 4);

    let mut file = vec![0x7f, b'E', b'L', b'F', if class64 { 2 } else { 1 }, 1, 1];
    file.resize(16, 0);
    file.extend(2_u16.to_le_bytes());
    file.extend(machine.to_le_bytes());
    file.extend(1_u32.to_le_bytes());
    let wide = |file: &mut Vec<u8>, value: u64| {
        let bytes = value.to_le_bytes();
        file.extend(&bytes[..if class64 { 8 } else { 4 }]);
    };
    wide(&mut file, 0);
    wide(&mut file, ehsize as u64);
    wide(&mut file, 0);
    file.extend(0_u32.to_le_bytes());
    for half in [ehsize, phsize, count, 0, 0, 0] {
        file.extend((half as u16).to_le_bytes());
    }
    file.extend(headers);
    file.extend(data);
    file
}
