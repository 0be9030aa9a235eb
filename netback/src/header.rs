//! The header that a virtio network device wants before each frame, and its features (virtio 1.2, 5.1).

use bitflags::bitflags;

bitflags! {
    /// Features that this driver can use.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Features: u64 {
        /// The device fills in checksums of frames it sends.
        const CSUM = 1 << 0;
        /// The driver takes frames whose checksum is blank.
        const GUEST_CSUM = 1 << 1;
        /// The device has an address of its own.
        const MAC = 1 << 5;
        /// The device cuts TCP over IPv4 into segments.
        const HOST_TSO4 = 1 << 11;
        /// Virtio 1.
        const VERSION_1 = 1 << 32;
    }
}

/// Bytes of `struct virtio_net_hdr_v1`.
pub const LEN: usize = 12;

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Header {
    /// The checksum is to be filled in: where the sum starts, and where from there its place is.
    pub checksum: Option<(u16, u16)>,
    /// The checksum has been looked at.
    pub valid: bool,
    /// The frame is TCP over IPv4, to be cut: bytes of headers, bytes of payload of each segment.
    pub segmentation: Option<(u16, u16)>,
}

impl Header {
    /// As the device reads it.
    #[must_use]
    pub fn to_bytes(self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        if let Some((start, offset)) = self.checksum {
            bytes[0] = NEEDS_CSUM;
            bytes[6..8].copy_from_slice(&start.to_le_bytes());
            bytes[8..10].copy_from_slice(&offset.to_le_bytes());
        }
        bytes[1] = GSO_NONE;
        if let Some((header, size)) = self.segmentation {
            bytes[1] = GSO_TCPV4;
            bytes[2..4].copy_from_slice(&header.to_le_bytes());
            bytes[4..6].copy_from_slice(&size.to_le_bytes());
        }
        bytes
    }

    /// As the device wrote it before a frame that came in. Segmentation is never negotiated for those.
    #[must_use]
    pub fn of_received(bytes: &[u8; LEN]) -> Self {
        let number = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        Self {
            checksum: (bytes[0] & NEEDS_CSUM != 0).then(|| (number(6), number(8))),
            valid: bytes[0] & DATA_VALID != 0,
            segmentation: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_have_the_specified_bytes() {
        assert_eq!(Header::default().to_bytes(), [0; LEN]);
        let header = Header {
            checksum: Some((34, 16)),
            valid: false,
            segmentation: Some((54, 1448)),
        };
        assert_eq!(
            header.to_bytes(),
            [1, 1, 54, 0, 0xa8, 5, 34, 0, 16, 0, 0, 0]
        );
        let received = Header::of_received(&[3, 0, 0, 0, 0, 0, 34, 0, 6, 0, 1, 0]);
        assert_eq!(
            received,
            Header {
                checksum: Some((34, 6)),
                valid: true,
                segmentation: None
            }
        );
    }
}
