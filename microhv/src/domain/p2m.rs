//! A domain's guest-physical address space, for its CPUs and, if it has devices, for their DMA.
//!
//! Each leaf that maps an assigned frame holds one count of it in the frame table, whoever owns the frame:
//! so a frame lives until the last address space lets go. Device memory is never in the frame table.

use xen_abi::Errno;

use crate::iommu::IoDomain;
use crate::mm::frame_table::{self, FrameRef};
use crate::paging::{self, Access, Mapping, MemoryType, Table};
use crate::types::{DomId, Gfn, Mfn};
use crate::vcpu::backend;

/// What an address-space error is to a guest. (Besides, `ENOENT` is that nothing is mapped there.)
impl From<paging::Error> for Errno {
    fn from(error: paging::Error) -> Self {
        match error {
            paging::Error::NoMemory => Self::ENOMEM,
            paging::Error::BadRange | paging::Error::Occupied => Self::EINVAL,
        }
    }
}

/// Tables that a domain may have made for places of its own choice: 512 MiB of single pages need as many.
const SPARE_TABLES: u64 = 256;
/// It may have one more for so many pages of its memory: twice what that takes as single pages.
const PAGES_A_TABLE: u64 = 256;

/// One domain's address space.
pub struct P2m {
    owner: DomId,
    table: Table,
    /// Tables that are not the domain's doing.
    excused: u64,
    /// The devices' view, if the domain has devices: what is mapped from now on is visible there too.
    pub io: Option<IoDomain>,
    ram_pages: u64,
    /// The most that they were.
    most_pages: u64,
    /// How far destruction has come.
    torn_down: Gfn,
}

impl P2m {
    /// An empty address space, or none if memory is out.
    pub fn new(owner: DomId) -> Option<Self> {
        let mut table = Table::new(backend::chosen().format)?;
        table.limit = SPARE_TABLES;
        Some(Self {
            owner,
            table,
            excused: 0,
            io: None,
            ram_pages: 0,
            most_pages: 0,
            torn_down: Gfn(0),
        })
    }

    /// The table's root frame, for the virtual CPUs.
    pub fn root(&self) -> Mfn {
        self.table.root()
    }

    /// How many pages of its own memory the domain has, with those that it gave back while others held them.
    pub fn ram_pages(&self) -> u64 {
        self.ram_pages
    }

    /// Does `what`; the tables that this makes are microhv's doing, and not counted as the domain's.
    pub fn excuse_tables<T>(&mut self, what: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.table.made;
        self.table.limit = u64::MAX;
        let result = what(self);
        self.excused += self.table.made - before;
        self.limit_tables();
        result
    }

    /// Tables stay until the domain is gone and are on nobody's account, and where things are mapped is the domain's choice.
    fn limit_tables(&mut self) {
        let own = SPARE_TABLES + self.most_pages / PAGES_A_TABLE;
        self.table.limit = self.excused.saturating_add(own);
    }

    /// What is mapped at `gfn`; for a page inside a larger leaf, that page.
    pub fn lookup(&self, gfn: Gfn) -> Option<Mapping> {
        self.table.lookup(gfn)
    }

    /// A vCPU may not run code at `gfn`: whether it may now ([`Table::run_at`]).
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn run_at(&mut self, gfn: Gfn) -> Result<bool, Errno> {
        Ok(self.table.run_at(gfn)?)
    }

    /// The memory frame at `gfn` (never device memory), held, and whether the domain may write to it.
    pub fn frame(&self, gfn: Gfn) -> Option<(FrameRef, bool)> {
        let mapping = self.lookup(gfn)?;
        let frame = frame_table::get(mapping.mfn)?;
        Some((frame, mapping.access.contains(Access::WRITE)))
    }

    /// Is `gfn` free, or a page of the domain's own?
    pub fn is_own_or_free(&self, gfn: Gfn) -> bool {
        match self.lookup(gfn) {
            None => true,
            Some(_) => self
                .frame(gfn)
                .is_some_and(|(frame, _)| frame.owner() == self.owner),
        }
    }

    /// Maps 2^`order` frames that were just assigned to the domain; their counts move into the table.
    ///
    /// # Errors
    /// `EINVAL` if the first or last page is in use, `ENOMEM`; the caller keeps the frames then.
    pub fn add_ram(&mut self, gfn: Gfn, mfn: Mfn, order: u32) -> Result<(), Errno> {
        let last = gfn.0.checked_add((1 << order) - 1).ok_or(Errno::EINVAL)?;
        for page in [gfn, Gfn(last)] {
            if self.table.lookup(page).is_some() {
                return Err(Errno::EINVAL);
            }
        }
        self.most_pages = self.most_pages.max(self.ram_pages + (1 << order));
        self.limit_tables();
        self.map(gfn, mfn, order, Access::ALL, MemoryType::WriteBack)?;
        self.ram_pages += 1 << order;
        Ok(())
    }

