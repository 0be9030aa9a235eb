//! Messages of the store protocol: encoding, and decoding from a stream of bytes.

use alloc::string::String;
use alloc::vec::Vec;
use xen_abi::Errno;
use xen_abi::io::xs_wire::*;
use zerocopy::{FromBytes, IntoBytes};

/// Something changed below a watched path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent {
    /// The path that changed, relative if the watch was.
    pub path: String,
    /// The watch's token.
    pub token: String,
}

/// A complete message from the store.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: u32,
    pub(super) request: u32,
    pub(super) payload: Vec<u8>,
}

impl Message {
    /// The payload if it answers a request of kind `expected`, or the error it carries.
    pub(super) fn into_result(self, expected: u32) -> Result<Vec<u8>, Errno> {
        if self.kind == XS_ERROR {
            let name = strings(&self.payload)?
                .into_iter()
                .next()
                .unwrap_or_default();
            return Err(Errno::from_name(&name).unwrap_or(Errno::EIO));
        }
        if self.kind == expected {
            Ok(self.payload)
        } else {
            Err(Errno::EIO)
        }
    }

    pub(super) fn into_event(self) -> Result<WatchEvent, Errno> {
        let mut parts = strings(&self.payload)?.into_iter();
        match (parts.next(), parts.next()) {
            (Some(path), Some(token)) => Ok(WatchEvent { path, token }),
            _ => Err(Errno::EIO),
        }
    }
}

const HEADER: usize = size_of::<XsdSockmsg>();

/// A whole request. `E2BIG` if the payload is longer than the protocol allows.
pub(super) fn encode(
    kind: u32,
    request: u32,
    transaction: u32,
    parts: &[&[u8]],
) -> Result<Vec<u8>, Errno> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    if len > XENSTORE_PAYLOAD_MAX {
        return Err(Errno::E2BIG);
    }
    let header = XsdSockmsg {
        r#type: kind,
        req_id: request,
        tx_id: transaction,
        len: len as u32,
    };
    let mut bytes = Vec::with_capacity(HEADER + len);
    bytes.extend_from_slice(header.as_bytes());
    for part in parts {
        bytes.extend_from_slice(part);
    }
    Ok(bytes)
}

/// Zero-terminated strings; a last one without its zero counts too. `EINVAL` if not UTF-8.
pub(super) fn strings(payload: &[u8]) -> Result<Vec<String>, Errno> {
    let payload = payload.strip_suffix(b"\0").unwrap_or(payload);
    if payload.is_empty() {
        return Ok(Vec::new());
    }
    payload
        .split(|&byte| byte == 0)
        .map(|part| String::from_utf8(part.to_vec()).map_err(|_| Errno::EINVAL))
        .collect()
}

/// A zero-terminated decimal number.
pub(super) fn number(payload: &[u8]) -> Result<u32, Errno> {
    let text = strings(payload)?.into_iter().next().unwrap_or_default();
    text.parse().map_err(|_| Errno::EIO)
}

/// Puts messages together from pieces of any size.
#[derive(Default)]
pub(super) struct Decoder {
    header: [u8; HEADER],
    header_filled: usize,
    payload: Vec<u8>,
    payload_filled: usize,
}

impl Decoder {
    /// Where the next bytes go: never empty.
    pub(super) fn wanted(&mut self) -> &mut [u8] {
        if self.header_filled < HEADER {
            &mut self.header[self.header_filled..]
        } else {
            &mut self.payload[self.payload_filled..]
        }
    }

    /// `count` bytes have been written to [`Self::wanted`]; returns the message they complete.
    pub(super) fn advance(&mut self, count: usize) -> Result<Option<Message>, Errno> {
        if self.header_filled < HEADER {
            self.header_filled += count.min(HEADER - self.header_filled);
            if self.header_filled < HEADER {
                return Ok(None);
            }
            let len = self.parsed().len as usize;
            if len > XENSTORE_PAYLOAD_MAX {
                return Err(Errno::EIO);
            }
            self.payload.clear();
            self.payload.resize(len, 0);
            self.payload_filled = 0;
        } else {
            self.payload_filled += count.min(self.payload.len() - self.payload_filled);
        }
        if self.payload_filled < self.payload.len() {
            return Ok(None);
        }
        let header = self.parsed();
        self.header_filled = 0;
        Ok(Some(Message {
            kind: header.r#type,
            request: header.req_id,
            payload: core::mem::take(&mut self.payload),
        }))
    }

    fn parsed(&self) -> XsdSockmsg {
        XsdSockmsg::read_from_bytes(&self.header).unwrap_or_default()
    }
}
