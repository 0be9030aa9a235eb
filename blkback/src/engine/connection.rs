//! What the engine keeps of one connection: its rings, its pages, what is under way.

use alloc::vec::Vec;

use xen_abi::DomId;

use crate::extents::Extents;
use crate::pages::Cache;
use crate::protocol::{Request, Ring};

/// Tells a frontend that there are responses.
pub trait Notify {
    /// Sends the event.
    fn notify(&self);
}

/// One ring of a connection and its event channel.
pub struct Queue<R, N> {
    /// The ring.
    pub ring: Ring<R>,
    /// Its event channel.
    pub port: N,
}

/// Pages that one connection's requests may use at a time (a request more, in fact). A frontend with many long rings would
/// take all our memory else. Linux's frontend with two queues comes to 2,048.
pub(super) const MAX_PAGES_IN_USE: usize = 2048;

/// Requests and sectors of a connection, for the log and for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// Flushes and barriers.
    pub flushes: u64,
    /// Discards.
    pub discards: u64,
    /// Requests refused or failed.
    pub errors: u64,
}

/// One connection.
pub(super) struct Connection<P, R, N> {
    pub dom: DomId,
    pub extents: Extents,
    pub queues: Vec<Queue<R, N>>,
    pub cache: Cache<P>,
    /// Tasks under way.
    pub tasks: u32,
    /// Pages that they use.
    pub pages: usize,
    /// A barrier (and its ring) that waits until the tasks before it are done; nothing after it is taken.
    pub barrier: Option<(usize, Request)>,
    /// A barrier is under way; nothing after it is taken.
    pub in_barrier: bool,
    /// There may be requests that no event will announce: behind a barrier, or more than could be taken.
    pub wake: bool,
    /// No new requests: the connection ends when its tasks are done.
    pub closing: bool,
    /// The ring made no sense; said once.
    pub broken: bool,
    pub counts: Counts,
}
