//! A kernel image: ELF segments by physical address, and the PVH entry point.

use core::fmt;

use elf::ElfBytes;
use elf::abi;
use elf::endian::AnyEndian;
use elf::file::Class;
use elf::note::{Note, NoteIterator};

/// `XEN_ELFNOTE_PHYS32_ENTRY`, Xen `xen/include/public/elfnote.h`.
const XEN_ELFNOTE_PHYS32_ENTRY: u64 = 18;

/// Xen reads notes with this alignment whatever the header says, and kernels are built for that.
const NOTE_ALIGNMENT: usize = 4;

/// More notes than this in one table are not looked at: the bound on work an image can cause.
const NOTES_MAX: usize = 1024;

/// Why a file is not a kernel that can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// A Linux bzImage: the ELF file inside has to be unpacked first.
    BzImage,
    /// Not an ELF file.
    NotElf,
    /// An ELF file whose headers contradict themselves or the file's size.
    BadElf,
    /// ELF, but for another processor (`e_machine`).
    WrongMachine(u16),
    /// No `XEN_ELFNOTE_PHYS32_ENTRY` note: not a PVH kernel.
    NoPhys32Entry,
    /// The note is there, but its value is not an address below 4 GiB.
    BadPhys32Entry,
    /// There is nothing to load.
    NoSegments,
    /// A segment whose address range overflows or whose file part is larger than its memory part.
    BadSegment {
        /// `p_paddr` of the segment.
        address: u64,
    },
    /// The entry point lies in no loaded segment.
    EntryOutside {
        /// Value of the note.
        entry: u32,
    },
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::BzImage => f.write_str(
                "a bzImage: unpack its ELF vmlinux first (cargo xtask does so at image time)",
            ),
            Self::NotElf => f.write_str("not an ELF file"),
            Self::BadElf => f.write_str("damaged ELF file"),
            Self::WrongMachine(machine) => {
                write!(f, "ELF file for another processor (e_machine {machine})")
            }
            Self::NoPhys32Entry => {
                f.write_str("no XEN_ELFNOTE_PHYS32_ENTRY note: not a PVH kernel")
            }
            Self::BadPhys32Entry => f.write_str("XEN_ELFNOTE_PHYS32_ENTRY is no 32-bit address"),
            Self::NoSegments => f.write_str("ELF file with nothing to load"),
            Self::BadSegment { address } => write!(f, "bad ELF segment at {address:#x}"),
            Self::EntryOutside { entry } => {
                write!(f, "entry point {entry:#x} lies outside the loaded segments")
            }
        }
    }
}

impl core::error::Error for ImageError {}

/// One part of the image to be loaded.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Guest-physical address (`p_paddr`).
    pub address: u64,
    /// The part that comes from the file.
    pub bytes: &'a [u8],
    /// Size in memory in bytes; what lies behind `bytes` is zero.
    pub size: u64,
}

impl Segment<'_> {
    /// First address behind the segment; [`Image::parse`] has checked that it does not overflow.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.address.saturating_add(self.size)
    }
}

/// A checked kernel image.
pub struct Image<'a> {
    elf: ElfBytes<'a, AnyEndian>,
    entry: u32,
    end: u64,
}

impl<'a> Image<'a> {
    /// Checks `file` and finds its entry point.
    ///
    /// # Errors
    /// Says what is wrong with the file; never panics, whatever the bytes.
    pub fn parse(file: &'a [u8]) -> Result<Self, ImageError> {
        if file.get(..4) != Some(&abi::ELFMAGIC) {
            // Linux Documentation/x86/boot.rst: "HdrS" at 0x202 of the setup header.
            let bzimage = file.get(0x202..0x206) == Some(b"HdrS");
            return Err(if bzimage {
                ImageError::BzImage
            } else {
                ImageError::NotElf
            });
        }
        let elf = ElfBytes::<AnyEndian>::minimal_parse(file).map_err(|_| ImageError::BadElf)?;
        checked_header(&elf)?;
        let entry = find_entry(&elf)?.ok_or(ImageError::NoPhys32Entry)?;
        let mut image = Self { elf, entry, end: 0 };

        let mut entry_inside = false;
        let mut end = 0;
        for segment in image.checked_segments() {
            let segment = segment?;
            end = end.max(segment.end());
            entry_inside |= (segment.address..segment.end()).contains(&u64::from(entry));
        }
        if end == 0 {
            return Err(ImageError::NoSegments);
        }
        if !entry_inside {
            return Err(ImageError::EntryOutside { entry });
        }
        image.end = end;
        Ok(image)
    }

