//! A kernel image, from whatever it is packed in.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::gzip::Gzip;
use crate::input::{Input, Source};
use crate::lz4::Lz4;
use crate::xz::Xz;
use crate::zstd::Zstd;
use crate::{Decode, Error, buffer};

/// The most that a kernel may have unpacked, in bytes: a small file can be made to unpack for ever.
pub const UNPACKED_MAX: u64 = 1 << 30;
/// Bytes that decoders are asked for at a time, but for lz4, whose blocks are larger.
pub const PIECE: usize = 256 << 10;
/// As much of the file as says what it is.
const HEAD: usize = 0x250;
/// Offset of `setup_sects`, one byte.
const SETUP_SECTS: usize = 0x1f1;
/// Offset of the header's magic "HdrS".
const MAGIC: usize = 0x202;
/// Offset of `payload_offset`, from the end of the setup sectors, 4 bytes.
const PAYLOAD_OFFSET: usize = 0x248;
/// Offset of `payload_length`, 4 bytes.
const PAYLOAD_LENGTH: usize = 0x24c;
const ELF: &[u8; 4] = b"\x7fELF";

/// An ELF kernel that is unpacked while it is read.
pub struct Kernel<'a> {
    decoder: Box<dyn Decode + 'a>,
    packed: bool,
    piece: Vec<u8>,
    at: usize,
    total: u64,
}

/// What is not compressed.
struct Stored<'a>(Input<'a>);

impl Decode for Stored<'_> {
    fn fill(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        fill_from(out, PIECE, |into| self.0.read(into))
    }
}

/// Calls `read` until `out` has `size` bytes or it gives none.
pub fn fill_from(
    out: &mut Vec<u8>,
    size: usize,
    mut read: impl FnMut(&mut [u8]) -> Result<usize, Error>,
) -> Result<(), Error> {
    out.resize(size, 0);
    let mut done = 0;
    while let Some(rest) = out.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match read(rest)? {
            0 => break,
            count => done += count,
        }
    }
    out.truncate(done);
    Ok(())
}

impl<'a> Kernel<'a> {
    /// Looks at the beginning of `source`: a bzImage, or an ELF file.
    ///
    /// # Errors
    /// When it is neither, or its compression is unknown or needs more memory than there is.
    pub fn open(source: Box<dyn Source + 'a>) -> Result<Self, Error> {
        let input = Input::new(source);
        let head = input.look(HEAD)?;
        let (packed, decoder): (_, Box<dyn Decode + 'a>) = if head.starts_with(ELF) {
            (false, Box::new(Stored(input)))
        } else {
            if head.get(MAGIC..MAGIC + 4) != Some(b"HdrS") {
                return Err(Error::NotKernel);
            }
            let sectors = match head.get(SETUP_SECTS) {
                // For old kernels, says the protocol.
                Some(0) | None => 4,
                Some(sectors) => u64::from(*sectors),
            };
            input.skip((sectors + 1) * 512 + word(&head, PAYLOAD_OFFSET)?)?;
            input.limit(word(&head, PAYLOAD_LENGTH)?);
            (true, decoder(input)?)
        };
        let mut kernel = Self {
            decoder,
            packed,
            piece: buffer(PIECE, "kernel")?,
            at: 0,
            total: 0,
        };
        if !kernel.peek()?.starts_with(ELF) {
            return Err(Error::NotElf);
        }
        Ok(kernel)
    }

    /// Whether it is unpacked: then the end of the file tells whether the data were whole.
    #[must_use]
    pub fn is_packed(&self) -> bool {
        self.packed
    }

    /// The bytes that come next, as many as are there; none at the end. The first have at least 64 KiB, unless the
    /// file is shorter (or lz4's blocks are, which Linux's are not).
    ///
    /// # Errors
    /// When the file cannot be read, or not be unpacked.
    pub fn peek(&mut self) -> Result<&[u8], Error> {
        if self.at >= self.piece.len() {
            self.at = 0;
            self.piece.clear();
            self.decoder.fill(&mut self.piece)?;
            self.total += self.piece.len() as u64;
            if self.total > UNPACKED_MAX {
                self.piece.clear();
                return Err(Error::TooLarge);
            }
        }
        Ok(self.piece.get(self.at..).unwrap_or_default())
    }

    /// Goes on behind the next `count` bytes, at most those of [`Self::peek`].
    pub fn consume(&mut self, count: usize) {
        self.at = self.at.saturating_add(count).min(self.piece.len());
    }
}

/// The decoder for what `input` begins with. All formats but gzip have the unpacked size appended by the kernel's build, which
/// the decoders must not take for data.
fn decoder(input: Input<'_>) -> Result<Box<dyn Decode + '_>, Error> {
    let magic = input.look(6)?;
    Ok(match *magic.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(Gzip::new(input)?),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Box::new(Xz::new(input)?),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(Zstd::new(input)?),
        [0x02, 0x21, 0x4c, 0x18, ..] => Box::new(Lz4::new(input)?),
        [a, b, c, d, e, f] => return Err(Error::Compression([a, b, c, d, e, f])),
        _ => return Err(Error::Truncated),
    })
}

/// The whole kernel in `file`, for those who have the memory.
///
/// # Errors
/// See [`Error`].
pub fn unpack(file: &[u8]) -> Result<Vec<u8>, Error> {
    let mut kernel = Kernel::open(Box::new(file))?;
    let mut out = Vec::new();
    loop {
        let piece = kernel.peek()?;
        if piece.is_empty() {
            return Ok(out);
        }
        out.extend_from_slice(piece);
        let count = piece.len();
        kernel.consume(count);
    }
}

fn word(file: &[u8], at: usize) -> Result<u64, Error> {
    let bytes = file.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    bytes
        .map(|bytes| u32::from_le_bytes(bytes).into())
        .ok_or(Error::Truncated)
}
