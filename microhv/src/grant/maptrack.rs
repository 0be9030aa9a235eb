//! The mappings that a domain holds of other domains' pages, each known to it by a handle.

use super::Status;
use crate::mm::PageBox;
use crate::types::{DomId, Gfn, Mfn, PAGE_SIZE};
use xen_abi::grant_table::GNTST_NO_SPACE;

/// One mapping of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Whose page it is, and by which of its references.
    pub granter: DomId,
    /// See `granter`.
    pub reference: u32,
    /// Where it is mapped.
    pub gfn: Gfn,
    /// The page.
    pub mfn: Mfn,
    /// Mapped for writing?
    pub write: bool,
}

#[derive(Clone, Copy)]
enum Slot {
    /// Not in use; the next such slot, if any.
    Free(Option<u32>),
    /// Given out, but the mapping is not made yet.
    Reserved,
    Used(Mapping),
}

const PER_PAGE: usize = 96;
/// 24,576 mappings at most: more than a backend for the design's largest number of guests needs.
const PAGES: usize = 256;
type Page = [Slot; PER_PAGE];
const _: () = assert!(size_of::<Page>() <= PAGE_SIZE);

/// All mappings of a domain; handles are slot numbers.
pub struct Maptrack {
    pages: PageBox<[Option<PageBox<Page>>; PAGES]>,
    count: usize,
    free: Option<u32>,
}

impl Maptrack {
    /// No mappings.
    pub fn new() -> Option<Self> {
        Some(Self {
            pages: PageBox::new([const { None }; PAGES])?,
            count: 0,
            free: None,
        })
    }

    fn slot(&mut self, handle: u32) -> Option<&mut Slot> {
        let page = self.pages.get_mut(handle as usize / PER_PAGE)?.as_mut()?;
        page.get_mut(handle as usize % PER_PAGE)
    }

    /// A fresh handle.
    pub fn reserve(&mut self) -> Result<u32, Status> {
        let handle = match self.free {
            Some(handle) => handle,
            None => self.grow().ok_or(Status(GNTST_NO_SPACE))?,
        };
        let slot = self.slot(handle).ok_or(Status(GNTST_NO_SPACE))?;
        let next = match slot {
            Slot::Free(next) => *next,
            _ => None,
        };
        *slot = Slot::Reserved;
        self.free = next;
        Ok(handle)
    }

    /// Adds a page of free slots; the first of them.
    fn grow(&mut self) -> Option<u32> {
        let first = self.count * PER_PAGE;
        let page = self.pages.get_mut(self.count)?;
        let slots = core::array::from_fn(|index| {
            Slot::Free((index + 1 < PER_PAGE).then_some((first + index + 1) as u32))
        });
        *page = Some(PageBox::new(slots)?);
        self.count += 1;
        Some(first as u32)
    }

    /// Records the mapping of a handle from [`Self::reserve`].
    pub fn set(&mut self, handle: u32, mapping: Mapping) {
        if let Some(slot) = self.slot(handle) {
            *slot = Slot::Used(mapping);
        }
    }

    /// The mapping of a handle.
    pub fn get(&mut self, handle: u32) -> Option<Mapping> {
        match self.slot(handle)? {
            Slot::Used(mapping) => Some(*mapping),
            _ => None,
        }
    }

    /// Takes the mapping of a handle away, which stays reserved: of two vCPUs that unmap it, one gets it.
    pub fn take(&mut self, handle: u32) -> Option<Mapping> {
        let mapping = self.get(handle)?;
        *self.slot(handle)? = Slot::Reserved;
        Some(mapping)
    }

    /// Frees a handle from [`Self::reserve`] or [`Self::take`].
    pub fn release(&mut self, handle: u32) {
        let free = self.free;
        if let Some(slot) = self.slot(handle)
            && !matches!(slot, Slot::Free(_))
        {
            *slot = Slot::Free(free);
            self.free = Some(handle);
        }
    }

    /// How many mappings there are.
    pub fn in_use(&self) -> u32 {
        let slots = self.pages.iter().flatten().flat_map(|page| page.iter());
        slots
            .map(|slot| u32::from(matches!(slot, Slot::Used(_))))
            .sum()
    }

    /// The first mapping with a handle of at least `from`.
    pub fn next(&mut self, from: u32) -> Option<(u32, Mapping)> {
        (from..(self.count * PER_PAGE) as u32).find_map(|handle| Some((handle, self.get(handle)?)))
    }
}
