//! What network devices do to packets and ours must do in their place: checksums and TCP segmentation. Used by bridge and
//! netback.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod checksum;
pub mod segment;
#[cfg(any(test, feature = "test"))]
pub mod test_frames;
