//! What the host and Domain-0 say to each other on the second serial port: `cargo xtask xl`.
//!
//! A frame is `00 COBS(version, postcard(message), CRC-32 of both) 00`, so whatever was on the line before, the next frame is
//! found. See [`message`] for what is said, [`frame`] for how it is packed.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod frame;
pub mod message;

pub use frame::{FRAME_MAX, FrameError, Reader, VERSION, encode};
pub use message::{CHUNK, FILE_MAX, File, Refusal, Request, Response, Stream, WORDS_MAX};
