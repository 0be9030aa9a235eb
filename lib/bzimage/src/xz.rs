//! xz, with the filter for x86 code that the kernel's build uses.

use alloc::vec::Vec;

use lzma_rust2::{Error as XzError, Read, XzReader};

use crate::input::Input;
use crate::kernel::{PIECE, fill_from};
use crate::{Decode, Error, buffer};

const NAME: &str = "xz";
/// The largest dictionary taken, in KiB: the kernel's has 32 or 128 MiB, and some more is for the decoder's own tables.
const MEMORY_MAX: u32 = (128 << 10) + 1024;

/// Bytes of the file in which the first block's header is, as everybody writes it.
const HEADERS: usize = 12 + 64;
/// Room for what else is allocated before the window has its size.
const BESIDES: usize = 2 << 20;
/// The dictionary's filter.
const LZMA2: u64 = 0x21;

/// The window grows with what was unpacked, and each growth asks whether there is memory.
pub struct Xz<'a> {
    input: Input<'a>,
    dictionary: Option<u64>,
    reader: XzReader<Reader<'a>>,
}

struct Reader<'a>(Input<'a>);

impl Read for Reader<'_> {
    fn read(&mut self, into: &mut [u8]) -> lzma_rust2::Result<usize> {
        // The input keeps the reason.
        self.0.read(into).map_err(|_| XzError::Other("source"))
    }
}

impl<'a> Xz<'a> {
    pub fn new(input: Input<'a>) -> Result<Self, Error> {
        let dictionary = dictionary(&input.look(HEADERS)?);
        if let Some(size) = dictionary.and_then(|size| usize::try_from(size).ok()) {
            // Asked for once and given back: the window then grows where it is, instead of moving to ever larger places. Whether
            // all of it is needed is another matter: it has no more bytes than the kernel.
            drop(buffer(size.saturating_add(BESIDES), NAME));
        }
        Ok(Self {
            reader: XzReader::new_mem_limit(Reader(input.clone()), false, MEMORY_MAX),
            input,
            dictionary,
        })
    }
}

impl Decode for Xz<'_> {
    fn fill(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        let (input, reader, needed) = (&self.input, &mut self.reader, self.dictionary);
        fill_from(out, PIECE, |into| {
            reader.read(into).map_err(|error| match error {
                XzError::OutOfMemory(_) => Error::Memory {
                    format: NAME,
                    needed,
                },
                XzError::Eof => input.failure().unwrap_or(Error::Truncated),
                _ => input.failure().unwrap_or(Error::Corrupt(NAME)),
            })
        })
    }
}

/// Bytes of the first block's dictionary (the .xz file format 1.1.0, sections 3.1 and 5.3.1).
fn dictionary(head: &[u8]) -> Option<u64> {
    // Behind the stream's header: the block header's size and flags, a byte each.
    let mut rest = head.get(12..)?.iter().copied();
    rest.next().filter(|&size| size != 0)?;
    let flags = rest.next()?;
    // Packed and unpacked size, which may be there.
    for flag in [0x40, 0x80] {
        if flags & flag != 0 {
            number(&mut rest)?;
        }
    }
    for _ in 0..=flags & 3 {
        let (filter, properties) = (number(&mut rest)?, number(&mut rest)?);
        if filter == LZMA2 {
            let bits = u64::from(rest.next()?);
            // 2 or 3 times a power of two.
            return (bits <= 37).then(|| (2 | bits & 1) << (bits / 2 + 11));
        }
        for _ in 0..properties {
            rest.next()?;
        }
    }
    None
}

/// A number of seven bits a byte, the lowest first.
fn number(bytes: &mut impl Iterator<Item = u8>) -> Option<u64> {
    let mut number = 0;
    for shift in 0..9_u32 {
        let byte = bytes.next()?;
        number |= u64::from(byte & 0x7f) << (7 * shift);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dictionary_is_what_the_encoder_was_told() {
        for (size, filtered) in [
            (8 << 20, true),
            (32 << 20, true),
            (1 << 20, false),
            (48 << 20, false),
        ] {
            let mut options = liblzma::stream::LzmaOptions::new_preset(0).unwrap();
            options.dict_size(size);
            let mut filters = liblzma::stream::Filters::new();
            if filtered {
                filters.x86();
            }
            filters.lzma2(&options);
            let check = liblzma::stream::Check::Crc32;
            let stream = liblzma::stream::Stream::new_stream_encoder(&filters, check).unwrap();
            let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
            std::io::Write::write_all(&mut encoder, b"kernel").unwrap();
            let packed = encoder.finish().unwrap();
            assert_eq!(dictionary(&packed), Some(size.into()));
            for length in 0..40 {
                let _ = dictionary(&packed[..length]);
            }
        }
    }
}
