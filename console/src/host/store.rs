//! xenstore, as Domain-0 sees it.

use alloc::string::String;
use alloc::vec::Vec;
use xen_abi::{DomId, Errno};

/// An absolute path.
pub type StorePath<'a> = &'a str;

/// Number of a transaction; 0 is none.
pub type Transaction = u32;

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

/// Requests to xenstore. All errors are the store's answers, `EIO` when it does not answer.
#[allow(clippy::missing_errors_doc, reason = "said once, above")]
pub trait Store {
    /// Starts a transaction.
    fn store_begin(&mut self) -> Result<Transaction, Errno>;
    /// Ends one; `EAGAIN` when it has to be repeated.
    fn store_end(&mut self, transaction: Transaction, commit: bool) -> Result<(), Errno>;
    /// Reads a value.
    fn store_read(
        &mut self,
        transaction: Transaction,
        path: StorePath<'_>,
    ) -> Result<String, Errno>;
    /// Writes a value; parents come into being.
    fn store_write(
        &mut self,
        transaction: Transaction,
        path: StorePath<'_>,
        value: &str,
    ) -> Result<(), Errno>;
    /// Makes an empty node if there is none.
    fn store_mkdir(&mut self, transaction: Transaction, path: StorePath<'_>) -> Result<(), Errno>;
    /// Removes a node and all below it.
    fn store_remove(&mut self, transaction: Transaction, path: StorePath<'_>) -> Result<(), Errno>;
    /// Names of the nodes below.
    fn store_list(
        &mut self,
        transaction: Transaction,
        path: StorePath<'_>,
    ) -> Result<Vec<String>, Errno>;
    /// Sets who may do what.
    fn store_permissions(
        &mut self,
        transaction: Transaction,
        path: StorePath<'_>,
        permissions: &[Permission],
    ) -> Result<(), Errno>;
    /// Tells the store of a domain with a ring.
    fn store_introduce(&mut self, domid: DomId, gfn: u64, port: u32) -> Result<(), Errno>;
    /// Tells it that the domain is gone.
    fn store_release(&mut self, domid: DomId) -> Result<(), Errno>;
}
