//! The mappings that a domain holds of other domains' pages, each known to it by a handle.

use super::Status;
use super::table::Use;
use crate::mm::{PageBox, Paged};
use crate::types::{Gfn, Mfn};
use xen_abi::grant_table::GNTST_NO_SPACE;

/// One mapping of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Whose page it is, and how it is used.
    pub grant: Use,
    /// Where it is mapped.
    pub gfn: Gfn,
    /// The page.
    pub mfn: Mfn,
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

/// All mappings of a domain; handles are slot numbers.
pub struct Maptrack {
    slots: PageBox<Paged<Slot, PER_PAGE, PAGES>>,
    /// How many slots there are.
    count: u32,
    free: Option<u32>,
}

impl Maptrack {
    /// No mappings.
    pub fn new() -> Option<Self> {
        Some(Self {
            slots: PageBox::new(Paged::default())?,
            count: 0,
            free: None,
        })
    }

    /// A fresh handle.
    pub fn reserve(&mut self) -> Result<u32, Status> {
        let handle = match self.free {
            Some(handle) => handle,
            None => self.grow().ok_or(Status(GNTST_NO_SPACE))?,
        };
        let slot = self.slots.get_mut(handle).ok_or(Status(GNTST_NO_SPACE))?;
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
        let first = self.count;
        let end = first + PER_PAGE as u32;
        self.slots.reach(first, |handle| {
            Slot::Free(Some(handle + 1).filter(|next| *next < end))
        })?;
        self.count = end;
        Some(first)
    }

    /// Records the mapping of a handle from [`Self::reserve`].
    pub fn set(&mut self, handle: u32, mapping: Mapping) {
        if let Some(slot) = self.slots.get_mut(handle) {
            *slot = Slot::Used(mapping);
        }
    }

    /// The mapping of a handle.
    pub fn get(&mut self, handle: u32) -> Option<Mapping> {
        match self.slots.get_mut(handle)? {
            Slot::Used(mapping) => Some(*mapping),
            _ => None,
        }
    }

    /// Takes the mapping of a handle away, which stays reserved: of two vCPUs that unmap it, one gets it.
    pub fn take(&mut self, handle: u32) -> Option<Mapping> {
        let mapping = self.get(handle)?;
        *self.slots.get_mut(handle)? = Slot::Reserved;
        Some(mapping)
    }

    /// Frees a handle from [`Self::reserve`] or [`Self::take`].
    pub fn release(&mut self, handle: u32) {
        let free = self.free;
        if let Some(slot) = self.slots.get_mut(handle)
            && !matches!(slot, Slot::Free(_))
        {
            *slot = Slot::Free(free);
            self.free = Some(handle);
        }
    }

    /// How many mappings there are.
    pub fn in_use(&self) -> u32 {
        let used = |slot: &&Slot| matches!(slot, Slot::Used(_));
        self.slots.iter().filter(used).count() as u32
    }

    /// The first mapping with a handle of at least `from`.
    pub fn next(&mut self, from: u32) -> Option<(u32, Mapping)> {
        (from..self.count).find_map(|handle| Some((handle, self.get(handle)?)))
    }
}
