//! xenstore, as Domain-0 sees it.

use alloc::string::String;
use alloc::vec::Vec;

use xen_abi::{DomId, Errno};

use crate::guest::Entry;

/// What a domain may do with a node; the first of a list is the owner's, and its access is everybody
/// else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// Who.
    pub domid: DomId,
    /// `n`, `r`, `w` or `b` (both).
    pub access: char,
}

impl Permission {
    /// Nothing, but for the owner everything.
    #[must_use]
    pub const fn none(domid: DomId) -> Self {
        Self { domid, access: 'n' }
    }

    /// Reading.
    #[must_use]
    pub const fn read(domid: DomId) -> Self {
        Self { domid, access: 'r' }
    }
}

/// Requests to xenstore. All errors are the store's answers, `ETIMEDOUT` when it does not answer.
#[allow(clippy::missing_errors_doc, reason = "said once, above")]
pub trait Store {
    /// Writes `entries` in one transaction: a watcher sees either none or all of them.
    fn store_apply(&mut self, entries: &[Entry]) -> Result<(), Errno>;
    /// Reads a value.
    fn store_read(&mut self, path: &str) -> Result<String, Errno>;
    /// The names of the nodes below `path`.
    fn store_list(&mut self, path: &str) -> Result<Vec<String>, Errno>;
    /// Writes a value; parents come into being.
    fn store_write(&mut self, path: &str, value: &str) -> Result<(), Errno>;
    /// Removes a node and all below it.
    fn store_remove(&mut self, path: &str) -> Result<(), Errno>;
    /// Has [`super::Events::store`] set whenever `path` changes.
    fn store_watch(&mut self, path: &str) -> Result<(), Errno>;
    /// Ends that; no error if there was no such watch.
    fn store_unwatch(&mut self, path: &str);
    /// The store has stopped: every request fails from now on.
    fn store_lost(&mut self);
    /// Tells the store of a domain with a ring.
    fn store_introduce(&mut self, domid: DomId, gfn: u64, port: u32) -> Result<(), Errno>;
    /// Tells it that the domain is gone.
    fn store_release(&mut self, domid: DomId) -> Result<(), Errno>;
}
