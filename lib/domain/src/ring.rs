//! Both ends of Xen's request/response ring (`io/ring.h`) over [`SharedMemory`].
//!
//! Requests and responses are copied out of, or into, the ring exactly once. The other end's indexes are never believed: one that
//! claims more than the ring can hold is [`RingError::Overrun`], after which the device should be closed.
//! Indexes run freely over `u32`. Typical backend loop:
//!
//! ```ignore
//! loop {
//!     while let Some(request) = ring.next_request()? { handle(request); }
//!     if ring.flush() { port.notify()?; }           // after push_response()
//!     if !ring.more_requests()? { break; }          // arms req_event
//! }
//! ```

use crate::shared::{OutOfBounds, SharedMemory};
use core::fmt;
use core::marker::PhantomData;
use core::sync::atomic::{Ordering, fence};
use xen_abi::io::ring::{self, REQ_EVENT, REQ_PROD, RING, RSP_EVENT, RSP_PROD};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// What can be wrong with a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingError {
    /// The other end's producer index is further ahead than the ring is long.
    Overrun {
        /// The index found.
        producer: u32,
        /// This end's consumer index.
        consumer: u32,
    },
    /// No free slot.
    Full,
    /// The memory is too small for one slot.
    TooSmall,
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RingError::Overrun { producer, consumer } => {
                write!(
                    f,
                    "ring producer {producer} is too far ahead of consumer {consumer}"
                )
            }
            RingError::Full => f.write_str("ring full"),
            RingError::TooSmall => f.write_str("ring memory too small"),
        }
    }
}

impl From<OutOfBounds> for RingError {
    fn from(_: OutOfBounds) -> Self {
        RingError::TooSmall
    }
}

impl From<RingError> for xen_abi::Errno {
    fn from(error: RingError) -> Self {
        match error {
            RingError::Overrun { .. } => xen_abi::Errno::EIO,
            RingError::Full => xen_abi::Errno::ENOSPC,
            RingError::TooSmall => xen_abi::Errno::EINVAL,
        }
    }
}

/// What both ends share: where slots are and how indexes are read.
struct Slots<M> {
    memory: M,
    size: u32,
    slot_bytes: usize,
}

impl<M: AsRef<SharedMemory>> Slots<M> {
    fn new(memory: M, slot_bytes: usize) -> Result<Self, RingError> {
        match ring::ring_size(slot_bytes, memory.as_ref().len()) {
            0 => Err(RingError::TooSmall),
            size => Ok(Slots {
                memory,
                size,
                slot_bytes,
            }),
        }
    }

    fn slot(&self, index: u32) -> usize {
        RING + (index & (self.size - 1)) as usize * self.slot_bytes
    }

    /// Reads an index; what the other end wrote before it is visible afterwards.
    fn load(&self, field: usize) -> u32 {
        // The header is inside: `new` has checked the length. An unreadable index would read as zero.
        self.memory
            .as_ref()
            .atomic_u32(field)
            .map_or(0, |index| index.load(Ordering::Acquire))
    }

    /// Writes an index after everything written before.
    fn store(&self, field: usize, value: u32) {
        if let Ok(index) = self.memory.as_ref().atomic_u32(field) {
            index.store(value, Ordering::Release);
        }
    }

    /// Publishes `new` in `field`, returns whether the other end asked (in `event_field`) to be notified.
    fn publish(&self, field: usize, event_field: usize, old: u32, new: u32) -> bool {
        if old == new {
            return false;
        }
        self.store(field, new);
        // The other end sees the new index before we look at its event index: else both could miss each other.
        fence(Ordering::SeqCst);
        ring::passed(old, new, self.load(event_field))
    }
}

/// The end that takes requests and gives responses. `M` owns or borrows the ring's memory.
pub struct BackRing<Req, Rsp, M> {
    slots: Slots<M>,
    req_cons: u32,
    rsp_prod_pvt: u32,
    rsp_prod_published: u32,
    types: PhantomData<(Req, Rsp)>,
}

