//! gzip (RFC 1952), the kernel's default.

use alloc::boxed::Box;
use alloc::vec::Vec;

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};

use crate::input::{CHUNK, Input};
use crate::kernel::{PIECE, fill_from};
use crate::{Decode, Error, buffer};

const NAME: &str = "gzip";
/// Bytes of a name or a comment; the kernel's build has neither.
const NAME_MAX: usize = 4096;
/// Flags of the header.
const FHCRC: u8 = 1 << 1;
const FEXTRA: u8 = 1 << 2;
const FNAME: u8 = 1 << 3;
const FCOMMENT: u8 = 1 << 4;

pub struct Gzip<'a> {
    input: Input<'a>,
    state: Box<InflateState>,
    chunk: Vec<u8>,
    at: usize,
    sum: crc32fast::Hasher,
    ended: bool,
}

impl<'a> Gzip<'a> {
    pub fn new(input: Input<'a>) -> Result<Self, Error> {
        let mut header = [0; 10];
        input.read_exact(&mut header)?;
        let [_, _, method, flags, ..] = header;
        if method != 8 {
            return Err(Error::Corrupt(NAME));
        }
        if flags & FEXTRA != 0 {
            let length = u16::from_le_bytes([input.byte()?, input.byte()?]);
            input.skip(length.into())?;
        }
        for flag in [FNAME, FCOMMENT] {
            let mut length = 0;
            while flags & flag != 0 && input.byte()? != 0 {
                length += 1;
                if length > NAME_MAX {
                    return Err(Error::Corrupt(NAME));
                }
            }
        }
        if flags & FHCRC != 0 {
            input.skip(2)?;
        }
        // The decoder's tables and window.
        drop(buffer(size_of::<InflateState>(), NAME)?);
        Ok(Self {
            input,
            state: InflateState::new_boxed(DataFormat::Raw),
            chunk: buffer(CHUNK, NAME)?,
            at: 0,
            sum: crc32fast::Hasher::new(),
            ended: false,
        })
    }

    fn inflate(&mut self, into: &mut [u8]) -> Result<usize, Error> {
        loop {
            if self.ended {
                return Ok(0);
            }
            if self.at >= self.chunk.len() {
                let input = &self.input;
                fill_from(&mut self.chunk, CHUNK, |into| input.read(into))?;
                self.at = 0;
            }
            let ahead = self.chunk.get(self.at..).unwrap_or_default();
            let result = inflate(&mut self.state, ahead, into, MZFlush::None);
            self.at += result.bytes_consumed;
            match result.status {
                Ok(MZStatus::StreamEnd) => {
                    self.ended = true;
                    let sum = self.trailer()?;
                    self.sum
                        .update(into.get(..result.bytes_written).unwrap_or_default());
                    if self.sum.clone().finalize() != sum {
                        return Err(Error::Corrupt(NAME));
                    }
                    return Ok(result.bytes_written);
                }
                Ok(_) if result.bytes_written > 0 => {
                    self.sum
                        .update(into.get(..result.bytes_written).unwrap_or_default());
                    return Ok(result.bytes_written);
                }
                Ok(_) if result.bytes_consumed > 0 => {}
                Err(MZError::Buf) | Ok(_) if ahead.is_empty() => return Err(Error::Truncated),
                _ => return Err(Error::Corrupt(NAME)),
            }
        }
    }

    /// The checksum behind the data.
    fn trailer(&mut self) -> Result<u32, Error> {
        let mut bytes = [0; 4];
        for byte in &mut bytes {
            *byte = match self.chunk.get(self.at) {
                Some(byte) => *byte,
                None => self.input.byte()?,
            };
            self.at += 1;
        }
        Ok(u32::from_le_bytes(bytes))
    }
}

impl Decode for Gzip<'_> {
    fn fill(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        fill_from(out, PIECE, |into| self.inflate(into))
    }
}
