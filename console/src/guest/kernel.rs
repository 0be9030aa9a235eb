//! What a guest boots, on its way into the guest's memory. Domain-0 has no room for a kernel: what is not in memory already
//! is read, unpacked and written piece by piece.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use core::fmt;

use bzimage::{Kernel as Unpacked, Source};
use pvh::{GuestMemory, Image, ImageStream};

use super::CreateError;

/// Bytes of a RAM disk that are read at a time.
const PIECE: usize = 256 << 10;
/// What Domain-0 needs for everything else, in MiB; to say how much `dom0_mem` would do.
const DOM0_REST: u64 = 64;

/// A file for a guest.
pub enum Content<'a> {
    /// In memory.
    Bytes(Cow<'a, [u8]>),
    /// To be read once.
    Stream {
        /// Its length in bytes.
        size: u64,
        /// Its bytes.
        source: Box<dyn Source + 'a>,
    },
}

impl Content<'_> {
    /// Its length in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Stream { size, .. } => *size,
        }
    }
}

impl fmt::Debug for Content<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.size())
    }
}

/// A file with its name.
#[derive(Debug)]
pub struct File<'a> {
    /// Path, for messages.
    pub path: String,
    /// Its bytes.
    pub content: Content<'a>,
}

/// What a domain boots.
#[derive(Debug)]
pub struct Kernel<'a> {
    /// An ELF file with the PVH note, or a bzImage.
    pub image: File<'a>,
    /// Initial RAM disk.
    pub ramdisk: Option<File<'a>>,
    /// Command line.
    pub cmdline: String,
}

/// A checked kernel: as far as it can be checked before it is read.
pub(super) enum Program<'a> {
    /// An ELF file in memory.
    Whole(Image<'a>),
    /// One that is read, and unpacked, while it is written.
    Passing(Unpacked<'a>, Box<ImageStream>),
}

impl<'a> Program<'a> {
    /// Looks at the file's beginning.
    pub fn open(path: &str, content: &'a mut Content<'_>) -> Result<Self, CreateError> {
        let image_error = |error| CreateError::Image {
            path: path.to_string(),
            error,
        };
        let source: Box<dyn Source + 'a> = match content {
            Content::Bytes(bytes) => {
                let bytes: &'a [u8] = bytes;
                if bytes.starts_with(b"\x7fELF") {
                    return Image::parse(bytes).map(Self::Whole).map_err(image_error);
                }
                Box::new(bytes)
            }
            Content::Stream { source, .. } => Box::new(Borrowed(&mut **source)),
        };
        let mut unpacked = Unpacked::open(source).map_err(|error| unpack_error(path, &error))?;
        let head = unpacked
            .peek()
            .map_err(|error| unpack_error(path, &error))?;
        let stream = ImageStream::parse(head).map_err(image_error)?;
        Ok(Self::Passing(unpacked, Box::new(stream)))
    }

    /// First guest-physical address behind it.
    pub fn end(&self) -> u64 {
        match self {
            Self::Whole(image) => image.end(),
            Self::Passing(_, stream) => stream.end(),
        }
    }

    /// Writes it; gives its entry point.
    pub fn write<M: GuestMemory>(
        self,
        path: &str,
        memory: &mut M,
        error: impl Fn(M::Error) -> CreateError,
    ) -> Result<u32, CreateError> {
        let (mut unpacked, mut stream) = match self {
            Self::Whole(image) => {
                for segment in image.segments() {
                    let written = memory.write(segment.address, segment.bytes);
                    written.map_err(&error)?;
                }
                return Ok(image.entry());
            }
            Self::Passing(unpacked, stream) => (unpacked, stream),
        };
        // What is packed is read to its end, where its checksum is.
        while unpacked.is_packed() || !stream.is_complete() {
            let piece = unpacked
                .peek()
                .map_err(|error| unpack_error(path, &error))?;
            if piece.is_empty() {
                break;
            }
            stream
                .feed(piece, |gpa, bytes| memory.write(gpa, bytes))
                .map_err(&error)?;
            let count = piece.len();
            unpacked.consume(count);
        }
        stream.entry().map_err(|error| CreateError::Image {
            path: path.to_string(),
            error,
        })
    }
}

/// A source that stays with its owner.
struct Borrowed<'a, 'b>(&'a mut (dyn Source + 'b));

impl Source for Borrowed<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, String> {
        self.0.read(into)
    }
}

fn unpack_error(path: &str, error: &bzimage::Error) -> CreateError {
    let advice = match error {
        bzimage::Error::Memory { needed, .. } => {
            let more = needed.map_or(2 * DOM0_REST, |needed| needed.div_ceil(1 << 20));
            format!(
                "; dom0_mem={}M or more in loader.conf would do",
                (more + DOM0_REST).next_multiple_of(32)
            )
        }
        _ => String::new(),
    };
    CreateError::File {
        path: format!("kernel {path}"),
        reason: format!("{error}{advice}"),
    }
}

/// Writes a RAM disk to `gpa`.
pub(super) fn write_ramdisk<M: GuestMemory>(
    file: &mut File<'_>,
    gpa: u64,
    memory: &mut M,
    error: impl Fn(M::Error) -> CreateError,
) -> Result<(), CreateError> {
    let (size, source) = match &mut file.content {
        Content::Bytes(bytes) => return memory.write(gpa, bytes).map_err(error),
        Content::Stream { size, source } => (*size, source),
    };
    let failed = |reason: String| CreateError::File {
        path: format!("ramdisk {}", file.path),
        reason,
    };
    let mut piece = vec![0; PIECE];
    let mut done = 0;
    while done < size {
        let room = usize::try_from(size - done).unwrap_or(PIECE).min(PIECE);
        let room = piece.get_mut(..room).unwrap_or_default();
        let count = source.read(room).map_err(failed)?.min(room.len());
        if count == 0 {
            return Err(failed("truncated".to_string()));
        }
        let bytes = room.get(..count).unwrap_or_default();
        memory.write(gpa + done, bytes).map_err(&error)?;
        done += count as u64;
    }
    Ok(())
}
