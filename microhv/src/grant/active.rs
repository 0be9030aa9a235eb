//! Our own record of the entries that are in use.

use xen_abi::grant_table::GRANT_ENTRIES_PER_FRAME;

use super::MAX_FRAMES;
use crate::mm::{FrameRef, Paged};
use crate::types::DomId;

/// An entry in use.
pub struct Active {
    /// The page; it stays the same however the shared entry changes.
    pub frame: FrameRef,
    /// Who uses it.
    pub grantee: DomId,
    /// May the owner write to the page? Only then may the grantee.
    pub writable: bool,
    /// Uses for reading only, and for writing.
    pub readers: u16,
    pub writers: u16,
}

const PER_PAGE: usize = 128;
const PAGES: usize = MAX_FRAMES as usize * GRANT_ENTRIES_PER_FRAME / PER_PAGE;

/// All entries' records; pages come when the first entry on them is used.
pub type ActiveEntries = Paged<Option<Active>, PER_PAGE, PAGES>;
