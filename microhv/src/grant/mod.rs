//! Grant tables, version 1: a domain lets another one map one of its pages, or copy to and from it.
//!
//! Each domain has a [`Table`]: the entries that it shares with us (and writes at will), our own record of which of
//! them are in use, and the mappings it holds of other domains' pages. The rules for the shared flags are those of
//! Xen's `public/grant_table.h`.
//!
//! Only one table is locked at a time, and never while an address space is. So a grant is taken in three steps: look at
//! the entry, look up the page in the granter's address space, then pin the entry if it still says the same
//! ([`Table::pin`], twice).
//!
//! A page in use is held by a [`FrameRef`] in the record, and by the mapper's address space: it stays whole when its
//! owner dies. Once pinned, a mapping names its entry by (domain, reference, frame): since the frame cannot be reused
//! while it is mapped, a new domain with the old one's number cannot be mistaken for it.

#![forbid(unsafe_code)]

mod active;
mod copy;
mod map;
mod maptrack;
mod op;
mod shared;
mod table;

#[cfg(test)]
mod copy_tests;
#[cfg(test)]
mod end_tests;
#[cfg(test)]
mod map_tests;
#[cfg(test)]
mod op_tests;
#[cfg(test)]
mod world;

pub use map::release_mappings;
pub use op::{entry_size, op};
pub use table::Table;

use crate::mm::FrameRef;
use crate::types::{DomId, Gfn, Mfn};
use xen_abi::grant_table::GNTST_OKAY;

/// Frames of shared entries that a domain may have: 32,768 entries (Xen's `gnttab_max_frames` default).
pub const MAX_FRAMES: u32 = 64;

/// Why an operation on one grant failed: a negative `GNTST_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub i16);

impl Status {
    /// What is written into the structure.
    fn of(result: Result<(), Self>) -> i16 {
        result.map_or_else(|Self(status)| status, |()| GNTST_OKAY)
    }
}

/// The page could not be mapped there: memory is out, or the place is taken by another domain's page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CannotMap;

/// What grant operations need from the rest of the hypervisor. No method is called with a table locked, and none is
/// called by `with_table`'s closure.
pub trait Environment {
    /// The calling domain.
    fn caller(&self) -> DomId;
    /// May the caller ask about other domains?
    fn privileged(&self) -> bool;
    /// Locks the table of `domain` and calls `f`; none if there is no such domain.
    fn with_table<R>(&self, domain: DomId, f: impl FnOnce(&mut Table) -> R) -> Option<R>;
    /// The memory page at `gfn` of `domain`, held, and whether the domain may write to it.
    fn frame(&self, domain: DomId, gfn: Gfn) -> Option<(FrameRef, bool)>;
    /// Maps `frame` at `gfn` of the caller, for its CPUs and its devices. Takes the place of a page of the caller's
    /// own, but not of another domain's.
    ///
    /// # Errors
    /// [`CannotMap`]; nothing has changed then.
    fn map(&self, gfn: Gfn, frame: FrameRef, write: bool) -> Result<(), CannotMap>;
    /// Unmaps `gfn` of the caller if it maps the other domain's frame `mfn`, and hands over the hold that the address
    /// space had. Processors and devices may use the mapping until [`Self::flush`].
    fn unmap(&self, gfn: Gfn, mfn: Mfn) -> Option<FrameRef>;
    /// Waits until nothing uses mappings that are gone.
    fn flush(&self);
    /// Does something more urgent wait for this CPU?
    fn preempt(&self) -> bool;
}
