//! The loop over all connections.

use super::pipe::{Pipe, Ring, RingError};
use crate::client::DomId;
use crate::error::Result;
use crate::store::{FEATURES, Links, Store};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Rounds before clients are notified: each round takes at most one request from each client.
const ROUNDS: usize = 32;

/// What the store needs from the machine.
pub trait Platform {
    /// A mapped ring page.
    type Ring: Ring;
    /// Maps the domain's ring page and binds its event channel.
    ///
    /// # Errors
    /// Either cannot be done; nothing is left then.
    fn connect(&mut self, domid: DomId, port: u32) -> Result<Self::Ring>;
    /// Binds the event channel of a connected domain again.
    ///
    /// # Errors
    /// It cannot be done.
    fn rebind(&mut self, domid: DomId, port: u32) -> Result<()>;
    /// Unmaps the page and closes the channel.
    fn disconnect(&mut self, domid: DomId, ring: Self::Ring);
    /// Tells the domain that its page has changed.
    fn notify(&mut self, domid: DomId);
}

struct Table<P: Platform> {
    platform: P,
    pipes: BTreeMap<DomId, Pipe<P::Ring>>,
}

impl<P: Platform> Links for Table<P> {
    fn connect(&mut self, domid: DomId, port: u32, features: u32) -> Result<()> {
        if self.pipes.contains_key(&domid) {
            return self.platform.rebind(domid, port);
        }
        let ring = self.platform.connect(domid, port)?;
        self.pipes.insert(domid, Pipe::new(ring, features));
        Ok(())
    }

    fn reset(&mut self, domid: DomId) {
        if let Some(pipe) = self.pipes.get_mut(&domid) {
            pipe.reset();
        }
    }

    fn disconnect(&mut self, domid: DomId) {
        if let Some(pipe) = self.pipes.remove(&domid) {
            self.platform.disconnect(domid, pipe.into_ring());
        }
    }
}

/// The store and its connections.
pub struct Server<P: Platform> {
    /// The store.
    pub store: Store,
    table: Table<P>,
}

/// How a call of [`Server::serve`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// There is more to do at once.
    pub busy: bool,
    /// Otherwise there is something to do at this time at the latest, in milliseconds.
    pub deadline: Option<u64>,
}

impl<P: Platform> Server<P> {
    /// A store without clients; `memory` bytes for what they make it keep.
    pub fn new(platform: P, memory: usize) -> Self {
        Server {
            store: Store::new(memory),
            table: Table {
                platform,
                pipes: BTreeMap::new(),
            },
        }
    }

    /// The machine.
    pub fn platform(&mut self) -> &mut P {
        &mut self.table.platform
    }

    /// Talks with `domid` from now on without an introduction: for the control domain, which introduces the others.
    ///
    /// # Errors
    /// As [`Platform::connect`].
    pub fn attach(&mut self, domid: DomId, port: u32) -> Result<()> {
        self.table.connect(domid, port, FEATURES)?;
        self.store.connect(domid);
        Ok(())
    }

    /// Does what there is to do, in turns, and then notifies each client at most once. `now` is in milliseconds.
    pub fn serve(&mut self, now: u64) -> Served {
        self.store.set_time(now);
        self.store.expire();
        let mut busy = true;
        for _ in 0..ROUNDS {
            busy = false;
            let domids: Vec<_> = self.table.pipes.keys().copied().collect();
            for domid in domids {
                match self.turn(domid) {
                    Ok(progress) => busy |= progress,
                    Err(error) => self.break_off(domid, error),
                }
            }
            if !busy {
                break;
            }
        }
        for (domid, pipe) in &mut self.table.pipes {
            if pipe.take_changed() {
                self.table.platform.notify(*domid);
            }
        }
        Served {
            busy,
            deadline: self.store.deadline(),
        }
    }

    /// One client's turn: what waits for it goes out, and one request comes in. Whether anything happened.
    fn turn(&mut self, domid: DomId) -> core::result::Result<bool, RingError> {
        let Some(pipe) = self.table.pipes.get_mut(&domid) else {
            return Ok(false);
        };
        if pipe.wants_reset() {
            self.store.reset(domid);
            pipe.reset();
            return Ok(true);
        }
        if pipe.is_broken() {
            return Ok(false);
        }
        let mut progress = self.flush(domid)?;
        if self.store.may_request(domid)
            && let Some(pipe) = self.table.pipes.get_mut(&domid)
            && let Some((header, payload)) = pipe.receive()?
        {
            self.store.handle(&mut self.table, domid, header, &payload);
            progress = true;
            self.flush(domid)?;
        }
        Ok(progress)
    }

    fn flush(&mut self, domid: DomId) -> core::result::Result<bool, RingError> {
        let mut progress = false;
        while let (Some(domain), Some(pipe)) =
            (self.store.domain(domid), self.table.pipes.get_mut(&domid))
        {
            let bytes = domain.output.next();
            let count = if bytes.is_empty() {
                0
            } else {
                pipe.send(bytes)?
            };
            if count == 0 {
                break;
            }
            self.store.sent(domid, count);
            progress = true;
        }
        Ok(progress)
    }

    fn break_off(&mut self, domid: DomId, error: RingError) {
        log::warn!("domain {domid} breaks the protocol (error {error}): its connection is closed");
        self.store.reset(domid);
        if let Some(pipe) = self.table.pipes.get_mut(&domid) {
            pipe.break_off(error);
        }
    }
}
