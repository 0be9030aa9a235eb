//! lz4 in its legacy frame, the one that the kernel's build uses (and Debian's kernels for clouds): blocks that stand alone.

use alloc::vec::Vec;

use crate::input::Input;
use crate::{Decode, Error, buffer};

const NAME: &str = "lz4";
/// First bytes of the format.
const MAGIC: u32 = 0x184c_2102;
/// The most that a block unpacks to.
const BLOCK: usize = 8 << 20;
/// The most that a block has packed (`LZ4_compressBound`).
const PACKED: usize = BLOCK + BLOCK / 255 + 16;

pub struct Lz4<'a> {
    input: Input<'a>,
    packed: Vec<u8>,
}

impl<'a> Lz4<'a> {
    pub fn new(input: Input<'a>) -> Result<Self, Error> {
        input.skip(4)?;
        // Both buffers at once: it fails before there is a domain, or not at all.
        drop(buffer(BLOCK + PACKED, NAME)?);
        Ok(Self {
            input,
            packed: buffer(PACKED, NAME)?,
        })
    }
}

impl Decode for Lz4<'_> {
    fn fill(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        loop {
            // Four bytes left are the appended size, not a block's.
            if self.input.left() <= 4 {
                return Ok(());
            }
            let size = self.input.word()?;
            if size == MAGIC {
                continue;
            }
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            if size > PACKED {
                return Err(Error::Corrupt(NAME));
            }
            self.packed.resize(size, 0);
            self.input.read_exact(&mut self.packed)?;
            if out.capacity() < BLOCK {
                *out = buffer(BLOCK, NAME)?;
            }
            out.resize(BLOCK, 0);
            let count = lz4_flex::block::decompress_into(&self.packed, out)
                .map_err(|_| Error::Corrupt(NAME))?;
            out.truncate(count);
            if count > 0 {
                return Ok(());
            }
        }
    }
}
