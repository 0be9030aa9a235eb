//! Messages as bytes: a header of four words, then the payload.

use alloc::vec::Vec;
use xen_abi::io::xs_wire;

/// Bytes of the header (`struct xsd_sockmsg`).
pub const HEADER: usize = 16;

/// Longest payload.
pub const PAYLOAD_MAX: usize = xs_wire::XENSTORE_PAYLOAD_MAX;

/// A message's header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// What it asks for (`XS_...`).
    pub kind: u32,
    /// The client's number for the request; the reply has the same.
    pub req_id: u32,
    /// The transaction, 0 for none.
    pub tx_id: u32,
    /// Bytes that follow.
    pub len: u32,
}

impl Header {
    /// Reads a header.
    #[must_use]
    pub fn from_bytes(bytes: [u8; HEADER]) -> Self {
        let word = |index: usize| {
            let mut word = [0; 4];
            word.iter_mut()
                .zip(bytes.iter().skip(index * 4))
                .for_each(|(to, from)| *to = *from);
            u32::from_le_bytes(word)
        };
        Header {
            kind: word(0),
            req_id: word(1),
            tx_id: word(2),
            len: word(3),
        }
    }

    /// The header and its payload as they go over the wire; `len` becomes the payload's.
    #[must_use]
    pub fn with_payload(self, payload: &[u8]) -> Vec<u8> {
        let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(HEADER + payload.len());
        for word in [self.kind, self.req_id, self.tx_id, len] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(payload);
        bytes
    }
}

/// The strings of a payload, each of which ends in a nul; what follows the last nul is no string.
pub fn strings(payload: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    let end = payload
        .iter()
        .rposition(|byte| *byte == 0)
        .map_or(0, |last| last + 1);
    let whole = payload.get(..end).unwrap_or_default();
    whole
        .split_inclusive(|byte| *byte == 0)
        .filter_map(|string| string.split_last().map(|(_, string)| string))
}

/// The only string of a payload that must have nothing else.
#[must_use]
pub fn only_string(payload: &[u8]) -> Option<&[u8]> {
    let (last, string) = payload.split_last()?;
    (*last == 0 && !string.contains(&0)).then_some(string)
}

/// The first string of a payload and everything behind its nul.
#[must_use]
pub fn first_string(payload: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = payload.iter().position(|byte| *byte == 0)?;
    Some((payload.get(..end)?, payload.get(end + 1..)?))
}

/// A decimal number.
#[must_use]
pub fn number(digits: &[u8]) -> Option<u32> {
    let text = core::str::from_utf8(digits).ok()?;
    if text.bytes().all(|b| b.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        let header = Header {
            kind: 11,
            req_id: 2,
            tx_id: 0xffff_ffff,
            len: 3,
        };
        let bytes = header.with_payload(b"abc");
        assert_eq!(bytes.len(), HEADER + 3);
        let head = bytes.first_chunk::<HEADER>().copied().expect("long enough");
        assert_eq!(Header::from_bytes(head), header);
    }

    #[test]
    fn payloads() {
        assert_eq!(
            strings(b"a\0\0bc\0d").collect::<Vec<_>>(),
            [b"a".as_slice(), b"", b"bc"]
        );
        assert_eq!(strings(b"abc").count() + strings(b"").count(), 0);
        assert_eq!(
            (only_string(b"a\0"), only_string(b"\0")),
            (Some(b"a".as_slice()), Some(b"".as_slice()))
        );
        assert_eq!(
            (only_string(b""), only_string(b"a"), only_string(b"a\0b\0")),
            (None, None, None)
        );
        assert_eq!(
            first_string(b"a\0b\0"),
            Some((b"a".as_slice(), b"b\0".as_slice()))
        );
        assert_eq!(first_string(b"a"), None);
        assert_eq!(
            (
                number(b"12"),
                number(b"+1"),
                number(b""),
                number(b"4294967296")
            ),
            (Some(12), None, None, None)
        );
    }
}
