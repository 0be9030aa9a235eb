//! From requests on rings to commands for the disk, and back.
//!
//! Each connection has rings; each request taken from one becomes a task, which goes through its stages (flush, data,
//! flush) as the disk completes its commands, and ends in a response. All rings are looked at, then the disk is
//! started once; all completions are taken, then the pages that are not kept are unmapped at once, then the responses are
//! published and each frontend is notified once, if it asked for that.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use domain::SharedMemory;
use domain::ring::RingError;
use xen_abi::DomId;
use xen_abi::io::blkif::BLKIF_RSP_OKAY;

use crate::disk::{Disk, Limits};
use crate::extents::Extents;
use crate::pages::{Cache, Grants, MAX_PERSISTENT};
use crate::task::{Step, Task};

mod connection;
mod own;
mod start;

use connection::{Connection, MAX_PAGES_IN_USE};
pub use connection::{Counts, Notify, Queue};

/// Names a connection.
pub type ConnectionId = usize;

/// All connections to one disk.
pub struct Engine<D, G: Grants, R, N> {
    disk: D,
    limits: Limits,
    grants: G,
    connections: Vec<Option<Connection<G::Page, R, N>>>,
    tasks: Vec<Option<Task<G::Page>>>,
    free: Vec<u32>,
    /// Tasks with commands for which the disk had no room.
    stalled: VecDeque<u32>,
    /// Tasks that have come to their end and wait for their response.
    finished: Vec<u32>,
    /// How our own read goes.
    own: own::Read,
}

impl<D: Disk, G: Grants, R: AsRef<SharedMemory>, N: Notify> Engine<D, G, R, N> {
    /// An engine without connections.
    #[must_use]
    pub fn new(disk: D, grants: G) -> Self {
        let limits = disk.limits();
        Self {
            disk,
            limits,
            grants,
            connections: Vec::new(),
            tasks: Vec::new(),
            free: Vec::new(),
            stalled: VecDeque::new(),
            finished: Vec::new(),
            own: own::Read::default(),
        }
    }

    /// The disk.
    pub fn disk(&mut self) -> &mut D {
        &mut self.disk
    }

    /// Another disk's abilities.
    #[cfg(test)]
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The mapper of pages.
    pub fn grants(&mut self) -> &mut G {
        &mut self.grants
    }

    /// Opens a connection of `dom` to a part of the disk, or several.
    pub fn connect(
        &mut self,
        dom: DomId,
        extents: Extents,
        persistent: bool,
        queues: Vec<Queue<R, N>>,
    ) -> ConnectionId {
        let connection = Connection {
            dom,
            extents,
            queues,
            cache: Cache::new(if persistent { MAX_PERSISTENT } else { 0 }),
            tasks: 0,
            pages: 0,
            barrier: None,
            in_barrier: false,
            wake: false,
            closing: false,
            broken: false,
            counts: Counts::default(),
        };
        let id = self
            .connections
            .iter()
            .position(Option::is_none)
            .unwrap_or(self.connections.len());
        if id == self.connections.len() {
            self.connections.push(None);
        }
        self.connections[id] = Some(connection);
        id
    }

    /// Takes no more requests of a connection. When [`Self::is_idle`], [`Self::disconnect`] it.
    pub fn close(&mut self, id: ConnectionId) {
        if let Some(Some(connection)) = self.connections.get_mut(id) {
            connection.closing = true;
            connection.barrier = None;
        }
    }

    /// Are none of the connection's requests under way?
    #[must_use]
    pub fn is_idle(&self, id: ConnectionId) -> bool {
        self.connections
            .get(id)
            .and_then(Option::as_ref)
            .is_none_or(|connection| connection.tasks == 0)
    }

    /// Ends an idle connection: unmaps its pages and rings, closes its ports. False if it is not idle.
    pub fn disconnect(&mut self, id: ConnectionId) -> bool {
        if !self.is_idle(id) {
            return false;
        }
        if let Some(mut connection) = self.connections.get_mut(id).and_then(Option::take) {
            connection.cache.clear(&mut self.grants);
        }
        true
    }

    /// The connection's counters.
    #[must_use]
    pub fn counts(&self, id: ConnectionId) -> Counts {
        self.connections
            .get(id)
            .and_then(Option::as_ref)
            .map_or_else(Counts::default, |connection| connection.counts)
    }

