//! A message that arrives in pieces.

use crate::message::{HEADER, Header, PAYLOAD_MAX};
use alloc::vec::Vec;

/// What has arrived of one message.
#[derive(Debug)]
pub struct Input {
    bytes: Vec<u8>,
    header: Option<Header>,
}

/// The client announced a payload that is too long; nothing after that can be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl Default for Input {
    fn default() -> Self {
        Input {
            bytes: Vec::with_capacity(HEADER),
            header: None,
        }
    }
}

impl Input {
    /// Bytes that are missing before there is something to do. Never more than [`PAYLOAD_MAX`].
    #[must_use]
    pub fn missing(&self) -> usize {
        let whole = self.header.map_or(HEADER, |header| header.len as usize);
        whole.saturating_sub(self.bytes.len())
    }

    /// Takes at most [`Input::missing`] bytes; returns the message if they complete it.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn take(&mut self, bytes: &[u8]) -> Result<Option<(Header, Vec<u8>)>, TooLong> {
        self.bytes.extend_from_slice(bytes);
        if self.missing() > 0 {
            return Ok(None);
        }
        let header = match self.header {
            Some(header) => header,
            None => {
                let header = self
                    .bytes
                    .first_chunk::<HEADER>()
                    .copied()
                    .map(Header::from_bytes)
                    .unwrap_or_default();
                if header.len as usize > PAYLOAD_MAX {
                    return Err(TooLong);
                }
                self.bytes = Vec::with_capacity(header.len as usize);
                self.header = Some(header);
                if header.len > 0 {
                    return Ok(None);
                }
                header
            }
        };
        self.header = None;
        Ok(Some((header, core::mem::take(&mut self.bytes))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn pieces_of_any_size_make_the_same_messages(
            payloads in proptest::collection::vec(proptest::collection::vec(proptest::num::u8::ANY, 0..100), 1..5),
            cuts in proptest::collection::vec(1usize..40, 1..50),
        ) {
            let stream: Vec<u8> = payloads.iter().flat_map(|p| Header { kind: 2, ..Header::default() }.with_payload(p)).collect();
            let (mut input, mut rest, mut out) = (Input::default(), stream.as_slice(), Vec::new());
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let length = cuts.next().copied().unwrap_or(1).min(rest.len()).min(input.missing());
                let (piece, behind) = rest.split_at(length);
                rest = behind;
                if let Ok(Some((_, payload))) = input.take(piece) {
                    out.push(payload);
                }
            }
            proptest::prop_assert_eq!(out, payloads);
        }
    }

    #[test]
    fn too_long() {
        let mut bytes = Header::default().with_payload(b"");
        bytes.truncate(12);
        bytes.extend_from_slice(&4097u32.to_le_bytes());
        assert_eq!(Input::default().take(&bytes), Err(TooLong));
    }
}
