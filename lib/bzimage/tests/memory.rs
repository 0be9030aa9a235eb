//! With little memory there is an error, never a failed allocation: that would end Domain-0. One test, as the allocator counts
//! for all threads.

mod peak;

use bzimage::{Error, Kernel};
use peak::peak_of;

const MIB: usize = 1 << 20;
const BLOCK: usize = 128 << 10;

/// A block of a zstd frame.
fn block(last: bool, kind: u32, size: usize, content: &[u8]) -> Vec<u8> {
    let header = u32::from(last) | kind << 1 | (size as u32) << 3;
    let header = header.to_le_bytes();
    [&header[..3], content].concat()
}

/// A bzImage with a zstd frame: a window of 2^`bits` bytes, and so many blocks of [`BLOCK`] bytes before `last`.
fn zstd(bits: u8, blocks: usize, last: &[u8]) -> Vec<u8> {
    let mut first = vec![0; BLOCK];
    first[..4].copy_from_slice(b"\x7fELF");
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, (bits - 10) << 3];
    frame.extend(block(false, 0, BLOCK, &first));
    for _ in 1..blocks {
        frame.extend(block(false, 1, BLOCK, &[7]));
    }
    frame.extend(last);
    let mut file = vec![0; 5 * 512];
    file[0x202..0x206].copy_from_slice(b"HdrS");
    file[0x24c..0x250].copy_from_slice(&(frame.len() as u32).to_le_bytes());
    file.extend(frame);
    file
}

/// Unpacks a file with `limit` bytes of memory; gives the length, with the most that was taken.
fn unpack(limit: usize, file: &[u8]) -> (usize, Result<usize, Error>) {
    peak_of(limit, || {
        let mut kernel = Kernel::open(Box::new(file))?;
        let mut total = 0;
        loop {
            let count = kernel.peek()?.len();
            if count == 0 {
                return Ok(total);
            }
            total += count;
            kernel.consume(count);
        }
    })
}

#[test]
fn no_zstd_frame_takes_more_than_was_asked_for() {
    // Literals of 1 MiB, which no block may have, from one byte; no sequences.
    let literals = (1_u32 | 3 << 2 | ((1 << 20) - 1) << 4).to_le_bytes();
    let hostile = block(true, 2, 5, &[&literals[..3], &[7, 0]].concat());
    let plain = block(true, 1, BLOCK, &[7]);
    for bits in [17, 20, 22, 25] {
        let blocks = (1 << bits) / BLOCK;
        for last in [&hostile, &plain] {
            let file = zstd(bits, blocks, last);
            let (mut refused, mut done) = (0, 0);
            // Some is always there.
            for limit in (MIB..112 * MIB).step_by(MIB / 2) {
                match unpack(limit, &file).1 {
                    Ok(_) => done += 1,
                    Err(Error::Memory { .. }) => refused += 1,
                    Err(error) => panic!("{bits} {limit}: {error}"),
                }
                if done > 3 {
                    break;
                }
            }
            assert!(refused > 0 && done > 0, "{bits}: {refused} {done}");
        }
    }
    // What is smaller than the window does not need all of it: here 104 MiB would be asked for.
    let file = zstd(25, 31 * MIB / BLOCK, &plain);
    assert_eq!(unpack(58 * MIB, &file).1, Ok(31 * MIB + BLOCK));
}