    /// Takes the requests of a connection, as many as are there, and starts the disk on them.
    ///
    /// # Errors
    /// The ring makes no sense: the connection should be closed.
    pub fn serve(&mut self, id: ConnectionId) -> Result<(), RingError> {
        let result = self.take_requests(id);
        self.settle();
        result
    }

    fn insert(&mut self, task: Task<G::Page>) -> u32 {
        match self.free.pop() {
            Some(index) => {
                self.tasks[index as usize] = Some(task);
                index
            }
            None => {
                // Rings bound how many there are.
                self.tasks.push(Some(task));
                self.tasks.len() as u32 - 1
            }
        }
    }

    /// Gives the disk as many of the task's commands as it takes.
    fn advance(&mut self, index: u32) {
        let Some(Some(task)) = self.tasks.get_mut(index as usize) else {
            return;
        };
        match task.advance(&mut self.disk, &self.limits, index) {
            Step::Waits => {}
            Step::Stalled => self.stalled.push_back(index),
            Step::Finished => self.finished.push(index),
        }
    }

    /// Takes what the disk has completed, and goes on with what waited for that.
    pub fn complete(&mut self) {
        while let Some(completion) = self.disk.completed() {
            if completion.tag == own::TAG {
                self.own.completed(completion.ok);
            } else if let Some(Some(task)) = self.tasks.get_mut(completion.tag as usize)
                && task.completed(completion.ok)
            {
                self.advance(completion.tag);
            }
        }
        // Each stalled task gets one try; those that stall again go to the end, in the same order.
        for _ in 0..self.stalled.len() {
            if let Some(index) = self.stalled.pop_front() {
                self.advance(index);
            }
        }
        self.settle();
    }

    /// Answers what has ended, lets what waited for that begin, and starts the disk.
    fn settle(&mut self) {
        self.retire();
        for id in 0..self.connections.len() {
            let Some(Some(connection)) = self.connections.get_mut(id) else {
                continue;
            };
            if connection.tasks == 0
                && let Some((queue, request)) = connection.barrier.take()
            {
                self.start(id, queue, &request);
            } else if connection.wake
                && connection.barrier.is_none()
                && !connection.in_barrier
                && connection.pages < MAX_PAGES_IN_USE
            {
                connection.wake = false;
                // A ring that makes no sense is reported by the next `serve`.
                let _ = self.take_requests(id);
            }
        }
        self.retire();
        self.disk.kick();
    }

    /// Are there requests that no event will announce? Then [`Self::complete`] has to be called again before waiting.
    /// (Going on here instead would let one frontend keep us from the others.)
    #[must_use]
    pub fn has_more(&self) -> bool {
        let waits = |connection: &Connection<_, _, _>| {
            connection.tasks == 0
                && !connection.closing
                && (connection.wake || connection.barrier.is_some())
        };
        self.connections.iter().flatten().any(waits)
    }

    /// Answers the finished tasks.
    fn retire(&mut self) {
        if self.finished.is_empty() {
            return;
        }
        let mut tasks = Vec::with_capacity(self.finished.len());
        let mut gone = Vec::new();
        for index in core::mem::take(&mut self.finished) {
            let Some(mut task) = self.tasks.get_mut(index as usize).and_then(Option::take) else {
                continue;
            };
            self.free.push(index);
            if let Some(Some(connection)) = self.connections.get_mut(task.connection) {
                let pages = core::mem::take(&mut task.pages);
                connection.pages -= pages.len();
                connection.cache.release(pages, &mut gone);
            }
            tasks.push(task);
        }
        // Before the responses, upon which frontends revoke.
        if !gone.is_empty() {
            self.grants.unmap(gone);
        }
        for task in tasks {
            let Some(Some(connection)) = self.connections.get_mut(task.connection) else {
                continue;
            };
            connection.tasks -= 1;
            if task.barrier {
                connection.in_barrier = false;
                connection.wake = true;
            }
            if task.status() != BLKIF_RSP_OKAY {
                connection.counts.errors += 1;
            }
            if let Some(queue) = connection.queues.get_mut(task.queue) {
                // Never full: each request taken has its slot.
                let _ = queue.ring.respond(task.id, task.operation, task.status());
            }
        }
        for queue in self
            .connections
            .iter_mut()
            .flatten()
            .flat_map(|connection| &mut connection.queues)
        {
            if queue.ring.flush() {
                queue.port.notify();
            }
        }
    }
}