    /// Maps one frame, replacing what was there; what was there is handed back (flush before dropping it).
    ///
    /// # Errors
    /// `ENOMEM`, `EINVAL` beyond the address space; the old mapping then stands.
    pub fn add_frame(
        &mut self,
        gfn: Gfn,
        frame: FrameRef,
        access: Access,
    ) -> Result<Option<FrameRef>, Errno> {
        // What something else holds as well is on the account already, or microhv's own (see `adopt`).
        let owned = frame.owner() == self.owner && frame.holders() == 1;
        let old = self.map(gfn, frame.mfn(), 0, access, MemoryType::WriteBack)?;
        if owned {
            self.ram_pages += 1;
        }
        let _ = frame.into_raw(); // The count now belongs to the leaf.
        Ok(old.and_then(|mapping| self.adopt(mapping.mfn)))
    }

    /// Maps device memory for the CPUs (never for DMA).
    ///
    /// # Errors
    /// `ENOMEM`, `EINVAL` beyond the address space or where something else is.
    pub fn add_device(&mut self, gfn: Gfn, mfn: Mfn, access: Access) -> Result<(), Errno> {
        // Two small ranges of registers may share a page.
        if self.lookup(gfn).is_some_and(|there| there.mfn != mfn) {
            return Err(Errno::EINVAL);
        }
        let mapped = |p2m: &mut Self| p2m.table.map(gfn, mfn, 0, access, MemoryType::Uncached);
        self.excuse_tables(mapped)?;
        Ok(())
    }

    /// The page at `gfn`, held, if it is the domain's own and it may write to it: only there does microhv write on its
    /// behalf. A page of another domain is not the domain's any more once it is unmapped, whoever still holds the frame.
    pub fn own_frame(&self, gfn: Gfn) -> Option<FrameRef> {
        match self.frame(gfn) {
            Some((frame, true)) if frame.owner() == self.owner => Some(frame),
            _ => None,
        }
    }

    /// As [`Self::remove`], but only memory of the domain's own that it may write. A granted page must stay where its
    /// mapping is recorded, and with the access that was granted.
    ///
    /// # Errors
    /// `ENOENT` for any other page too.
    pub fn remove_own(&mut self, gfn: Gfn) -> Result<Option<FrameRef>, Errno> {
        self.own_frame(gfn).ok_or(Errno::ENOENT)?;
        self.remove(gfn)
    }

    /// Unmaps one page; the frame, if it was memory, is handed back. Flush the TLBs before dropping it.
    ///
    /// # Errors
    /// `ENOENT`, or `ENOMEM` if a large leaf cannot be split.
    pub fn remove(&mut self, gfn: Gfn) -> Result<Option<FrameRef>, Errno> {
        let mapping = self.table.unmap(gfn, 0)?.ok_or(Errno::ENOENT)?;
        if let Some(io) = &mut self.io {
            io.unmap(gfn, 0);
        }
        Ok(self.adopt(mapping.mfn))
    }

    /// Takes the count that a leaf held; none for device memory.
    fn adopt(&mut self, mfn: Mfn) -> Option<FrameRef> {
        // Not one hold more to look at it: there may be as many as can be counted, and the leaf's must not be forgotten.
        let frame = FrameRef::if_held(mfn)?;
        // What others hold (a mapped grant) is not free yet and stays on the domain's account, as in Xen's `tot_pages`:
        // otherwise a domain could have another hold more and more of its pages, and never come to its limit.
        if frame.owner() == self.owner && frame.holders() == 1 {
            self.ram_pages = self.ram_pages.saturating_sub(1);
        }
        Some(frame)
    }

    /// Takes leaves off for destruction, `budget` pages at most; true when nothing is left.
    ///
    /// The domain no longer runs and its devices are detached, so nothing has to be flushed.
    pub fn tear_down(&mut self, budget: u64) -> bool {
        // Empty tables take time too.
        let (mut done, mut looks) = (0, budget * 4);
        while done < budget {
            let Some((_, mapping)) = self.table.take_next(&mut self.torn_down, &mut looks) else {
                return looks > 0;
            };
            for page in 0..1u64 << mapping.order {
                drop(self.adopt(Mfn(mapping.mfn.0 + page)));
            }
            done += 1 << mapping.order;
        }
        false
    }

    /// Maps for CPUs and devices, or for neither; what one leaf of that size mapped there before comes back.
    fn map(
        &mut self,
        gfn: Gfn,
        mfn: Mfn,
        order: u32,
        access: Access,
        kind: MemoryType,
    ) -> Result<Option<Mapping>, Errno> {
        // Devices first: when the rest fails, what they could reach meanwhile is taken back before this returns, so
        // that the caller may free the frames. What CPUs remember could not be forgotten here.
        if let Some(io) = &mut self.io
            && let Err(errno) = io.map(gfn, mfn, order, access)
        {
            if order > 0 {
                self.restore_io(gfn, order);
            }
            return Err(errno);
        }
        self.table
            .map(gfn, mfn, order, access, kind)
            .map_err(|error| {
                self.restore_io(gfn, order);
                error.into()
            })
    }

    /// Has devices see at `gfn` what CPUs see there; in force when it returns.
    fn restore_io(&mut self, gfn: Gfn, order: u32) {
        let before = (order == 0).then(|| self.table.lookup(gfn)).flatten();
        let Some(io) = &mut self.io else { return };
        io.unmap(gfn, order);
        if let Some(mapping) = before.filter(|mapping| frame_table::is_assigned(mapping.mfn)) {
            // Its tables are there, so this needs no memory.
            let _ = io.map(gfn, mapping.mfn, 0, mapping.access);
        }
        io.flush();
    }
}
