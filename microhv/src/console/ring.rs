//! The last 64 KiB of the log.

use spin::Mutex;

/// Bytes of the log that are kept.
pub const SIZE: usize = 64 << 10;

pub(super) static RING: Mutex<Ring> = Mutex::new(Ring::new());

/// A log of which the newest bytes are kept. Positions count all bytes ever written.
pub(super) struct Ring {
    bytes: [u8; SIZE],
    /// Position after the newest byte.
    end: u64,
    /// Position before which everything has been cleared.
    cleared: u64,
}

impl Ring {
    pub(super) const fn new() -> Self {
        Self {
            bytes: [0; SIZE],
            end: 0,
            cleared: 0,
        }
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.bytes[(self.end % SIZE as u64) as usize] = *byte;
            self.end += 1;
        }
    }

    /// Copies what lies after position `at` to `buf` and moves `at` on. A position whose bytes are
    /// gone is moved to the oldest that are left. Returns how many bytes were copied.
    pub(super) fn read_from(&self, at: &mut u64, buf: &mut [u8]) -> usize {
        let oldest = self.cleared.max(self.end.saturating_sub(SIZE as u64));
        *at = (*at).clamp(oldest, self.end);
        let count = buf.len().min((self.end - *at) as usize);
        for (offset, byte) in buf[..count].iter_mut().enumerate() {
            *byte = self.bytes[((*at + offset as u64) % SIZE as u64) as usize];
        }
        *at += count as u64;
        count
    }
}

/// Copies what was logged after position `at` and moves `at` on; see `read_from` of
/// `XEN_SYSCTL_readconsole`'s `index`.
pub fn read_from(at: &mut u64, buf: &mut [u8]) -> usize {
    RING.lock().read_from(at, buf)
}

/// Empties the log.
pub fn clear() {
    let mut ring = RING.lock();
    ring.cleared = ring.end;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_bytes_are_kept() {
        let mut ring = Box::new(Ring::new());
        for i in 0..SIZE + 5 {
            ring.put(&[(i % 251) as u8]);
        }
        let (mut at, mut buf) = (0, vec![0; SIZE + 100]);
        assert_eq!(ring.read_from(&mut at, &mut buf), SIZE);
        assert_eq!((buf[0], at), (5, SIZE as u64 + 5));
        assert_eq!(ring.read_from(&mut at, &mut buf), 0);
        ring.put(b"new");
        assert_eq!(ring.read_from(&mut at, &mut buf[..2]), 2);
        assert_eq!(&buf[..2], b"ne");
        let mut beyond = u64::MAX;
        assert_eq!(ring.read_from(&mut beyond, &mut buf), 0);
        assert_eq!(beyond, SIZE as u64 + 8);
    }
}
