//! Frames for tests of this crate and its users.

use crate::checksum::{Layout, finish, pseudo_header, sum};
use alloc::vec;
use alloc::vec::Vec;

/// A TCP frame with a correct IP header and a blank TCP checksum.
pub fn tcp_frame(payload: &[u8], flags: u8) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([8, 0, 0x45, 0]);
    frame.extend((40 + payload.len() as u16).to_be_bytes());
    frame.extend([0x12, 0x34, 0x40, 0, 64, 6, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2]);
    let header = finish(sum(&frame[14..34], 0));
    frame[24..26].copy_from_slice(&header.to_be_bytes());
    frame.extend([
        0x30, 0x39, 0, 80, 0xff, 0xff, 0xff, 0xf0, 0, 0, 0, 1, 0x50, flags, 0x10, 0, 0, 0, 0, 0,
    ]);
    frame.extend(payload);
    let Some(layout) = Layout::of(&frame) else {
        return frame;
    };
    let pseudo = !finish(pseudo_header(&frame, &layout, 20 + payload.len()));
    frame[layout.checksum..layout.checksum + 2].copy_from_slice(&pseudo.to_be_bytes());
    frame
}

/// Does the frame's transport checksum hold?
pub fn holds(frame: &[u8]) -> bool {
    let Some(layout) = Layout::of(frame) else {
        return false;
    };
    let pseudo = pseudo_header(frame, &layout, layout.end - layout.transport);
    finish(sum(&frame[layout.transport..layout.end], pseudo)) == 0
        && finish(sum(&frame[14..34], 0)) == 0
}
