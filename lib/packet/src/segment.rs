//! TCP segmentation in software, for receivers that cannot do it: what the sender's device would have done.

use crate::checksum::{self, IP, Layout, be16, finish, pseudo_header, sum};
use alloc::vec::Vec;

const FIN: u8 = 0x01;
const PUSH: u8 = 0x08;
const CONGESTION_WINDOW_REDUCED: u8 = 0x80;

/// Cuts a TCP frame over IPv4 into frames with at most `size` bytes of payload, checksums filled in, and gives each to
/// `emit`. False: the frame is not such a one; nothing was emitted.
pub fn segment(frame: &[u8], size: u16, mut emit: impl FnMut(&[u8])) -> bool {
    let Some(layout) = Layout::of(frame).filter(|layout| layout.tcp && size > 0) else {
        return false;
    };
    let header = usize::from(frame[layout.transport + 12] >> 4) * 4;
    let data = layout.transport + header;
    if header < 20 || data > layout.end {
        return false;
    }
    let payload = &frame[data..layout.end];
    let flags = frame[layout.transport + 13];
    let (Some(first_id), Some(sequence)) = (be16(frame, IP + 4), sequence(frame, &layout)) else {
        return false;
    };
    let chunks = payload.len().div_ceil(usize::from(size)).max(1);
    let mut out = Vec::with_capacity(data + usize::from(size));
    for index in 0..chunks {
        let start = index * usize::from(size);
        let end = payload.len().min(start + usize::from(size));
        out.clear();
        out.extend_from_slice(&frame[..data]);
        out.extend_from_slice(&payload[start..end]);
        let total = (out.len() - IP) as u16;
        put(&mut out, IP + 2, &total.to_be_bytes());
        put(
            &mut out,
            IP + 4,
            &first_id.wrapping_add(index as u16).to_be_bytes(),
        );
        put(&mut out, IP + 10, &[0, 0]);
        let ip = finish(sum(&out[IP..layout.transport], 0));
        put(&mut out, IP + 10, &ip.to_be_bytes());
        put(
            &mut out,
            layout.transport + 4,
            &sequence.wrapping_add(start as u32).to_be_bytes(),
        );
        let mut kept = flags;
        if index > 0 {
            kept &= !CONGESTION_WINDOW_REDUCED;
        }
        if index + 1 < chunks {
            kept &= !(FIN | PUSH);
        }
        put(&mut out, layout.transport + 13, &[kept]);
        put(&mut out, layout.checksum, &[0, 0]);
        let pseudo = pseudo_header(&out, &layout, out.len() - layout.transport);
        let tcp = finish(sum(&out[layout.transport..], pseudo));
        put(&mut out, layout.checksum, &tcp.to_be_bytes());
        emit(&out);
    }
    true
}

fn sequence(frame: &[u8], layout: &Layout) -> Option<u32> {
    let at = layout.transport + 4;
    Some(u32::from(be16(frame, at)?) << 16 | u32::from(be16(frame, at + 2)?))
}

/// `at` is within the headers, which the layout has checked.
fn put(frame: &mut [u8], at: usize, bytes: &[u8]) {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Makes a packet fit for a receiver without offloads: segments it, or fills in its checksum, and gives the frames to
/// `emit`. False: it is none that can be offloaded; nothing was emitted.
pub fn without_offload(frame: &mut [u8], size: Option<u16>, mut emit: impl FnMut(&[u8])) -> bool {
    match size {
        Some(size) => segment(frame, size, emit),
        None => {
            let filled = checksum::fill_in(frame);
            if filled {
                emit(frame);
            }
            filled
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_frames::{holds, tcp_frame};
    use proptest::prelude::*;

    fn segments(frame: &[u8], size: u16) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        assert!(segment(frame, size, |frame| all.push(frame.to_vec())));
        all
    }

    #[test]
    fn segments_carry_all_bytes_once() {
        let payload: Vec<u8> = (0..10_000).map(|n| (n % 251) as u8).collect();
        let all = segments(&tcp_frame(&payload, 0x99), 1448);
        assert_eq!(all.len(), 7);
        let mut seen = Vec::new();
        for (index, frame) in all.iter().enumerate() {
            assert!(holds(frame), "{index}");
            assert_eq!(be16(frame, IP + 4), Some(0x1234 + index as u16));
            let expected = 0xffff_fff0u32.wrapping_add(seen.len() as u32);
            assert_eq!(sequence(frame, &Layout::of(frame).unwrap()), Some(expected));
            let flags = frame[47];
            assert_eq!(flags & CONGESTION_WINDOW_REDUCED != 0, index == 0);
            assert_eq!(flags & (FIN | PUSH) != 0, index == 6);
            seen.extend_from_slice(&frame[54..]);
        }
        assert_eq!(seen, payload);
    }

    #[test]
    fn a_frame_without_payload_stays_one() {
        assert_eq!(segments(&tcp_frame(&[], 0x11), 1448).len(), 1);
    }

    #[test]
    fn what_is_no_tcp_is_refused() {
        let mut frame = tcp_frame(&[1; 100], 0x10);
        assert!(!segment(&frame, 0, |_| panic!()));
        frame[14 + 20 + 12] = 0xf0;
        assert!(segment(&frame, 1, |_| ()), "a long header is fine");
        frame[14 + 20 + 12] = 0x40;
        assert!(!segment(&frame, 1, |_| panic!()));
        frame[23] = 17;
        assert!(!segment(&frame, 1, |_| panic!()));
    }

    proptest! {
        #[test]
        fn nothing_in_a_frame_makes_it_panic(
            mut frame in prop::collection::vec(any::<u8>(), 60..300),
            len in 0u8..=255,
            size in any::<u16>(),
        ) {
            frame[12..15].copy_from_slice(&[8, 0, 0x45]);
            frame[16] = 0;
            frame[17] = len;
            frame[20] = 0;
            frame[21] = 0;
            frame[23] = 6;
            segment(&frame, size, |out| assert!(out.len() <= frame.len()));
        }
    }
}
