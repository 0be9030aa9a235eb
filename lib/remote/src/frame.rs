//! Frames: where a message begins and ends, whether it is whole, and which version it is of.

use alloc::vec::Vec;
use core::fmt;

use crc::{CRC_32_ISO_HDLC, Crc};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::message::{FILE_MAX, Refusal, WORDS_MAX};

/// Version of the protocol; the first byte of each frame. A change that an older program would misread needs another.
pub const VERSION: u8 = 1;
/// Bytes of an encoded frame at most: a command with a file, and what COBS and lengths add (one byte in 254, ten a word).
pub const FRAME_MAX: usize = FILE_MAX + 2 * WORDS_MAX.0 + 10 * WORDS_MAX.1 + FILE_MAX / 128 + 64;

const END: u8 = 0;
const CHECKSUM: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
const CHECKSUM_BYTES: usize = 4;

/// Why a frame is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// Not COBS, too short, or with a wrong checksum.
    Damaged,
    /// Whole, but of this version of the protocol.
    Version(u8),
    /// Whole and of our version, but no message.
    Malformed,
    /// More than [`FRAME_MAX`] bytes.
    TooLong,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged => f.write_str("a damaged frame"),
            Self::Version(theirs) => {
                write!(
                    f,
                    "the other side speaks version {theirs} of the protocol, this one {VERSION}"
                )
            }
            Self::Malformed => f.write_str("a frame that is no message"),
            Self::TooLong => write!(f, "a frame of more than {FRAME_MAX} bytes"),
        }
    }
}

impl From<FrameError> for Refusal {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Damaged | FrameError::Malformed => Self::Damaged,
            FrameError::Version(_) => Self::Version,
            FrameError::TooLong => Self::TooLong,
        }
    }
}

/// The frame of a message, ready for the line.
#[must_use]
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    // Messages of this crate can all be written; what could not would be refused at the other end.
    let body = postcard::to_allocvec(message).unwrap_or_default();
    pack(VERSION, &body)
}

fn pack(version: u8, body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(body.len() + 1 + CHECKSUM_BYTES);
    plain.push(version);
    plain.extend_from_slice(body);
    let checksum = CHECKSUM.checksum(&plain);
    plain.extend_from_slice(&checksum.to_le_bytes());
    let mut frame = alloc::vec![END];
    frame.extend_from_slice(&cobs::encode_vec(&plain));
    frame.push(END);
    frame
}

/// The message in a frame, without the zeroes around it.
fn decode<T: DeserializeOwned>(frame: &[u8]) -> Result<T, FrameError> {
    let plain = cobs::decode_vec(frame).map_err(|_| FrameError::Damaged)?;
    let body = plain.len().checked_sub(CHECKSUM_BYTES);
    let (body, checksum) = plain.split_at(body.ok_or(FrameError::Damaged)?);
    if CHECKSUM.checksum(body).to_le_bytes() != checksum {
        return Err(FrameError::Damaged);
    }
    match body.split_first() {
        None => Err(FrameError::Damaged),
        Some((&VERSION, message)) => match postcard::take_from_bytes(message) {
            Ok((message, [])) => Ok(message),
            Ok(_) | Err(_) => Err(FrameError::Malformed),
        },
        Some((&version, _)) => Err(FrameError::Version(version)),
    }
}

/// Finds frames in what comes over the line.
#[derive(Debug, Default)]
pub struct Reader {
    frame: Vec<u8>,
    too_long: bool,
}

