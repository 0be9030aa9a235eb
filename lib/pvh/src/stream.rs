//! A kernel image that passes by once, from its first byte to its last, and is never in memory as a whole.

use elf::ElfBytes;
use elf::abi;
use elf::endian::AnyEndian;
use elf::file::Class;
use heapless::Vec;

use crate::image::{ImageError, checked_header, entry_in};

/// Bytes of the file's beginning in which ELF header and program headers must lie.
const HEAD: usize = 4096;
/// Segments to load: Linux has 4 or 5.
const SEGMENTS_MAX: usize = 32;
/// Note segments, and bytes of them, that are kept: Linux has one of 512 bytes.
const NOTES_MAX: usize = 4;
const NOTE_BYTES_MAX: usize = 4096;

/// A part of the file with a purpose.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// Bytes `from..end` of the file.
    from: u64,
    end: u64,
    /// Guest-physical address, or for notes the place in the buffer.
    place: u64,
}

/// A kernel image in passing: [`Self::parse`] its beginning, [`Self::feed`] it all, then ask for its [`Self::entry`].
#[derive(Debug)]
pub struct ImageStream {
    class: Class,
    endian: AnyEndian,
    segments: Vec<Part, SEGMENTS_MAX>,
    /// What the segments occupy in memory.
    occupied: Vec<(u64, u64), SEGMENTS_MAX>,
    notes: Vec<Part, NOTES_MAX>,
    note_bytes: [u8; NOTE_BYTES_MAX],
    end: u64,
    position: u64,
}

impl ImageStream {
    /// Checks the beginning of a file: at least its first 4096 bytes, or all of it.
    ///
    /// # Errors
    /// Says what is wrong; never panics, whatever the bytes.
    pub fn parse(head: &[u8]) -> Result<Self, ImageError> {
        let mut copy = [0; HEAD];
        let length = head.len().min(HEAD);
        for (to, from) in copy.iter_mut().zip(head) {
            *to = *from;
        }
        if copy.get(..4) != Some(&abi::ELFMAGIC) {
            return Err(ImageError::NotElf);
        }
        // Section headers are at the end of the file, where nobody looks: without them the parser takes the beginning.
        let (offset, count) = match copy.get(abi::EI_CLASS) {
            Some(&abi::ELFCLASS64) => (0x28..0x30, 0x3c..0x40),
            _ => (0x20..0x24, 0x30..0x34),
        };
        for range in [offset, count] {
            if let Some(field) = copy.get_mut(range) {
                field.fill(0);
            }
        }
        let head = copy.get(..length).unwrap_or_default();
        let elf = ElfBytes::<AnyEndian>::minimal_parse(head).map_err(|_| ImageError::BadElf)?;
        checked_header(&elf)?;
        let mut image = Self {
            class: elf.ehdr.class,
            endian: elf.ehdr.endianness,
            segments: Vec::new(),
            occupied: Vec::new(),
            notes: Vec::new(),
            note_bytes: [0; NOTE_BYTES_MAX],
            end: 0,
            position: 0,
        };
        let mut kept = 0;
        for header in elf.segments().into_iter().flatten() {
            let end = header.p_offset.checked_add(header.p_filesz);
            match header.p_type {
                abi::PT_LOAD if header.p_memsz != 0 => {
                    let bad = ImageError::BadSegment {
                        address: header.p_paddr,
                    };
                    let last = header.p_paddr.checked_add(header.p_memsz).ok_or(bad)?;
                    if header.p_filesz > header.p_memsz {
                        return Err(bad);
                    }
                    let part = Part {
                        from: header.p_offset,
                        end: end.ok_or(bad)?,
                        place: header.p_paddr,
                    };
                    image.segments.push(part).map_err(|_| ImageError::BadElf)?;
                    let range = (header.p_paddr, last);
                    image.occupied.push(range).map_err(|_| ImageError::BadElf)?;
                    image.end = image.end.max(last);
                }
                abi::PT_NOTE => {
                    let room = NOTE_BYTES_MAX as u64 - kept;
                    let size = header.p_filesz.min(room);
                    let part = Part {
                        from: header.p_offset,
                        end: header.p_offset.saturating_add(size),
                        place: kept,
                    };
                    // What is behind the limit is not looked at.
                    if size > 0 && image.notes.push(part).is_ok() {
                        kept += size;
                    }
                }
                _ => {}
            }
        }
        if image.segments.is_empty() {
            return Err(ImageError::NoSegments);
        }
        Ok(image)
    }

    /// First guest-physical address behind everything the image occupies.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// Whether everything that is loaded has passed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let parts = self.segments.iter().chain(&self.notes);
        parts.map(|part| part.end).max() <= Some(self.position)
    }

    /// Takes the next bytes of the file and calls `write` with what of them belongs where in the domain's memory.
    ///
    /// # Errors
    /// That of `write`.
    pub fn feed<E>(
        &mut self,
        bytes: &[u8],
        mut write: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let from = self.position;
        self.position = from.saturating_add(bytes.len() as u64);
        for part in &self.segments {
            if let Some((place, bytes)) = part.overlap(from, bytes) {
                write(place, bytes)?;
            }
        }
        for part in &self.notes {
            if let Some((place, bytes)) = part.overlap(from, bytes) {
                let buffer = self.note_bytes.iter_mut().skip(place as usize);
                for (to, from) in buffer.zip(bytes) {
                    *to = *from;
                }
            }
        }
        Ok(())
    }

    /// Guest-physical address of the first instruction, once the whole file has passed.
    ///
    /// # Errors
    /// When the file ended too soon, or it is no PVH kernel.
    pub fn entry(&self) -> Result<u32, ImageError> {
        if let Some(part) = self.segments.iter().find(|part| part.end > self.position) {
            return Err(ImageError::BadSegment {
                address: part.place,
            });
        }
        let entry = self.notes.iter().find_map(|part| {
            let from = part.place as usize;
            let length = part.end.saturating_sub(part.from) as usize;
            let data = self.note_bytes.get(from..from.saturating_add(length))?;
            entry_in(self.endian, self.class, data)
        });
        let entry = entry.ok_or(ImageError::NoPhys32Entry)??;
        let inside = |&(from, end): &(u64, u64)| (from..end).contains(&u64::from(entry));
        if self.occupied.iter().any(inside) {
            Ok(entry)
        } else {
            Err(ImageError::EntryOutside { entry })
        }
    }
}

impl Part {
    /// What of `bytes`, which begin at byte `at` of the file, belongs to this part, and where it goes.
    fn overlap<'a>(&self, at: u64, bytes: &'a [u8]) -> Option<(u64, &'a [u8])> {
        let end = at.saturating_add(bytes.len() as u64).min(self.end);
        let from = at.max(self.from);
        if from >= end {
            return None;
        }
        let range = (from - at) as usize..(end - at) as usize;
        // Cannot wrap: address and size of the segment were checked.
        let place = self.place.checked_add(from - self.from)?;
        Some((place, bytes.get(range)?))
    }
}