    /// Guest-physical address of the first instruction, in 32-bit protected mode without paging.
    #[must_use]
    pub const fn entry(&self) -> u32 {
        self.entry
    }

    /// First guest-physical address behind everything the image occupies.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// The segments to load.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'a>> {
        self.checked_segments().filter_map(Result::ok)
    }

    fn checked_segments(&self) -> impl Iterator<Item = Result<Segment<'a>, ImageError>> {
        self.elf
            .segments()
            .into_iter()
            .flatten()
            .filter(|header| header.p_type == abi::PT_LOAD && header.p_memsz != 0)
            .map(|header| {
                let bad = ImageError::BadSegment {
                    address: header.p_paddr,
                };
                let bytes = self.elf.segment_data(&header).map_err(|_| bad)?;
                let overflows = header.p_paddr.checked_add(header.p_memsz).is_none();
                if overflows || header.p_filesz > header.p_memsz {
                    return Err(bad);
                }
                Ok(Segment {
                    address: header.p_paddr,
                    bytes,
                    size: header.p_memsz,
                })
            })
    }
}

/// Whether the file is for this processor.
pub(crate) fn checked_header(elf: &ElfBytes<'_, AnyEndian>) -> Result<(), ImageError> {
    if elf.ehdr.endianness != AnyEndian::Little {
        return Err(ImageError::WrongMachine(elf.ehdr.e_machine));
    }
    match (elf.ehdr.class, elf.ehdr.e_machine) {
        (Class::ELF64, abi::EM_X86_64) | (Class::ELF32, abi::EM_386 | abi::EM_X86_64) => Ok(()),
        (_, machine) => Err(ImageError::WrongMachine(machine)),
    }
}

/// Looks for the note in the program headers and, for files without PT_NOTE, in the sections.
fn find_entry(elf: &ElfBytes<'_, AnyEndian>) -> Result<Option<u32>, ImageError> {
    let entry_in = |data| entry_in(elf.ehdr.endianness, elf.ehdr.class, data);
    let in_segments = elf
        .segments()
        .into_iter()
        .flatten()
        .filter(|header| header.p_type == abi::PT_NOTE)
        .filter_map(|header| elf.segment_data(&header).ok())
        .find_map(entry_in);
    let found = match in_segments {
        Some(found) => Some(found),
        None => elf
            .section_headers()
            .into_iter()
            .flatten()
            .filter(|header| header.sh_type == abi::SHT_NOTE)
            .filter_map(|header| elf.section_data(&header).ok())
            .find_map(|(data, _)| entry_in(data)),
    };
    found.transpose()
}

/// The value of the note, if it is in the table `data`.
pub(crate) fn entry_in(
    endian: AnyEndian,
    class: Class,
    data: &[u8],
) -> Option<Result<u32, ImageError>> {
    NoteIterator::new(endian, class, NOTE_ALIGNMENT, data)
        .take(NOTES_MAX)
        .find_map(|note| match note {
            Note::Unknown(note)
                if note.n_type == XEN_ELFNOTE_PHYS32_ENTRY && note.name == b"Xen\0" =>
            {
                Some(address_32(note.desc))
            }
            _ => None,
        })
}

/// The note's value is 4 bytes long or, from 64-bit assemblers, 8.
fn address_32(desc: &[u8]) -> Result<u32, ImageError> {
    let value = if let Ok(bytes) = <[u8; 4]>::try_from(desc) {
        u64::from(u32::from_le_bytes(bytes))
    } else if let Ok(bytes) = <[u8; 8]>::try_from(desc) {
        u64::from_le_bytes(bytes)
    } else {
        return Err(ImageError::BadPhys32Entry);
    };
    u32::try_from(value).map_err(|_| ImageError::BadPhys32Entry)
}
