//! zstd (RFC 8878). The decoder keeps its whole window in memory and cannot be told that there is none, so it is asked for before.

use alloc::boxed::Box;
use alloc::vec::Vec;

use ruzstd::decoding::FrameDecoder;
use ruzstd::decoding::StreamingDecoder;
use ruzstd::io::{Error as ZstdError, ErrorKind, Read};

use crate::input::Input;
use crate::kernel::{PIECE, fill_from};
use crate::{Decode, Error, buffer};

const NAME: &str = "zstd";
/// Windows above this are not taken (zstd's own limit, and level 22's window).
const WINDOW_MAX: u64 = 128 << 20;
/// What the decoder has besides its window.
const BESIDES: u64 = 2 << 20;

pub struct Zstd<'a> {
    input: Input<'a>,
    decoder: Box<StreamingDecoder<Reader<'a>, FrameDecoder>>,
}

struct Reader<'a>(Input<'a>);

impl Read for Reader<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, ZstdError> {
        // The input keeps the reason.
        let read = self.0.read(into);
        read.map_err(|_| ZstdError::from(ErrorKind::Other))
    }
}

impl<'a> Zstd<'a> {
    pub fn new(input: Input<'a>) -> Result<Self, Error> {
        let window = window(&input.look(18)?).ok_or(Error::Truncated)?;
        if window > WINDOW_MAX {
            return Err(Error::Memory {
                format: NAME,
                needed: Some(window),
            });
        }
        // The buffer grows to the next power of two, and the old one is there until the new one is filled.
        let needed = window.next_power_of_two() * 3 / 2 + BESIDES;
        let needed = usize::try_from(needed).map_err(|_| Error::Corrupt(NAME))?;
        drop(buffer(needed, NAME)?);
        let decoder = StreamingDecoder::new_with_max_window_size(Reader(input.clone()), WINDOW_MAX)
            .map_err(|_| input.failure().unwrap_or(Error::Corrupt(NAME)))?;
        Ok(Self {
            input,
            decoder: Box::new(decoder),
        })
    }
}

impl Decode for Zstd<'_> {
    fn fill(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        let (input, decoder) = (&self.input, &mut self.decoder);
        fill_from(out, PIECE, |into| {
            let read = decoder.read(into);
            read.map_err(|_| input.failure().unwrap_or(Error::Corrupt(NAME)))
        })
    }
}

/// Bytes of the window that the frame at the beginning of `frame` wants (RFC 8878, section 3.1.1.1).
fn window(frame: &[u8]) -> Option<u64> {
    let descriptor = *frame.get(4)?;
    let single_segment = descriptor & 1 << 5 != 0;
    if !single_segment {
        let byte = *frame.get(5)?;
        let base = 1_u64 << (10 + (byte >> 3));
        return Some(base + base / 8 * u64::from(byte & 7));
    }
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let bytes = [1, 2, 4, 8][usize::from(descriptor >> 6)];
    let field = frame.get(5 + dictionary..5 + dictionary + bytes)?;
    let size = field
        .iter()
        .rev()
        .fold(0, |size, &byte| size << 8 | u64::from(byte));
    Some(if bytes == 2 { size + 256 } else { size })
}
