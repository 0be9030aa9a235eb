//! The shared page of a PV console (Xen `xen/include/public/io/console.h`), from the backend's side.
//!
//! The page belongs to the guest, which may write anything at any time: each index is read once,
//! and a distance that the protocol does not allow ends the connection.

use alloc::vec::Vec;
use core::fmt;

/// `in`: bytes for the guest.
const IN: usize = 0;
const IN_SIZE: u32 = 1024;
/// `out`: bytes from the guest.
const OUT: usize = 1024;
const OUT_SIZE: u32 = 2048;
const IN_CONS: usize = 3072;
const IN_PROD: usize = 3076;
const OUT_CONS: usize = 3080;
const OUT_PROD: usize = 3084;

/// Access to the mapped page. Offsets are those above, all below 4096.
pub trait RingPage {
    /// Reads an index; what was written before it by the guest is visible afterwards (acquire).
    fn load(&self, offset: usize) -> u32;
    /// Writes an index; what was written before is visible to the guest first (release).
    fn store(&mut self, offset: usize, value: u32);
    /// Reads one byte.
    fn read(&self, offset: usize) -> u8;
    /// Writes one byte.
    fn write(&mut self, offset: usize, byte: u8);
}

/// The guest has broken the ring's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingError {
    /// Bytes that the guest claims to be in a ring.
    pub claimed: u32,
    /// Size of that ring.
    pub size: u32,
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "console ring of {} bytes claims to hold {}",
            self.size, self.claimed
        )
    }
}

/// The backend's end of a console.
#[derive(Debug)]
pub struct Ring<P> {
    page: P,
}

impl<P: RingPage> Ring<P> {
    /// The console in `page`.
    pub const fn new(page: P) -> Self {
        Self { page }
    }

    /// Takes what the guest has written; the guest wants an event if anything was taken.
    ///
    /// # Errors
    /// When the guest's indices are nonsense.
    pub fn take_output(&mut self) -> Result<Vec<u8>, RingError> {
        let cons = self.page.load(OUT_CONS);
        let prod = self.page.load(OUT_PROD);
        let claimed = prod.wrapping_sub(cons);
        if claimed > OUT_SIZE {
            return Err(RingError {
                claimed,
                size: OUT_SIZE,
            });
        }
        let output: Vec<u8> = (0..claimed)
            .map(|index| {
                let place = cons.wrapping_add(index) % OUT_SIZE;
                self.page.read(OUT + place as usize)
            })
            .collect();
        self.page.store(OUT_CONS, prod);
        Ok(output)
    }

    /// Gives the guest as much of `input` as there is room for; returns how many bytes that was.
    /// The guest wants an event if it is not 0.
    ///
    /// # Errors
    /// When the guest's indices are nonsense.
    pub fn put_input(&mut self, input: &[u8]) -> Result<usize, RingError> {
        let cons = self.page.load(IN_CONS);
        let prod = self.page.load(IN_PROD);
        let claimed = prod.wrapping_sub(cons);
        let Some(room) = IN_SIZE.checked_sub(claimed) else {
            return Err(RingError {
                claimed,
                size: IN_SIZE,
            });
        };
        let mut next = prod;
        for &byte in input.iter().take(room as usize) {
            self.page.write(IN + (next % IN_SIZE) as usize, byte);
            next = next.wrapping_add(1);
        }
        self.page.store(IN_PROD, next);
        Ok(next.wrapping_sub(prod) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Page(Vec<u8>);

    impl RingPage for Page {
        fn load(&self, offset: usize) -> u32 {
            u32::from_le_bytes(self.0[offset..offset + 4].try_into().unwrap())
        }
        fn store(&mut self, offset: usize, value: u32) {
            self.0[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        }
        fn read(&self, offset: usize) -> u8 {
            self.0[offset]
        }
        fn write(&mut self, offset: usize, byte: u8) {
            self.0[offset] = byte;
        }
    }

    fn ring() -> Ring<Page> {
        Ring::new(Page(vec![0; 4096]))
    }

    /// The guest writes `text`.
    fn say(ring: &mut Ring<Page>, text: &[u8]) {
        let mut prod = ring.page.load(OUT_PROD);
        for byte in text {
            ring.page.write(OUT + (prod % OUT_SIZE) as usize, *byte);
            prod = prod.wrapping_add(1);
        }
        ring.page.store(OUT_PROD, prod);
    }

    #[test]
    fn output_crosses_the_ends_of_ring_and_counter() {
        let mut ring = ring();
        ring.page.store(OUT_CONS, u32::MAX - 2);
        ring.page.store(OUT_PROD, u32::MAX - 2);
        say(&mut ring, b"hello, world");
        assert_eq!(ring.take_output().unwrap(), b"hello, world");
        assert_eq!(ring.take_output().unwrap(), b"");
    }

    #[test]
    fn input_stops_when_the_ring_is_full() {
        let mut ring = ring();
        assert_eq!(ring.put_input(&[b'x'; 1000]), Ok(1000));
        assert_eq!(ring.put_input(&[b'y'; 1000]), Ok(24));
        assert_eq!(ring.put_input(b"z"), Ok(0));
        ring.page.store(IN_CONS, 24);
        assert_eq!(ring.put_input(b"z"), Ok(1));
        assert_eq!(ring.page.read(IN), b'z');
    }

    #[test]
    fn impossible_indices_are_refused() {
        let mut ring = ring();
        ring.page.store(OUT_PROD, OUT_SIZE + 1);
        assert_eq!(
            ring.take_output(),
            Err(RingError {
                claimed: OUT_SIZE + 1,
                size: OUT_SIZE
            })
        );
        ring.page.store(IN_CONS, 1);
        assert_eq!(
            ring.put_input(b"x"),
            Err(RingError {
                claimed: u32::MAX,
                size: IN_SIZE
            })
        );
    }

    proptest! {
        #[test]
        fn any_page_is_safe(indices in any::<[u32; 4]>(), input in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let mut ring = ring();
            for (offset, value) in [IN_CONS, IN_PROD, OUT_CONS, OUT_PROD].into_iter().zip(indices) {
                ring.page.store(offset, value);
            }
            if let Ok(output) = ring.take_output() {
                prop_assert!(output.len() <= OUT_SIZE as usize);
            }
            if let Ok(given) = ring.put_input(&input) {
                prop_assert!(given <= input.len().min(IN_SIZE as usize));
            }
        }
    }
}
