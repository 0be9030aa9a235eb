//! The Internet checksum (RFC 1071), and filling in one that a sender left to the device.

const ETHERTYPE_IPV4: u16 = 0x0800;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
/// Where the IPv4 header begins in an untagged frame.
pub const IP: usize = 14;

/// Big-endian number at `at`.
#[must_use]
pub fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(
        bytes.get(at..at.checked_add(2)?)?.try_into().ok()?,
    ))
}

/// Ones' complement sum of `bytes`, added to `sum`; not folded.
#[must_use]
pub fn sum(bytes: &[u8], sum: u64) -> u64 {
    // The sum does not depend on the byte order but for a swap at the end (RFC 1071, 2(B)), so eight bytes are added at
    // a time, the carries going round.
    let mut wide = 0u64;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        // A chunk has eight bytes.
        let (added, carry) =
            wide.overflowing_add(u64::from_le_bytes(chunk.try_into().unwrap_or_default()));
        wide = added + u64::from(carry);
    }
    let mut rest = [0; 8];
    let tail = chunks.remainder();
    rest[..tail.len()].copy_from_slice(tail);
    let (added, carry) = wide.overflowing_add(u64::from_le_bytes(rest));
    wide = added + u64::from(carry);
    let folded = fold((wide & 0xffff_ffff) + (wide >> 32));
    sum + u64::from(folded.swap_bytes())
}

const fn fold(mut sum: u64) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// A sum over bytes that come in parts of any length.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summer {
    sum: u64,
    odd: bool,
}

impl Summer {
    /// Begins with `sum`, not folded.
    #[must_use]
    pub const fn new(sum: u64) -> Self {
        Self { sum, odd: false }
    }

    /// Adds the next part.
    pub fn add(&mut self, bytes: &[u8]) {
        let part = fold(sum(bytes, 0));
        self.sum += u64::from(if self.odd { part.swap_bytes() } else { part });
        self.odd ^= bytes.len() % 2 == 1;
    }

    /// The sum so far, not folded.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.sum
    }
}

/// The checksum of a sum.
#[must_use]
pub fn finish(sum: u64) -> u16 {
    !fold(sum)
}

/// The parts of an IPv4 frame with TCP or UDP in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Where the transport header begins.
    pub transport: usize,
    /// Where the datagram ends; what follows is padding.
    pub end: usize,
    /// Where the transport checksum is.
    pub checksum: usize,
    /// TCP, not UDP.
    pub tcp: bool,
}

impl Layout {
    /// Finds them. None: no whole TCP or UDP header in an unfragmented IPv4 datagram. Every length is checked against the
    /// frame.
    #[must_use]
    pub fn of(frame: &[u8]) -> Option<Self> {
        Self::of_headers(frame, frame.len())
    }

    /// The same for a frame of `len` bytes whose headers are in `frame`, its beginning.
    #[must_use]
    pub fn of_headers(frame: &[u8], len: usize) -> Option<Self> {
        if be16(frame, 12)? != ETHERTYPE_IPV4 {
            return None;
        }
        let first = *frame.get(IP)?;
        let header = usize::from(first & 15) * 4;
        if first >> 4 != 4 || header < 20 {
            return None;
        }
        const MORE_OR_OFFSET: u16 = 0x3fff;
        if be16(frame, IP + 6)? & MORE_OR_OFFSET != 0 {
            return None;
        }
        let end = IP + usize::from(be16(frame, IP + 2)?);
        let transport = IP + header;
        let tcp = match *frame.get(IP + 9)? {
            PROTOCOL_TCP => true,
            PROTOCOL_UDP => false,
            _ => return None,
        };
        let checksum = transport + if tcp { 16 } else { 6 };
        let least = transport + if tcp { 20 } else { 8 };
        (end <= len && least <= end && least <= frame.len()).then_some(Self {
            transport,
            end,
            checksum,
            tcp,
        })
    }
}

