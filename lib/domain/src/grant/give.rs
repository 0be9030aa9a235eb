//! Our pages for others: the grant table.
#![expect(
    unsafe_code,
    reason = "changes what is mapped at addresses of this domain"
)]

use super::checked;
use crate::hypercall;
use crate::memory::{PageRange, WindowRange};
use crate::shared::SharedMemory;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use spin::Mutex;
use xen_abi::grant_table::*;
use xen_abi::memory::{AddToPhysmap, XENMAPSPACE_GRANT_TABLE, XENMEM_ADD_TO_PHYSMAP};
use xen_abi::{DOMID_SELF, DomId, Errno};

/// This domain's grant table: frames mapped so far, and free references.
struct Table {
    frames: Vec<SharedMemory>,
    free: Vec<GrantRef>,
    max_frames: u32,
    /// Ended by us while still in use by the other side.
    dying: Vec<GrantRef>,
}

static TABLE: Mutex<Table> = Mutex::new(Table {
    frames: Vec::new(),
    free: Vec::new(),
    max_frames: 0,
    dying: Vec::new(),
});

impl Table {
    fn entry_flags(&self, gref: GrantRef) -> Option<&core::sync::atomic::AtomicU16> {
        let offset = gref as usize % GRANT_ENTRIES_PER_FRAME * size_of::<GrantEntryV1>();
        self.frames
            .get(gref as usize / GRANT_ENTRIES_PER_FRAME)?
            .atomic_u16(offset)
            .ok()
    }

    /// Maps one more frame of the table.
    fn grow(&mut self) -> Result<(), Errno> {
        if self.max_frames == 0 {
            let mut size = [GnttabQuerySize {
                dom: DOMID_SELF,
                ..Default::default()
            }];
            // SAFETY: the structure carries no address.
            unsafe { hypercall::grant_table_op(GNTTABOP_QUERY_SIZE, &mut size) }?;
            checked(size[0].status)?;
            self.max_frames = size[0].max_nr_frames;
        }
        let index = self.frames.len();
        if index as u32 >= self.max_frames {
            return Err(Errno::ENOSPC);
        }
        let frame = map_own(XENMAPSPACE_GRANT_TABLE, index as u64)?;
        self.frames.push(frame);
        let first = (index * GRANT_ENTRIES_PER_FRAME) as GrantRef;
        // Highest first, so that low references are used first.
        self.free.extend(
            (first..first + GRANT_ENTRIES_PER_FRAME as GrantRef)
                .rev()
                .filter(|&gref| gref >= GNTTAB_NR_RESERVED_ENTRIES),
        );
        Ok(())
    }

    fn reap(&mut self) {
        let mut index = 0;
        while let Some(&gref) = self.dying.get(index) {
            if self.try_end(gref) {
                self.dying.swap_remove(index);
                self.free.push(gref);
            } else {
                index += 1;
            }
        }
    }