impl<Req: FromBytes, Rsp: IntoBytes + Immutable, M: AsRef<SharedMemory>> BackRing<Req, Rsp, M> {
    /// Takes over a ring that the frontend has initialised, at the place where a former backend left it
    /// (zero for a fresh ring): requests not yet answered are seen again.
    pub fn attach(memory: M) -> Result<Self, RingError> {
        let slots = Slots::new(memory, size_of::<Req>().max(size_of::<Rsp>()))?;
        let at = slots.load(RSP_PROD);
        Ok(BackRing {
            slots,
            req_cons: at,
            rsp_prod_pvt: at,
            rsp_prod_published: at,
            types: PhantomData,
        })
    }

    /// Slots, a power of two.
    pub fn size(&self) -> u32 {
        self.slots.size
    }

    /// The ring's memory.
    pub fn memory(&self) -> &M {
        &self.slots.memory
    }

    /// Gives the memory back, to unmap it.
    pub fn into_memory(self) -> M {
        self.slots.memory
    }

    /// Requests taken whose responses are not pushed yet.
    pub fn outstanding(&self) -> u32 {
        self.req_cons.wrapping_sub(self.rsp_prod_pvt)
    }

    /// Requests that wait, as the frontend says, checked against the ring's size.
    pub fn unconsumed(&self) -> Result<u32, RingError> {
        let producer = self.slots.load(REQ_PROD);
        // Every request without a response occupies a slot, so no more can wait than slots are left. A producer that went
        // backwards, behind what was consumed, is far ahead in wrapping arithmetic.
        let waiting = producer.wrapping_sub(self.req_cons);
        if waiting > self.slots.size - self.outstanding() {
            return Err(RingError::Overrun {
                producer,
                consumer: self.req_cons,
            });
        }
        Ok(waiting)
    }

    /// Copies the next request out, if there is one.
    pub fn next_request(&mut self) -> Result<Option<Req>, RingError> {
        if self.unconsumed()? == 0 {
            return Ok(None);
        }
        let request = self
            .slots
            .memory
            .as_ref()
            .read(self.slots.slot(self.req_cons))?;
        self.req_cons = self.req_cons.wrapping_add(1);
        Ok(Some(request))
    }

    /// Looks at the `ahead`-th waiting request (0: the next one) without consuming it.
    pub fn peek_request(&self, ahead: u32) -> Result<Option<Req>, RingError> {
        if self.unconsumed()? <= ahead {
            return Ok(None);
        }
        Ok(Some(self.slots.memory.as_ref().read(
            self.slots.slot(self.req_cons.wrapping_add(ahead)),
        )?))
    }

    /// Queues a response. [`RingError::Full`] if every request taken has been answered.
    pub fn push_response(&mut self, response: &Rsp) -> Result<(), RingError> {
        self.push_response_as(response)
    }

    /// Queues something else of at most a slot's size, such as netif's extra info.
    pub fn push_response_as<T: IntoBytes + Immutable>(
        &mut self,
        response: &T,
    ) -> Result<(), RingError> {
        if size_of::<T>() > self.slots.slot_bytes {
            return Err(RingError::TooSmall);
        }
        if self.outstanding() == 0 {
            return Err(RingError::Full);
        }
        self.slots
            .memory
            .as_ref()
            .write(self.slots.slot(self.rsp_prod_pvt), response)?;
        self.rsp_prod_pvt = self.rsp_prod_pvt.wrapping_add(1);
        Ok(())
    }

    /// Publishes queued responses. True: the frontend wants a notification.
    pub fn flush(&mut self) -> bool {
        let old = self.rsp_prod_published;
        self.rsp_prod_published = self.rsp_prod_pvt;
        self.slots
            .publish(RSP_PROD, RSP_EVENT, old, self.rsp_prod_pvt)
    }

    /// To be asked before waiting for events: true if more requests are there; false has asked the frontend to notify
    /// the next one.
    pub fn more_requests(&mut self) -> Result<bool, RingError> {
        if self.unconsumed()? > 0 {
            return Ok(true);
        }
        self.slots.store(REQ_EVENT, self.req_cons.wrapping_add(1));
        fence(Ordering::SeqCst);
        Ok(self.unconsumed()? > 0)
    }
}

