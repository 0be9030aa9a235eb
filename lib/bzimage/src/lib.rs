//! Takes the kernel out of a bzImage, piece by piece, whatever it was compressed with.
//!
//! A kernel is 50 MiB and Domain-0 has 64: so nothing here holds a kernel as a whole. [`Kernel::open`] looks at the file's
//! beginning, then [`Kernel::peek`] and [`Kernel::consume`] give the ELF file inside from its first byte to its last. What a
//! format needs at once (its window, a block) is asked of the allocator first, and is an [`Error::Memory`] if it is not there.
//!
//! Every byte may be hostile. Source of the layout: Linux, `Documentation/arch/x86/boot.rst`.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod gzip;
mod input;
mod kernel;
mod lz4;
mod xz;
mod zstd;

pub use input::Source;
pub use kernel::{Kernel, UNPACKED_MAX, unpack};

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Why there is no kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The file could not be read; the source says why.
    Source(String),
    /// Neither a bzImage nor an ELF file.
    NotKernel,
    /// The file ends too soon.
    Truncated,
    /// An unknown compression: the first bytes of what is compressed.
    Compression([u8; 6]),
    /// The compressed data are damaged, or use what is not supported.
    Corrupt(&'static str),
    /// What was compressed is no ELF file.
    NotElf,
    /// There is no memory for what the format needs at once.
    Memory {
        /// The format.
        format: &'static str,
        /// Bytes, if the file says how many.
        needed: Option<u64>,
    },
    /// Unpacked it has more than [`UNPACKED_MAX`] bytes.
    TooLarge,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(reason) => f.write_str(reason),
            Self::NotKernel => f.write_str("neither a bzImage nor an ELF file"),
            Self::Truncated => f.write_str("truncated"),
            Self::Compression(bytes) => {
                write!(f, "unknown compression, its first bytes are {bytes:02x?}")
            }
            Self::Corrupt(format) => write!(f, "damaged {format} data"),
            Self::NotElf => f.write_str("the bzImage's payload is no ELF file"),
            Self::Memory { format, needed } => {
                write!(f, "not enough memory to unpack {format} data")?;
                match needed {
                    Some(needed) => write!(f, ": {} MiB at once", needed.div_ceil(1 << 20)),
                    None => Ok(()),
                }
            }
            Self::TooLarge => write!(f, "unpacked, more than {} MiB", UNPACKED_MAX >> 20),
        }
    }
}

impl core::error::Error for Error {}

/// One of the formats.
trait Decode {
    /// Puts the next bytes into `out`, which is empty; none at the end.
    fn fill(&mut self, out: &mut Vec<u8>) -> Result<(), Error>;
}

/// An empty buffer with room for `bytes`, or the error that says that there is none.
fn buffer(bytes: usize, format: &'static str) -> Result<Vec<u8>, Error> {
    let mut buffer = Vec::new();
    let reserved = buffer.try_reserve_exact(bytes);
    reserved.map_err(|_| Error::Memory {
        format,
        needed: Some(bytes as u64),
    })?;
    Ok(buffer)
}

#[cfg(test)]
mod tests;
