//! The two byte streams of a ring page.
//!
//! Source: Xen's docs/misc/xenstore-ring.txt.

use super::input::Input;
use crate::message::{Header, PAYLOAD_MAX};
use alloc::vec::Vec;
use xen_abi::io::xs_wire;

/// Bytes of each stream's buffer.
const SIZE: u32 = xs_wire::XENSTORE_RING_SIZE;

/// A ring page that a client shares: every method reads or writes the page once. The client may change anything at
/// any time; only what the store wrote to it last is under no doubt in the store itself.
pub trait Ring {
    /// `req_prod`, read before any byte that it announces.
    fn req_prod(&self) -> u32;
    /// `rsp_cons`, read before any byte is overwritten that it frees.
    fn rsp_cons(&self) -> u32;
    /// `req_cons` and `rsp_prod` as the page has them.
    fn own_indices(&self) -> (u32, u32);
    /// Sets `req_cons`, after the bytes were read.
    fn set_req_cons(&mut self, index: u32);
    /// Sets `rsp_prod`, after the bytes were written.
    fn set_rsp_prod(&mut self, index: u32);
    /// Copies from the requests; `offset + to.len()` is at most 1024.
    fn read(&self, offset: usize, to: &mut [u8]);
    /// Copies into the replies; `offset + from.len()` is at most 1024.
    fn write(&mut self, offset: usize, from: &[u8]);
    /// Sets all four indices to 0.
    fn clear(&mut self);
    /// The `connection` field.
    fn connection(&self) -> u32;
    /// Sets the `connection` field.
    fn set_connection(&mut self, state: u32);
    /// Sets the `error` field.
    fn set_error(&mut self, error: u32);
    /// Sets the `server_features` field.
    fn set_features(&mut self, features: u32);
}

/// Why a connection cannot go on, as the `error` field has it.
pub type RingError = u32;

/// A connection: a ring, the store's own indices, and a message that is not complete.
#[derive(Debug)]
pub struct Pipe<R> {
    ring: R,
    /// The store's indices, here and not in the page: a client that changes them there harms itself only.
    req_cons: u32,
    rsp_prod: u32,
    input: Input,
    changed: bool,
    broken: bool,
}

impl<R: Ring> Pipe<R> {
    /// Goes on where the page's indices are.
    pub fn new(ring: R, features: u32) -> Self {
        let mut ring = ring;
        ring.set_features(features);
        let (req_cons, rsp_prod) = ring.own_indices();
        Pipe {
            ring,
            req_cons,
            rsp_prod,
            input: Input::default(),
            changed: true,
            broken: false,
        }
    }

    /// The page.
    pub fn into_ring(self) -> R {
        self.ring
    }

    /// Whether the client has broken the protocol; nothing is read or written then.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether the client must be told that something in the page has changed; true once for each change.
    pub fn take_changed(&mut self) -> bool {
        core::mem::take(&mut self.changed)
    }

    /// Reads at most one message, from what is in the ring.
    ///
    /// # Errors
    /// The client has broken the protocol.
    pub fn receive(&mut self) -> Result<Option<(Header, Vec<u8>)>, RingError> {
        let mut buffer = [0; SIZE as usize];
        let mut left = SIZE;
        loop {
            let available = self.ring.req_prod().wrapping_sub(self.req_cons);
            if available > SIZE {
                return Err(xs_wire::XENSTORE_ERROR_RINGIDX);
            }
            let offset = self.req_cons % SIZE;
            let missing = u32::try_from(self.input.missing()).unwrap_or(0);
            // At most one ring's contents in one go, or a client that writes while it is read would keep the store here.
            let count = available.min(SIZE - offset).min(missing).min(left);
            if count == 0 {
                return Ok(None);
            }
            let piece = buffer.get_mut(..count as usize).unwrap_or_default();
            self.ring.read(offset as usize, piece);
            self.req_cons = self.req_cons.wrapping_add(count);
            self.ring.set_req_cons(self.req_cons);
            self.changed = true;
            left -= count;
            match self.input.take(piece) {
                Err(_) => return Err(xs_wire::XENSTORE_ERROR_PROTO),
                Ok(Some(message)) => return Ok(Some(message)),
                Ok(None) => {}
            }
        }
    }

    /// Writes as much of `bytes` as there is room for; returns how much.
    ///
    /// # Errors
    /// The client has broken the protocol.
    pub fn send(&mut self, bytes: &[u8]) -> Result<usize, RingError> {
        let used = self.rsp_prod.wrapping_sub(self.ring.rsp_cons());
        if used > SIZE {
            return Err(xs_wire::XENSTORE_ERROR_RINGIDX);
        }
        let length = u32::try_from(bytes.len().min(PAYLOAD_MAX)).unwrap_or(0);
        let offset = self.rsp_prod % SIZE;
        let count = (SIZE - used).min(SIZE - offset).min(length) as usize;
        if count > 0 {
            self.ring
                .write(offset as usize, bytes.get(..count).unwrap_or_default());
            self.rsp_prod = self.rsp_prod.wrapping_add(count as u32);
            self.ring.set_rsp_prod(self.rsp_prod);
            self.changed = true;
        }
        Ok(count)
    }

    /// Ends the connection because of `error`.
    pub fn break_off(&mut self, error: RingError) {
        self.ring.set_error(error);
        self.input = Input::default();
        self.broken = true;
        self.changed = true;
    }

    /// Whether the client asks for the connection to start again.
    #[must_use]
    pub fn wants_reset(&self) -> bool {
        self.ring.connection() == xs_wire::XENSTORE_RECONNECT
    }

    /// Starts the connection again, from empty rings.
    pub fn reset(&mut self) {
        self.input = Input::default();
        self.broken = false;
        (self.req_cons, self.rsp_prod) = (0, 0);
        self.ring.clear();
        self.ring.set_error(xs_wire::XENSTORE_ERROR_NONE);
        self.ring.set_connection(xs_wire::XENSTORE_CONNECTED);
        self.changed = true;
    }
}