/// The end that gives requests and takes responses.
pub struct FrontRing<Req, Rsp, M> {
    slots: Slots<M>,
    req_prod_pvt: u32,
    req_prod_published: u32,
    rsp_cons: u32,
    types: PhantomData<(Req, Rsp)>,
}

impl<Req: IntoBytes + Immutable, Rsp: FromBytes, M: AsRef<SharedMemory>> FrontRing<Req, Rsp, M> {
    /// Initialises a ring in memory that will be granted to the backend (`XEN_FRONT_RING_INIT`).
    pub fn init(memory: M) -> Result<Self, RingError> {
        let slots = Slots::new(memory, size_of::<Req>().max(size_of::<Rsp>()))?;
        slots.memory.as_ref().fill(0, RING, 0)?;
        slots.store(REQ_EVENT, 1);
        slots.store(RSP_EVENT, 1);
        Ok(FrontRing {
            slots,
            req_prod_pvt: 0,
            req_prod_published: 0,
            rsp_cons: 0,
            types: PhantomData,
        })
    }

    /// Slots, a power of two.
    pub fn size(&self) -> u32 {
        self.slots.size
    }

    /// The ring's memory.
    pub fn memory(&self) -> &M {
        &self.slots.memory
    }

    /// Gives the memory back.
    pub fn into_memory(self) -> M {
        self.slots.memory
    }

    /// Slots free for requests.
    pub fn free_requests(&self) -> u32 {
        self.slots.size - self.req_prod_pvt.wrapping_sub(self.rsp_cons)
    }

    /// Queues a request, returns its index (free-running).
    pub fn push_request(&mut self, request: &Req) -> Result<u32, RingError> {
        self.push_request_as(request)
    }

    /// Queues something else of at most a slot's size, such as netif's extra info.
    pub fn push_request_as<T: IntoBytes + Immutable>(
        &mut self,
        request: &T,
    ) -> Result<u32, RingError> {
        if size_of::<T>() > self.slots.slot_bytes {
            return Err(RingError::TooSmall);
        }
        if self.free_requests() == 0 {
            return Err(RingError::Full);
        }
        let index = self.req_prod_pvt;
        self.slots
            .memory
            .as_ref()
            .write(self.slots.slot(index), request)?;
        self.req_prod_pvt = index.wrapping_add(1);
        Ok(index)
    }

    /// Publishes queued requests. True: the backend wants a notification.
    pub fn flush(&mut self) -> bool {
        let old = self.req_prod_published;
        self.req_prod_published = self.req_prod_pvt;
        self.slots
            .publish(REQ_PROD, REQ_EVENT, old, self.req_prod_pvt)
    }

    /// Responses that wait, checked: there are never more than requests without one.
    pub fn unconsumed(&self) -> Result<u32, RingError> {
        let producer = self.slots.load(RSP_PROD);
        let waiting = producer.wrapping_sub(self.rsp_cons);
        if waiting > self.req_prod_published.wrapping_sub(self.rsp_cons) {
            return Err(RingError::Overrun {
                producer,
                consumer: self.rsp_cons,
            });
        }
        Ok(waiting)
    }

    /// Copies the next response out, if there is one.
    pub fn next_response(&mut self) -> Result<Option<Rsp>, RingError> {
        if self.unconsumed()? == 0 {
            return Ok(None);
        }
        let response = self
            .slots
            .memory
            .as_ref()
            .read(self.slots.slot(self.rsp_cons))?;
        self.rsp_cons = self.rsp_cons.wrapping_add(1);
        Ok(Some(response))
    }

    /// To be asked before waiting for events: true if more responses are there; false has asked the backend to notify
    /// the next one.
    pub fn more_responses(&mut self) -> Result<bool, RingError> {
        if self.unconsumed()? > 0 {
            return Ok(true);
        }
        self.slots.store(RSP_EVENT, self.rsp_cons.wrapping_add(1));
        fence(Ordering::SeqCst);
        Ok(self.unconsumed()? > 0)
    }
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
