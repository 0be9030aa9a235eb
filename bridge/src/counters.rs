//! What a port has seen.

use core::fmt;

/// Counters of one port; `in` is from the port's owner into the bridge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames from the owner, and their bytes.
    pub in_frames: u64,
    /// See `in_frames`.
    pub in_bytes: u64,
    /// Frames of the owner that broke the protocol or could not be read.
    pub in_errors: u64,
    /// Frames of the owner with an address that is another port's.
    pub in_forged: u64,
    /// Frames of the owner that no port wanted.
    pub in_dropped: u64,
    /// Frames to the owner, and their bytes.
    pub out_frames: u64,
    /// See `out_frames`.
    pub out_bytes: u64,
    /// Frames to the owner that reached it because nobody knew better (broadcasts apart).
    pub out_flooded: u64,
    /// Frames to the owner for which it had no buffers.
    pub out_dropped: u64,
    /// Frames to the owner that could not be copied.
    pub out_errors: u64,
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            in_frames,
            in_bytes,
            in_errors,
            in_forged,
            in_dropped,
            ..
        } = self;
        let Self {
            out_frames,
            out_bytes,
            out_flooded,
            out_dropped,
            out_errors,
            ..
        } = self;
        write!(
            f,
            "in {in_frames} frames {in_bytes} bytes {in_errors} errors {in_forged} forged {in_dropped} dropped, \
             out {out_frames} frames {out_bytes} bytes {out_flooded} flooded {out_dropped} dropped {out_errors} errors"
        )
    }
}