/// Fills the transport checksum in, whose place holds the sum of the pseudo header. False: the frame is none that can
/// have a blank checksum.
pub fn fill_in(frame: &mut [u8]) -> bool {
    let Some(layout) = Layout::of(frame) else {
        return false;
    };
    let mut value = finish(sum(&frame[layout.transport..layout.end], 0));
    if !layout.tcp && value == 0 {
        value = 0xffff;
    }
    frame[layout.checksum..layout.checksum + 2].copy_from_slice(&value.to_be_bytes());
    true
}

/// The sum of an IPv4 pseudo header; not folded. `frame` has passed [`Layout::of`].
#[must_use]
pub fn pseudo_header(frame: &[u8], layout: &Layout, len: usize) -> u64 {
    let protocol = if layout.tcp {
        PROTOCOL_TCP
    } else {
        PROTOCOL_UDP
    };
    sum(&frame[IP + 12..IP + 20], 0) + u64::from(protocol) + len as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_frames::{holds, tcp_frame};
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn the_rfcs_example() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(finish(sum(&bytes, 0)), !0xddf2);
        assert_eq!(sum(&[1], 0), 0x100);
    }

    #[test]
    fn it_is_the_sum_of_all_words_however_it_is_cut() {
        let bytes: Vec<u8> = (0..1000u32).map(|n| ((n * 7919) >> 3) as u8).collect();
        for len in [0, 1, 2, 7, 8, 9, 15, 64, 999, 1000] {
            let words = bytes[..len]
                .chunks(2)
                .map(|pair| u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u64::from(*low)));
            let plain: u64 = words.sum();
            assert_eq!(finish(sum(&bytes[..len], 0)), finish(plain), "{len}");
            for cut in [0, 1, 3, 8, 13] {
                let cut = cut.min(len);
                let mut summer = Summer::default();
                summer.add(&bytes[..cut]);
                summer.add(&bytes[cut..len]);
                assert_eq!(finish(summer.sum()), finish(plain), "{len} {cut}");
            }
        }
    }

    #[test]
    fn a_blank_checksum_is_filled_in() {
        for len in [0, 1, 2, 100, 1459] {
            let payload: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let mut frame = tcp_frame(&payload, 0x10);
            assert!(!holds(&frame));
            assert!(fill_in(&mut frame));
            assert!(holds(&frame), "{len}");
        }
    }

    #[test]
    fn padding_is_not_summed() {
        let mut frame = tcp_frame(&[1, 2, 3], 0x10);
        frame.extend([0xff; 7]);
        assert!(fill_in(&mut frame) && holds(&frame));
    }

    #[test]
    fn other_frames_are_left_alone() {
        let frame = tcp_frame(&[1, 2, 3], 0x10);
        let broken = |at: usize, value: u8| {
            let mut frame = frame.clone();
            frame[at] = value;
            fill_in(&mut frame)
        };
        assert!(!broken(12, 0x86), "no IPv4");
        assert!(!broken(14, 0x65), "version 6");
        assert!(!broken(14, 0x44), "header too short");
        assert!(!broken(14, 0x4f), "header longer than the datagram");
        assert!(!broken(20, 0x20), "a fragment");
        assert!(!broken(16, 0xff), "datagram longer than the frame");
        assert!(!broken(23, 1), "ICMP");
        assert!(!fill_in(&mut []));
    }

    proptest! {
        #[test]
        fn nothing_in_a_frame_makes_it_panic(mut frame in prop::collection::vec(any::<u8>(), 0..200), tcp in any::<bool>()) {
            if frame.len() > 30 {
                frame[12..15].copy_from_slice(&[8, 0, 0x45]);
                frame[20] = 0;
                frame[21] = 0;
                frame[16] = 0;
                frame[23] = if tcp { 6 } else { 17 };
            }
            fill_in(&mut frame);
        }
    }
}
