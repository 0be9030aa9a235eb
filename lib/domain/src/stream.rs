//! One direction of a byte ring as the console (`io/console.h`) and the store (`io/xs_wire.h`) use it: a power of two of bytes
//! with free-running 32-bit producer and consumer indexes somewhere in the same page.

use crate::ring::RingError;
use crate::shared::SharedMemory;
use core::mem::offset_of;
use core::sync::atomic::{Ordering, fence};
use xen_abi::io::console::{XENCONS_IN_SIZE, XENCONS_OUT_SIZE, XenconsInterface};
use xen_abi::io::xs_wire::{XENSTORE_RING_SIZE, XenstoreDomainInterface};

/// Where one direction's bytes and indexes are in the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLayout {
    /// Offset of the bytes.
    pub data: usize,
    /// Bytes, a power of two.
    pub size: u32,
    /// Offset of the consumer index.
    pub cons: usize,
    /// Offset of the producer index.
    pub prod: usize,
}

impl StreamLayout {
    /// The console's bytes to the guest.
    pub const CONSOLE_IN: Self = StreamLayout {
        data: offset_of!(XenconsInterface, r#in),
        size: XENCONS_IN_SIZE,
        cons: offset_of!(XenconsInterface, in_cons),
        prod: offset_of!(XenconsInterface, in_prod),
    };
    /// The console's bytes from the guest.
    pub const CONSOLE_OUT: Self = StreamLayout {
        data: offset_of!(XenconsInterface, out),
        size: XENCONS_OUT_SIZE,
        cons: offset_of!(XenconsInterface, out_cons),
        prod: offset_of!(XenconsInterface, out_prod),
    };
    /// Requests to the store.
    pub const STORE_REQ: Self = StreamLayout {
        data: offset_of!(XenstoreDomainInterface, req),
        size: XENSTORE_RING_SIZE,
        cons: offset_of!(XenstoreDomainInterface, req_cons),
        prod: offset_of!(XenstoreDomainInterface, req_prod),
    };
    /// Replies and watch events from the store.
    pub const STORE_RSP: Self = StreamLayout {
        data: offset_of!(XenstoreDomainInterface, rsp),
        size: XENSTORE_RING_SIZE,
        cons: offset_of!(XenstoreDomainInterface, rsp_cons),
        prod: offset_of!(XenstoreDomainInterface, rsp_prod),
    };

    fn indexes(&self, memory: &SharedMemory) -> Result<(u32, u32), RingError> {
        let cons = memory.atomic_u32(self.cons)?.load(Ordering::Acquire);
        let prod = memory.atomic_u32(self.prod)?.load(Ordering::Acquire);
        if prod.wrapping_sub(cons) > self.size {
            return Err(RingError::Overrun {
                producer: prod,
                consumer: cons,
            });
        }
        Ok((cons, prod))
    }

    /// Bytes that wait to be read.
    pub fn readable(&self, memory: &SharedMemory) -> Result<usize, RingError> {
        let (cons, prod) = self.indexes(memory)?;
        Ok(prod.wrapping_sub(cons) as usize)
    }

    /// Bytes that can be written.
    pub fn writable(&self, memory: &SharedMemory) -> Result<usize, RingError> {
        let (cons, prod) = self.indexes(memory)?;
        Ok((self.size - prod.wrapping_sub(cons)) as usize)
    }

    /// Takes up to `out.len()` bytes; returns how many. The other end should be notified if it was not zero.
    pub fn read(&self, memory: &SharedMemory, out: &mut [u8]) -> Result<usize, RingError> {
        let (cons, prod) = self.indexes(memory)?;
        let count = out.len().min(prod.wrapping_sub(cons) as usize);
        let at = (cons & (self.size - 1)) as usize;
        let first = count.min(self.size as usize - at);
        memory.read_bytes(self.data + at, &mut out[..first])?;
        memory.read_bytes(self.data, &mut out[first..count])?;
        // The bytes are copied before the producer may overwrite them.
        fence(Ordering::SeqCst);
        memory
            .atomic_u32(self.cons)?
            .store(cons.wrapping_add(count as u32), Ordering::Release);
        // The producer sees the room before the caller looks whether it filled the ring again meanwhile (as in `write`).
        fence(Ordering::SeqCst);
        Ok(count)
    }

    /// Puts up to `bytes.len()` bytes; returns how many. The other end should be notified if it was not zero.
    pub fn write(&self, memory: &SharedMemory, bytes: &[u8]) -> Result<usize, RingError> {
        let (cons, prod) = self.indexes(memory)?;
        let count = bytes
            .len()
            .min((self.size - prod.wrapping_sub(cons)) as usize);
        let at = (prod & (self.size - 1)) as usize;
        let first = count.min(self.size as usize - at);
        memory.write_bytes(self.data + at, &bytes[..first])?;
        memory.write_bytes(self.data, &bytes[first..count])?;
        memory
            .atomic_u32(self.prod)?
            .store(prod.wrapping_add(count as u32), Ordering::Release);
        fence(Ordering::SeqCst);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::tests::leaked;
    use proptest::prelude::*;

    #[test]
    fn bytes_cross_the_wrap() {
        let page = leaked(4096);
        let layout = StreamLayout::STORE_REQ;
        for round in 0..50_u8 {
            let sent = [round; 100];
            assert_eq!(layout.write(&page, &sent), Ok(100));
            let mut got = [0; 200];
            assert_eq!(layout.read(&page, &mut got), Ok(100));
            assert_eq!(got[..100], sent);
        }
        assert_eq!(layout.write(&page, &[1; 2000]), Ok(1024));
        assert_eq!(layout.writable(&page), Ok(0));
        assert_eq!(layout.write(&page, &[1; 5]), Ok(0));
    }

    proptest! {
        #[test]
        fn hostile_indexes_are_refused_or_harmless(cons: u32, prod: u32, len in 0_usize..5000) {
            let page = leaked(4096);
            for layout in [StreamLayout::CONSOLE_IN, StreamLayout::CONSOLE_OUT, StreamLayout::STORE_RSP] {
                page.write(layout.cons, &cons).unwrap();
                page.write(layout.prod, &prod).unwrap();
                let waiting = prod.wrapping_sub(cons);
                let mut out = vec![0; len];
                let read = layout.read(&page, &mut out);
                if waiting > layout.size {
                    let overrun = matches!(read, Err(RingError::Overrun { .. }));
                    prop_assert!(overrun);
                } else {
                    prop_assert_eq!(read, Ok(len.min(waiting as usize)));
                }
            }
        }
    }
}
