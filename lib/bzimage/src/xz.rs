//! xz, with the filter for x86 code that the kernel's build uses.

use alloc::vec::Vec;

use lzma_rust2::{Error as XzError, Read, XzReader};

use crate::input::Input;
use crate::kernel::{PIECE, fill_from};
use crate::{Decode, Error};

const NAME: &str = "xz";
/// The largest dictionary taken, in KiB: the kernel's has 32 or 128 MiB, and some more is for the decoder's own tables.
const MEMORY_MAX: u32 = (128 << 10) + 1024;

/// The window grows with what was unpacked, and each growth asks whether there is memory.
pub struct Xz<'a> {
    input: Input<'a>,
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
    pub fn new(input: Input<'a>) -> Self {
        Self {
            reader: XzReader::new_mem_limit(Reader(input.clone()), false, MEMORY_MAX),
            input,
        }
    }
}

impl Decode for Xz<'_> {
    fn fill(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        let (input, reader) = (&self.input, &mut self.reader);
        fill_from(out, PIECE, |into| {
            reader.read(into).map_err(|error| match error {
                XzError::OutOfMemory(_) => Error::Memory {
                    format: NAME,
                    needed: None,
                },
                XzError::Eof => input.failure().unwrap_or(Error::Truncated),
                _ => input.failure().unwrap_or(Error::Corrupt(NAME)),
            })
        })
    }
}
