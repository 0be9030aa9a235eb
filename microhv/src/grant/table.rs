//! A domain's grants: which are in use, and by whom.

use xen_abi::Errno;
use xen_abi::grant_table::{
    GNTST_BAD_DOMAIN, GNTST_BAD_GNTREF, GNTST_BAD_PAGE, GNTST_EAGAIN, GNTST_GENERAL_ERROR,
    GNTST_NO_SPACE,
};

use super::active::{Active, ActiveEntries};
use super::maptrack::Maptrack;
use super::shared::Shared;
use super::{Environment, Status};
use crate::mm::{FrameRef, PageBox, frame_table};
use crate::types::{DomId, Gfn, Mfn};

/// A grant that somebody wants to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// Whose page it is, and by which of its references.
    pub granter: DomId,
    /// See `granter`.
    pub reference: u32,
    /// Who uses it.
    pub grantee: DomId,
    /// For writing?
    pub write: bool,
    /// To map it, or else to copy.
    pub map: bool,
}

/// How far [`Table::pin`] came.
pub enum Pinned {
    /// The entry is pinned; a hold on the page.
    Done(FrameRef),
    /// It grants this page, which is to be looked up first.
    LookUp(Gfn),
}

/// A page that was looked up for a pin.
pub struct LookedUp {
    /// Where it is in the granter's memory.
    pub gfn: Gfn,
    /// The page.
    pub frame: FrameRef,
    /// May the granter write to it?
    pub writable: bool,
}

/// A domain's grant table and the mappings that it holds.
pub struct Table {
    owner: DomId,
    shared: Shared,
    active: PageBox<ActiveEntries>,
    /// The domain's mappings of other domains' pages.
    pub(super) maptrack: Maptrack,
    dying: bool,
}

impl Table {
    /// A table with one frame of entries; none if memory is out.
    pub fn new(owner: DomId) -> Option<Self> {
        Some(Self {
            owner,
            shared: Shared::new(owner)?,
            active: PageBox::new(ActiveEntries::default())?,
            maptrack: Maptrack::new()?,
            dying: false,
        })
    }

    /// The record of an entry, if it is in use.
    fn active(&self, reference: u32) -> Option<&Active> {
        self.active.get(reference)?.as_ref()
    }

    /// How many frames of entries there are.
    pub fn frame_count(&self) -> u32 {
        self.shared.count()
    }

    /// How many entries others use now.
    pub fn entries_in_use(&self) -> u32 {
        self.active.iter().flatten().count() as u32
    }

    /// How many pages of others the domain has mapped.
    pub fn mappings_in_use(&self) -> u32 {
        self.maptrack.in_use()
    }

    /// The frame number `index` of entries, for `XENMAPSPACE_grant_table`; comes into being if it may.
    ///
    /// # Errors
    /// `EINVAL` beyond [`super::MAX_FRAMES`], `ENOMEM`.
    pub fn frame(&mut self, index: u32) -> Result<FrameRef, Errno> {
        self.shared.frame(index)
    }

    /// Makes sure that there are at least `count` frames.
    ///
    /// # Errors
    /// As [`Self::frame`].
    pub fn grow(&mut self, count: u32) -> Result<(), Errno> {
        self.shared.grow(count)
    }

    /// Writes entry `reference` before the domain runs: `grantee` may map `gfn`. For the reserved entries of the console
    /// and store rings.
    ///
    /// # Errors
    /// `EINVAL` for no such entry or a page beyond what an entry can say.
    pub fn seed(&mut self, reference: u32, grantee: DomId, gfn: Gfn) -> Result<(), Errno> {
        self.shared.grant(reference, grantee, gfn)
    }

    /// Lets nobody use another grant: the domain dies. What is in use stays until it is unmapped.
    pub fn begin_death(&mut self) {
        self.dying = true;
    }

