//! The store: the tree, its clients, and the requests that connect them.

mod control;
mod domains;
mod events;
mod nodes;
mod request;
mod transactions;
mod watches;

pub use request::Links;

use crate::client::{Client, DomId};
use crate::output::{Cause, Gone, Output};
use crate::path;
use crate::quota::Quota;
use crate::tree::{Database, Transaction};
use crate::watch::Watches;
use alloc::collections::BTreeMap;
use alloc::string::String;
use xen_abi::io::xs_wire;

/// What the store offers (`server_features` of the ring page).
pub const FEATURES: u32 = xs_wire::XENSTORE_SERVER_FEATURE_RECONNECTION
    | xs_wire::XENSTORE_SERVER_FEATURE_ERROR
    | xs_wire::XENSTORE_SERVER_FEATURE_WATCHDEPTH;

/// After this many milliseconds an event that a guest does not take is dropped (Xen's default).
///
/// The request that caused it is not finished before, so without a limit a guest that sleeps could stop another one.
pub const EVENT_TIMEOUT: u64 = 20_000;

/// A domain that the store talks with.
#[derive(Debug)]
pub struct Domain {
    /// Number of the connection, in the order in which they were made.
    connection: u64,
    home: String,
    target: Option<DomId>,
    features: u32,
    transactions: BTreeMap<u32, Transaction>,
    next_transaction: u32,
    /// Messages that it has not taken yet.
    pub output: Output,
    /// Its requests whose events others have not taken yet, with how many there are of each.
    pending: BTreeMap<u64, usize>,
    requests: u64,
    events_lost: bool,
}

impl Domain {
    fn new(domid: DomId, connection: u64, features: u32) -> Self {
        Domain {
            connection,
            home: path::home(domid),
            target: None,
            features,
            transactions: BTreeMap::new(),
            next_transaction: 1,
            output: Output::default(),
            pending: BTreeMap::new(),
            requests: 0,
            events_lost: false,
        }
    }
}

/// The store.
#[derive(Debug)]
pub struct Store {
    /// The nodes and the accounts.
    pub db: Database,
    watches: Watches,
    domains: BTreeMap<DomId, Domain>,
    /// Features of domains that are not introduced yet, where they differ from [`FEATURES`].
    features: BTreeMap<DomId, u32>,
    connections: u64,
    now: u64,
}

impl Store {
    /// A store with its first nodes and no clients; `memory` bytes for everything that clients make it keep.
    #[must_use]
    pub fn new(memory: usize) -> Self {
        Store {
            db: Database::new(memory),
            watches: Watches::default(),
            domains: BTreeMap::new(),
            features: BTreeMap::new(),
            connections: 0,
            now: 0,
        }
    }

    /// Tells the time, in milliseconds from any start; it must not go back.
    pub fn set_time(&mut self, now: u64) {
        self.now = now;
    }

    /// The domain's state, if it is introduced.
    #[must_use]
    pub fn domain(&self, domid: DomId) -> Option<&Domain> {
        self.domains.get(&domid)
    }

    fn client(&self, domid: DomId) -> Client {
        Client {
            domid,
            target: self.domains.get(&domid).and_then(|domain| domain.target),
        }
    }

    /// Makes a connection, for the control domain at the start and for others when they are introduced.
    pub fn connect(&mut self, domid: DomId) {
        self.connections += 1;
        let features = self.features.remove(&domid).unwrap_or(FEATURES);
        self.domains
            .entry(domid)
            .or_insert_with(|| Domain::new(domid, self.connections, features));
    }

    /// The features that a domain is offered.
    #[must_use]
    pub fn features_of(&self, domid: DomId) -> u32 {
        self.domains
            .get(&domid)
            .map_or(FEATURES, |domain| domain.features)
    }

    /// Forgets what a connection was in the middle of: messages, watches, transactions. The domain stays introduced.
    pub fn reset(&mut self, domid: DomId) {
        self.drop_watches_and_transactions(domid);
        let gone = self
            .domains
            .get_mut(&domid)
            .map(|domain| domain.output.clear());
        gone.into_iter()
            .flatten()
            .for_each(|gone| self.message_gone(domid, gone));
    }

    pub(crate) fn drop_watches_and_transactions(&mut self, domid: DomId) {
        let (count, bytes) = self.watches.remove_all(domid);
        self.db.accounts.discharge(domid, bytes);
        self.db.accounts.change(domid, |account| {
            account.watches = account.watches.saturating_sub(count)
        });
        let client = self.client(domid);
        let Some(domain) = self.domains.get_mut(&domid) else {
            return;
        };
        for transaction in core::mem::take(&mut domain.transactions).into_values() {
            transaction.discard(&mut self.db, client);
        }
        self.db
            .accounts
            .change(domid, |account| account.transactions = 0);
    }

    /// Whether a domain may send another request now: not while it lets too many replies lie, or too many events that
    /// its requests made wait at others.
    #[must_use]
    pub fn may_request(&self, domid: DomId) -> bool {
        let Some(domain) = self.domains.get(&domid) else {
            return false;
        };
        let outstanding = domain.output.replies() + domain.pending.len();
        let client = self.client(domid);
        if client.is_privileged() {
            // Never refused, but it must take its replies like everyone.
            return domain.output.replies() < 64;
        }
        let limits = self.db.accounts.limits_of(domid);
        if limits.exceeded(Quota::Outstanding, outstanding + 1) {
            return false;
        }
        // What it has asked for so far may have filled its memory; when all of that is taken, it may at least ask again.
        outstanding == 0 || !limits.exceeded(Quota::Memory, self.db.accounts.get(domid).memory)
    }

    /// The first `count` bytes of a domain's [`Output::next`] are in its ring.
    pub fn sent(&mut self, domid: DomId, count: usize) {
        let gone = self
            .domains
            .get_mut(&domid)
            .and_then(|domain| domain.output.advance(count));
        if let Some(gone) = gone {
            self.message_gone(domid, gone);
        }
    }

    fn message_gone(&mut self, domid: DomId, gone: Gone) {
        self.db.accounts.discharge(domid, gone.footprint);
        if let Some(cause) = gone.cause {
            self.cause_done(cause);
        }
    }

    fn cause_done(&mut self, (domid, request): Cause) {
        let Some(domain) = self.domains.get_mut(&domid) else {
            return;
        };
        if let Some(count) = domain.pending.get_mut(&request) {
            *count -= 1;
            if *count == 0 {
                domain.pending.remove(&request);
            }
        }
    }

    /// Drops the events that guests have not taken in time.
    pub fn expire(&mut self) {
        let now = self.now;
        let domids: alloc::vec::Vec<_> = self.domains.keys().copied().collect();
        for domid in domids {
            while let Some(gone) = self
                .domains
                .get_mut(&domid)
                .and_then(|domain| domain.output.expire(now))
            {
                self.note_lost_event(domid);
                self.message_gone(domid, gone);
            }
        }
    }

    /// When [`Store::expire`] has something to do next, in the time of [`Store::set_time`].
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        self.domains
            .values()
            .filter_map(|domain| domain.output.deadline())
            .min()
    }

    fn note_lost_event(&mut self, domid: DomId) {
        let Some(domain) = self.domains.get_mut(&domid) else {
            return;
        };
        if !domain.events_lost {
            domain.events_lost = true;
            log::warn!("domain {domid} does not take its watch events: some are dropped");
        }
    }
}
