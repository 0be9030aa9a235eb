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
/// What the decoder has besides its window: a block's literals (1 MiB, as it takes them) and sequences, and both once more
/// while the room for them grows.
const BESIDES: u64 = 8 << 20;
/// By how much a block may outgrow the window before it is found to be too large: its literals, and matches of two blocks.
const OVERSHOOT: u64 = 3 << 19;
/// Where in a frame the window's size is, if it is not one segment.
const DESCRIPTOR: u64 = 5;

pub struct Zstd<'a> {
    input: Input<'a>,
    decoder: Box<StreamingDecoder<Reader<'a>, FrameDecoder>>,
    /// What bad data is called: with a smaller window than the frame wants, that may be why.
    corrupt: Error,
}

struct Reader<'a> {
    input: Input<'a>,
    /// Bytes read.
    at: u64,
    /// What the decoder gets at [`DESCRIPTOR`].
    smaller: Option<u8>,
}

impl Read for Reader<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, ZstdError> {
        // The input keeps the reason.
        let read = self.input.read(into);
        let count = read.map_err(|_| ZstdError::from(ErrorKind::Other))?;
        let place = DESCRIPTOR.checked_sub(self.at).map(|place| place as usize);
        if let (Some(smaller), Some(place)) = (self.smaller, place)
            && let Some(byte) = into.get_mut(..count).and_then(|read| read.get_mut(place))
        {
            *byte = smaller;
        }
        self.at += count as u64;
        Ok(count)
    }
}

impl<'a> Zstd<'a> {
    pub fn new(input: Input<'a>) -> Result<Self, Error> {
        let head = input.look(18)?;
        let size = window(&head).ok_or(Error::Truncated)?;
        if size > WINDOW_MAX {
            return Err(Error::Memory {
                format: NAME,
                needed: Some(size),
            });
        }
        let (mut smaller, mut corrupt) = (None, Error::Corrupt(NAME));
        if let Err(error) = buffer(needed(size), NAME) {
            // Who unpacks to less than the smaller window does not notice.
            let Some(descriptor) = smaller_window(&head) else {
                return Err(error);
            };
            drop(buffer(needed(size / 16 * 15), NAME)?);
            (smaller, corrupt) = (Some(descriptor), error);
        }
        let reader = Reader {
            input: input.clone(),
            at: 0,
            smaller,
        };
        let decoder = StreamingDecoder::new_with_max_window_size(reader, WINDOW_MAX)
            .map_err(|_| input.failure().unwrap_or(Error::Corrupt(NAME)))?;
        Ok(Self {
            input,
            decoder: Box::new(decoder),
            corrupt,
        })
    }
}

impl Decode for Zstd<'_> {
    fn fill(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        let (input, decoder) = (&self.input, &mut self.decoder);
        let corrupt = || input.failure().unwrap_or(self.corrupt.clone());
        fill_from(out, PIECE, |into| {
            let count = decoder.read(into).map_err(|_| corrupt())?;
            let frame = &decoder.decoder;
            let expected = frame.get_checksum_from_data();
            if count == 0 && expected.is_some() && expected != frame.get_calculated_checksum() {
                return Err(corrupt());
            }
            Ok(count)
        })
    }
}

/// Bytes that the decoder may take for a window of `size` bytes, whatever the frame does: its buffer has the next power of two,
/// and the one before, of half the size, is there until the new one is filled.
fn needed(size: u64) -> usize {
    let needed = (size + OVERSHOOT).next_power_of_two() * 3 / 2 + BESIDES;
    usize::try_from(needed).unwrap_or(usize::MAX)
}

/// Descriptor of a window of 15/16 the size, if that is a power of two. A block that outgrows it still fits there; one that
/// outgrows the whole window takes as much again.
fn smaller_window(frame: &[u8]) -> Option<u8> {
    let single_segment = frame.get(4)? & 1 << 5 != 0;
    let descriptor = *frame.get(DESCRIPTOR as usize)?;
    let whole = !single_segment && descriptor & 7 == 0;
    descriptor.checked_sub(1).filter(|_| whole)
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