    /// Pins the entry, once with no `page` and then with the one that this asked for.
    ///
    /// # Errors
    /// `GNTST_bad_domain` for a dying domain, `GNTST_bad_gntref`, `GNTST_general_error` if the entry does not permit it,
    /// `GNTST_eagain` if it has changed since the look-up, others as Xen's.
    pub fn pin(&mut self, wanted: &Use, page: Option<LookedUp>) -> Result<Pinned, Status> {
        if self.dying {
            return Err(Status(GNTST_BAD_DOMAIN));
        }
        if wanted.reference >= self.shared.entries() {
            return Err(Status(GNTST_BAD_GNTREF));
        }
        if page.is_none() && self.active(wanted.reference).is_none() {
            let page = self.shared.granted(wanted);
            return page.map(Pinned::LookUp).ok_or(Status(GNTST_GENERAL_ERROR));
        }
        let slot = self.active.reach(wanted.reference, |_| None);
        let slot = slot.ok_or(Status(GNTST_NO_SPACE))?;
        let in_use = |pinned| self.shared.set_in_use(wanted, pinned);
        if let Some(active) = slot {
            if active.grantee != wanted.grantee {
                return Err(Status(GNTST_GENERAL_ERROR));
            }
            if wanted.write && !active.writable {
                return Err(Status(GNTST_BAD_PAGE));
            }
            let count = if wanted.write {
                &mut active.writers
            } else {
                &mut active.readers
            };
            let more = count.checked_add(1).ok_or(Status(GNTST_GENERAL_ERROR))?;
            let frame = frame_table::get(active.frame.mfn()).ok_or(Status(GNTST_GENERAL_ERROR))?;
            if wanted.write && *count == 0 {
                in_use(true)?;
            }
            *count = more;
            return Ok(Pinned::Done(frame));
        }
        let page = page.ok_or(Status(GNTST_EAGAIN))?;
        // A page that is mapped in from elsewhere is not the domain's to grant.
        if page.frame.owner() != self.owner || wanted.write && !page.writable {
            return Err(Status(GNTST_BAD_PAGE));
        }
        let frame = frame_table::get(page.frame.mfn()).ok_or(Status(GNTST_GENERAL_ERROR))?;
        if in_use(false)? != page.gfn {
            self.shared.clear_in_use(wanted.reference, false, false);
            return Err(Status(GNTST_EAGAIN));
        }
        let (readers, writers) = if wanted.write { (0, 1) } else { (1, 0) };
        let (grantee, writable) = (wanted.grantee, page.writable);
        *slot = Some(Active {
            frame: page.frame,
            grantee,
            writable,
            readers,
            writers,
        });
        Ok(Pinned::Done(frame))
    }

    /// Undoes one [`Self::pin`] of the page `mfn`. Does nothing if the entry is not in use for that page: then this is not
    /// the domain that it was pinned in.
    pub fn unpin(&mut self, reference: u32, mfn: Mfn, write: bool) {
        let Some(slot) = self.active.get_mut(reference) else {
            return;
        };
        let Some(active) = slot.as_mut().filter(|active| active.frame.mfn() == mfn) else {
            return;
        };
        let count = if write {
            &mut active.writers
        } else {
            &mut active.readers
        };
        *count = count.saturating_sub(1);
        let (written, read) = (active.writers > 0, active.readers > 0);
        if !written && !read {
            *slot = None;
        }
        self.shared.clear_in_use(reference, written, read);
    }

    /// Exchanges two entries.
    ///
    /// # Errors
    /// `GNTST_bad_gntref`, `GNTST_eagain` if one is in use.
    pub fn swap(&mut self, a: u32, b: u32) -> Result<(), Status> {
        if a.max(b) >= self.shared.entries() {
            return Err(Status(GNTST_BAD_GNTREF));
        }
        if self.active(a).or(self.active(b)).is_some() {
            return Err(Status(GNTST_EAGAIN));
        }
        if a != b {
            self.shared.swap(a, b).ok_or(Status(GNTST_BAD_GNTREF))?;
        }
        Ok(())
    }
}

/// Steps after which it is given up, because the owner changes the entry all the time: twice as many as attempts.
const STEPS: usize = 8;

/// Pins a grant, all steps; gives a hold on the page.
///
/// # Errors
/// Xen's status.
pub fn acquire(env: &impl Environment, wanted: &Use) -> Result<FrameRef, Status> {
    let mut page = None;
    for _ in 0..STEPS {
        let pinned = env.with_table(wanted.granter, |table| table.pin(wanted, page.take()));
        match pinned.unwrap_or(Err(Status(GNTST_BAD_DOMAIN))) {
            Ok(Pinned::Done(frame)) => return Ok(frame),
            Ok(Pinned::LookUp(gfn)) => {
                let found = env.frame(wanted.granter, gfn);
                let (frame, writable) = found.ok_or(Status(GNTST_BAD_PAGE))?;
                page = Some(LookedUp {
                    gfn,
                    frame,
                    writable,
                });
            }
            Err(Status(GNTST_EAGAIN)) => {}
            Err(status) => return Err(status),
        }
    }
    Err(Status(GNTST_GENERAL_ERROR))
}

/// Undoes [`acquire`].
pub fn release(env: &impl Environment, used: &Use, mfn: Mfn) {
    // A granter that is gone has no record to correct.
    let _ = env.with_table(used.granter, |table| {
        table.unpin(used.reference, mfn, used.write)
    });
}