impl Reader {
    /// Takes a byte; gives a message, or why there is none, when it ends a frame.
    pub fn push<T: DeserializeOwned>(&mut self, byte: u8) -> Option<Result<T, FrameError>> {
        if byte != END {
            if self.frame.len() < FRAME_MAX {
                self.frame.push(byte);
            } else {
                self.too_long = true;
            }
            return None;
        }
        let frame = core::mem::take(&mut self.frame);
        if core::mem::take(&mut self.too_long) {
            return Some(Err(FrameError::TooLong));
        }
        (!frame.is_empty()).then(|| decode(&frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{File, Request, Response, Stream};
    use proptest::prelude::*;
    use std::string::ToString;
    use std::vec;

    fn read<T: DeserializeOwned>(reader: &mut Reader, bytes: &[u8]) -> Vec<Result<T, FrameError>> {
        bytes.iter().filter_map(|byte| reader.push(*byte)).collect()
    }

    fn run(words: &[&str]) -> Request {
        Request::Run {
            id: 7,
            words: words.iter().map(ToString::to_string).collect(),
            file: None,
        }
    }

    #[test]
    fn the_format_is_fixed() {
        // 00, COBS of 01 02 07 crc, 00: another result is another version.
        let frame = encode(&Request::Cancel { id: 7 });
        assert_eq!(&frame[..5], &[0, 8, 1, 2, 7]);
        assert_eq!(frame[5..9], CHECKSUM.checksum(&[1, 2, 7]).to_le_bytes());
        assert_eq!(frame[9..], [0]);
    }

    #[test]
    fn the_largest_request_fits() {
        let words = vec!["x".repeat(WORDS_MAX.0 / WORDS_MAX.1); WORDS_MAX.1];
        let request = Request::Run {
            id: u32::MAX,
            words,
            file: Some(File {
                name: "n".repeat(WORDS_MAX.0),
                bytes: vec![1; FILE_MAX],
            }),
        };
        assert!(request.is_bounded());
        let frame = encode(&request);
        assert!(frame.len() <= FRAME_MAX, "{}", frame.len());
        assert_eq!(read(&mut Reader::default(), &frame), [Ok(request)]);
    }

    #[test]
    fn limits_are_limits() {
        let many = vec!["x"; WORDS_MAX.1 + 1];
        assert!(!run(&many).is_bounded());
        assert!(!run(&[&"x".repeat(WORDS_MAX.0 + 1)]).is_bounded());
        assert!(!run(&[]).is_bounded());
        let mut reader = Reader::default();
        let mut long = vec![1; FRAME_MAX + 1];
        long.push(0);
        assert_eq!(
            read::<Request>(&mut reader, &long),
            [Err(FrameError::TooLong)]
        );
        let next = run(&["xl"]);
        assert_eq!(read(&mut reader, &encode(&next)), [Ok(next)]);
    }

    #[test]
    fn another_version_is_named() {
        let frame = pack(VERSION + 1, b"whatever");
        let said = read::<Request>(&mut Reader::default(), &frame);
        assert_eq!(said, [Err(FrameError::Version(VERSION + 1))]);
        let frame = pack(VERSION, b"\xffwhatever");
        let said = read::<Request>(&mut Reader::default(), &frame);
        assert_eq!(said, [Err(FrameError::Malformed)]);
        // A message with something behind it.
        let mut body = postcard::to_allocvec(&run(&["xl"])).unwrap();
        body.push(0);
        let said = read::<Request>(&mut Reader::default(), &pack(VERSION, &body));
        assert_eq!(said, [Err(FrameError::Malformed)]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let mut reader = Reader::default();
            read::<Request>(&mut reader, &bytes);
            read::<Response>(&mut Reader::default(), &bytes);
            // What comes next is understood, for it begins with the end of what was before.
            let request = run(&["xl", "list"]);
            prop_assert_eq!(read(&mut reader, &encode(&request)).pop(), Some(Ok(request)));
        }

        #[test]
        fn any_body_is_survived(body in proptest::collection::vec(any::<u8>(), 0..400)) {
            let frame = pack(VERSION, &body);
            for request in read::<Request>(&mut Reader::default(), &frame).into_iter().flatten() {
                let _ = (request.is_bounded(), request.id());
            }
            read::<Response>(&mut Reader::default(), &frame);
        }

        #[test]
        fn a_changed_bit_is_noticed(words in proptest::collection::vec("[ -~]{0,30}", 1..5), bit in any::<u16>()) {
            let request = Request::Run { id: 9, words: words.clone(), file: None };
            let mut frame = encode(&request);
            let bit = usize::from(bit) % ((frame.len() - 2) * 8);
            frame[1 + bit / 8] ^= 1 << (bit % 8);
            for said in read::<Request>(&mut Reader::default(), &frame) {
                prop_assert_eq!(said, Err(FrameError::Damaged));
            }
        }

        #[test]
        fn output_comes_back(bytes in proptest::collection::vec(any::<u8>(), 0..1024), id in any::<u32>()) {
            let response = Response::Output { id, stream: Stream::Error, bytes };
            let frame = encode(&response);
            prop_assert!(!frame[1..frame.len() - 1].contains(&0));
            prop_assert_eq!(read(&mut Reader::default(), &frame), [Ok(response)]);
        }
    }
}
