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

use crate::check::{Extent, Job, Piece, Refused, check, list};
use crate::disk::{Disk, Limits, Segment};
use crate::pages::{Cache, Grants, MAX_PERSISTENT, PageUse};
use crate::protocol::{Request, Ring};
use crate::task::{Step, Task, Work};

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
const MAX_PAGES_IN_USE: usize = 2048;

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

struct Connection<P, R, N> {
    dom: DomId,
    extent: Extent,
    queues: Vec<Queue<R, N>>,
    cache: Cache<P>,
    /// Tasks under way.
    tasks: u32,
    /// Pages that they use.
    pages: usize,
    /// A barrier (and its ring) that waits until the tasks before it are done; nothing after it is taken.
    barrier: Option<(usize, Request)>,
    /// A barrier is under way; nothing after it is taken.
    in_barrier: bool,
    /// There may be requests that no event will announce: behind a barrier, or more than could be taken.
    wake: bool,
    /// No new requests: the connection ends when its tasks are done.
    closing: bool,
    /// The ring made no sense; said once.
    broken: bool,
    counts: Counts,
}

/// Joins the pieces of a request, whose pages are at `addresses`, where they are neighbours for the device.
fn segments(pieces: &[Piece], addresses: &[u64], limit: u32) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::with_capacity(pieces.len());
    for (piece, address) in pieces.iter().zip(addresses) {
        let gpa = address + u64::from(piece.offset);
        match segments.last_mut() {
            Some(last)
                if last.gpa + u64::from(last.len) == gpa && last.len + piece.len <= limit =>
            {
                last.len += piece.len;
            }
            _ => segments.push(Segment {
                gpa,
                len: piece.len,
            }),
        }
    }
    segments
}

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

    /// Opens a connection of `dom` to a part of the disk.
    pub fn connect(
        &mut self,
        dom: DomId,
        extent: Extent,
        persistent: bool,
        queues: Vec<Queue<R, N>>,
    ) -> ConnectionId {
        let connection = Connection {
            dom,
            extent,
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

    fn take_requests(&mut self, id: ConnectionId) -> Result<(), RingError> {
        let mut queue = 0;
        loop {
            let Some(Some(connection)) = self.connections.get_mut(id) else {
                return Ok(());
            };
            if connection.closing
                || connection.broken
                || connection.barrier.is_some()
                || connection.in_barrier
            {
                return Ok(());
            }
            if connection.pages >= MAX_PAGES_IN_USE {
                connection.wake = true;
                return Ok(());
            }
            let Some(ring) = connection
                .queues
                .get_mut(queue)
                .map(|queue| &mut queue.ring)
            else {
                return Ok(());
            };
            let next = match ring.take() {
                Ok(None) => ring
                    .more()
                    .map(|more| (!more).then(|| queue += 1))
                    .map(|_| None),
                other => other,
            };
            match next {
                Ok(Some(request)) => self.start(id, queue, &request),
                Ok(None) => {}
                Err(error) => {
                    connection.broken = true;
                    return Err(error);
                }
            }
        }
    }

    fn start(&mut self, id: ConnectionId, queue: usize, request: &Request) {
        let can_discard = self.limits.discard.is_some();
        let Some(Some(connection)) = self.connections.get_mut(id) else {
            return;
        };
        let job = check(request, &connection.extent, can_discard);
        if matches!(job, Ok(Job::Transfer { barrier: true, .. })) && connection.tasks > 0 {
            connection.barrier = Some((queue, *request));
            // Whatever becomes of it, there may be requests behind it.
            connection.wake = true;
            return;
        }
        let mut pages = Vec::new();
        let work = job
            .and_then(|job| Self::read_list(&mut self.grants, connection, job, &mut pages))
            .and_then(|job| {
                Self::prepare(&mut self.grants, &self.limits, connection, &job, &mut pages)
            });
        connection.tasks += 1;
        connection.pages += pages.len();
        let counts = &mut connection.counts;
        let task = match work {
            Ok(work) => {
                match &work {
                    Work::Transfer { before: true, .. } => counts.flushes += 1,
                    Work::Transfer { write: true, .. } => counts.writes += 1,
                    Work::Transfer { .. } => counts.reads += 1,
                    Work::Discard { .. } => counts.discards += 1,
                }
                Task::new(id, queue, request, work, pages)
            }
            Err(refused) => {
                log::debug!(
                    "d{}: request {:#x} refused: {refused:?}",
                    connection.dom,
                    request.id
                );
                Task::refused(id, queue, request, refused.status(), pages)
            }
        };
        connection.in_barrier = task.barrier;
        let index = self.insert(task);
        self.advance(index);
    }

    /// Of a job whose pieces are listed in pages: maps these, which stay mapped as long as the request, and reads the list.
    fn read_list(
        grants: &mut G,
        connection: &mut Connection<G::Page, R, N>,
        job: Job,
        used: &mut Vec<PageUse<G::Page>>,
    ) -> Result<Job, Refused> {
        let Job::Listed {
            write,
            sector,
            count,
            pages,
        } = job
        else {
            return Ok(job);
        };
        let Connection {
            cache, dom, extent, ..
        } = connection;
        if !cache.acquire(grants, *dom, &pages, true, used, &mut Vec::new()) {
            return Err(Refused::Wrong("list not granted"));
        }
        list(
            extent,
            write,
            sector,
            count,
            used.iter().filter_map(|page| cache.memory(page)),
        )
    }

    /// Maps a job's pages and turns it into work for the disk.
    fn prepare(
        grants: &mut G,
        limits: &Limits,
        connection: &mut Connection<G::Page, R, N>,
        job: &Job,
        used: &mut Vec<PageUse<G::Page>>,
    ) -> Result<Work, Refused> {
        match job {
            Job::Transfer {
                write,
                sector,
                pieces,
                before,
                barrier,
            } => {
                let references: Vec<_> = pieces.iter().map(|piece| piece.gref).collect();
                let mut addresses = Vec::with_capacity(pieces.len());
                // To write to the disk is to read the page.
                if !connection.cache.acquire(
                    grants,
                    connection.dom,
                    &references,
                    *write,
                    used,
                    &mut addresses,
                ) {
                    return Err(Refused::Wrong("page not granted"));
                }
                let segments = segments(pieces, &addresses, limits.segment_bytes);
                let (write, sector, before) = (*write, *sector, *before);
                Ok(Work::Transfer {
                    write,
                    sector,
                    segments,
                    before,
                    after: *barrier,
                })
            }
            Job::Discard { sector, count } => Ok(Work::Discard {
                sector: *sector,
                count: *count,
            }),
            Job::Listed { .. } => Err(Refused::Wrong("list of lists")),
        }
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
            if let Some(Some(task)) = self.tasks.get_mut(completion.tag as usize)
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

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn neighbours_are_joined_up_to_the_limit() {
        let piece = |offset, len| Piece {
            gref: 0,
            offset,
            len,
        };
        let pieces = [
            piece(512, 3584),
            piece(0, 4096),
            piece(0, 512),
            piece(1024, 512),
            piece(1536, 512),
        ];
        let addresses = [0x1000, 0x2000, 0x3000, 0x3000, 0x3000];
        let joined = |limit| segments(&pieces, &addresses, limit);
        let segment = |gpa, len| Segment { gpa, len };
        assert_eq!(
            joined(1 << 20),
            [segment(0x1200, 3584 + 4096 + 512), segment(0x3400, 1024)]
        );
        assert_eq!(
            joined(4096),
            [
                segment(0x1200, 3584),
                segment(0x2000, 4096),
                segment(0x3000, 512),
                segment(0x3400, 1024)
            ]
        );
    }
}