    /// Revokes unless the other side has the page mapped.
    fn try_end(&self, gref: GrantRef) -> bool {
        let Some(flags) = self.entry_flags(gref) else {
            return true;
        };
        let busy = GrantFlags::READING.bits() | GrantFlags::WRITING.bits();
        let mut seen = flags.load(Ordering::SeqCst);
        while seen & busy == 0 {
            match flags.compare_exchange(seen, GTF_INVALID, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }
}

/// Maps a page of the hypervisor's (shared info, grant table) into our window, for ever.
pub(crate) fn map_own(space: u32, index: u64) -> Result<SharedMemory, Errno> {
    let window = WindowRange::new(1).ok_or(Errno::ENOMEM)?;
    let mut op = AddToPhysmap {
        domid: DOMID_SELF,
        space,
        idx: index,
        gpfn: window.gfn(),
        ..Default::default()
    };
    // SAFETY: the frame is in our window, where nothing is mapped.
    unsafe { hypercall::memory_op(XENMEM_ADD_TO_PHYSMAP, &mut op) }?;
    // SAFETY: mapped just now, and never unmapped since the window range is forgotten.
    let view = unsafe { window.view() };
    core::mem::forget(window);
    Ok(view)
}

/// Access to one of our pages that another domain has. Dropping revokes it; if the other side still has it mapped, the
/// reference is kept aside and revoked later. The page itself must outlive the grant: end it, and free the page only
/// when [`Grant::end`] succeeds, else leak the page.
#[derive(Debug, PartialEq, Eq)]
pub struct Grant(GrantRef);

impl Grant {
    /// Gives `dom` access to our frame `gfn`. `ENOSPC`: the grant table is full.
    pub fn access(dom: DomId, gfn: u64, readonly: bool) -> Result<Grant, Errno> {
        let frame = u32::try_from(gfn).map_err(|_| Errno::EINVAL)?;
        let mut table = TABLE.lock();
        if table.free.is_empty() {
            table.reap();
        }
        if table.free.is_empty() {
            table.grow()?;
        }
        let gref = table.free.pop().ok_or(Errno::ENOSPC)?;
        let offset = gref as usize % GRANT_ENTRIES_PER_FRAME * size_of::<GrantEntryV1>();
        if let Some(memory) = table.frames.get(gref as usize / GRANT_ENTRIES_PER_FRAME) {
            memory.write(
                offset,
                &GrantEntryV1 {
                    flags: GrantFlags::empty(),
                    domid: dom,
                    frame,
                },
            )?;
        }
        let flags = if readonly {
            GrantFlags::PERMIT_ACCESS | GrantFlags::READONLY
        } else {
            GrantFlags::PERMIT_ACCESS
        };
        // Release: frame and domain are in place before the entry becomes valid.
        table
            .entry_flags(gref)
            .ok_or(Errno::EINVAL)?
            .store(flags.bits(), Ordering::Release);
        Ok(Grant(gref))
    }

    /// The number to tell the other side.
    pub fn reference(&self) -> GrantRef {
        self.0
    }

    /// Revokes. Gives the grant back if the other side still has the page mapped.
    pub fn end(self) -> Result<(), Grant> {
        let mut table = TABLE.lock();
        if table.try_end(self.0) {
            table.free.push(self.0);
            core::mem::forget(self);
            Ok(())
        } else {
            drop(table);
            Err(self)
        }
    }

    /// Gives the number and forgets to revoke.
    pub fn into_reference(self) -> GrantRef {
        let gref = self.0;
        core::mem::forget(self);
        gref
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let mut table = TABLE.lock();
        if table.try_end(self.0) {
            table.free.push(self.0);
        } else {
            table.dying.push(self.0);
        }
    }
}

/// Pages of ours that another domain may use, each with its reference: a ring, a buffer. Dropping revokes; if the other side
/// still has a page mapped, the memory is never used for anything else again (and a warning says so).
#[derive(Debug)]
pub struct GrantedPages {
    grants: Vec<Grant>,
    /// `None` only while being dropped.
    range: Option<PageRange>,
}

impl GrantedPages {
    /// Allocates `pages` zeroed pages and grants each to `dom`. `ENOMEM`, or `ENOSPC` if the grant table is full.
    pub fn new(dom: DomId, pages: usize, readonly: bool) -> Result<Self, Errno> {
        let range = PageRange::new(pages).ok_or(Errno::ENOMEM)?;
        Self::share(dom, range, readonly).map_err(|(_, errno)| errno)
    }

    /// Grants pages that exist; gives them back if that fails.
    pub fn share(dom: DomId, range: PageRange, readonly: bool) -> Result<Self, (PageRange, Errno)> {
        let grants: Result<Vec<_>, _> = (0..range.pages())
            .map(|page| Grant::access(dom, range.gfn(page), readonly))
            .collect();
        match grants {
            Ok(grants) => Ok(GrantedPages {
                grants,
                range: Some(range),
            }),
            // Nobody was told of those that succeeded: they are revoked by now.
            Err(errno) => Err((range, errno)),
        }
    }

    /// The reference of each page, in order.
    pub fn references(&self) -> impl ExactSizeIterator<Item = GrantRef> + '_ {
        self.grants.iter().map(Grant::reference)
    }

    /// Guest physical (and DMA) address of the first page.
    pub fn gpa(&self) -> u64 {
        self.range.as_ref().map_or(0, PageRange::gpa)
    }

    /// Revokes and gives the pages back; the grants come back if the other side still uses one of them.
    pub fn end(mut self) -> Result<PageRange, Self> {
        // Those that can be revoked are; the others stay.
        let grants = core::mem::take(&mut self.grants);
        self.grants = grants
            .into_iter()
            .filter_map(|grant| grant.end().err())
            .collect();
        if !self.grants.is_empty() {
            return Err(self);
        }
        self.range.take().ok_or(self)
    }
}

impl AsRef<SharedMemory> for GrantedPages {
    fn as_ref(&self) -> &SharedMemory {
        match &self.range {
            Some(range) => range.memory(),
            // Not reached: only `end` and `drop` take the range, and they take `self` too.
            None => &EMPTY,
        }
    }
}

// SAFETY: no byte is accessed through a view of length zero.
static EMPTY: SharedMemory =
    unsafe { SharedMemory::new(core::ptr::NonNull::<u64>::dangling().cast(), 0) };

impl Drop for GrantedPages {
    fn drop(&mut self) {
        let busy = core::mem::take(&mut self.grants)
            .into_iter()
            .filter_map(|grant| grant.end().err())
            .count();
        if busy > 0 {
            // The pages must not be reused while the other side can write to them.
            if let Some(range) = self.range.take() {
                log::warn!(
                    "{busy} of {} granted pages at {:#x} are still in use: leaked",
                    range.pages(),
                    range.gpa()
                );
                core::mem::forget(range);
            }
        }
    }
}
