//! Our own record of the entries that are in use.

use xen_abi::Errno;
use xen_abi::grant_table::GRANT_ENTRIES_PER_FRAME;

use super::MAX_FRAMES;
use crate::mm::{FrameRef, PageBox};
use crate::types::{DomId, PAGE_SIZE};

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
type Page = [Option<Active>; PER_PAGE];
const _: () = assert!(size_of::<Page>() <= PAGE_SIZE);

/// All entries' records; pages come when the first entry on them is used.
pub struct ActiveEntries {
    pages: PageBox<[Option<PageBox<Page>>; PAGES]>,
}

impl ActiveEntries {
    /// Nothing in use.
    pub fn new() -> Option<Self> {
        Some(Self {
            pages: PageBox::new([const { None }; PAGES])?,
        })
    }

    /// The record of an entry, if it is in use.
    pub fn get(&self, reference: u32) -> Option<&Active> {
        let page = self.pages.get(reference as usize / PER_PAGE)?.as_ref()?;
        page.get(reference as usize % PER_PAGE)?.as_ref()
    }

    /// How many entries are in use.
    pub fn in_use(&self) -> u32 {
        let entries = self.pages.iter().flatten().flat_map(|page| page.iter());
        entries.map(|entry| u32::from(entry.is_some())).sum()
    }

    /// The place for the record of an entry.
    pub fn slot(&mut self, reference: u32) -> Result<&mut Option<Active>, Errno> {
        let page = self
            .pages
            .get_mut(reference as usize / PER_PAGE)
            .ok_or(Errno::EINVAL)?;
        if page.is_none() {
            *page = Some(PageBox::new([const { None }; PER_PAGE]).ok_or(Errno::ENOMEM)?);
        }
        let page = page.as_mut().ok_or(Errno::ENOMEM)?;
        page.get_mut(reference as usize % PER_PAGE)
            .ok_or(Errno::EINVAL)
    }
}
