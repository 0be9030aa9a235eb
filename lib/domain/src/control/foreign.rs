//! Other domains' memory in our address space (`XENMAPSPACE_gmfn_foreign`).
#![expect(
    unsafe_code,
    reason = "changes what is mapped at addresses of this domain"
)]

use crate::hypercall;
use crate::memory::WindowRange;
use crate::shared::SharedMemory;
use alloc::vec;
use alloc::vec::Vec;
use xen_abi::memory::*;
use xen_abi::xen::PAGE_SIZE;
use xen_abi::{DOMID_SELF, DomId, Errno};

/// Addresses at which pages of other domains can be looked at, some at a time; made once and used again and again, because
/// mapping over an old page costs less than unmapping it. Dropping unmaps.
#[derive(Debug)]
pub struct ForeignWindow {
    window: WindowRange,
    memory: SharedMemory,
    /// Pages at the front that have something mapped.
    mapped: usize,
}

impl ForeignWindow {
    /// A window of `pages` pages. `ENOMEM`: no addresses are left.
    pub fn new(pages: usize) -> Result<Self, Errno> {
        let window = WindowRange::new(pages).ok_or(Errno::ENOMEM)?;
        // SAFETY: nothing is mapped yet, so the view is not lent before `map` has mapped all that `map` lends.
        let memory = unsafe { window.view() };
        Ok(ForeignWindow {
            window,
            memory,
            mapped: 0,
        })
    }

    /// Pages that can be mapped at once.
    pub fn pages(&self) -> usize {
        self.window.pages()
    }

    /// Maps `domain`'s pages `gfns` at the front of the window, in order, instead of what was there, and returns a view of exactly
    /// these. The view ends before the next use of the window. `EINVAL`: more pages than the window has; if one page cannot be
    /// mapped, its error.
    pub fn map(&mut self, domain: DomId, gfns: &[u64]) -> Result<ForeignView<'_>, Errno> {
        if gfns.len() > self.pages() {
            return Err(Errno::EINVAL);
        }
        const BATCH: usize = 512;
        for (index, chunk) in gfns.chunks(BATCH).enumerate() {
            let first = self.window.gfn() + (index * BATCH) as u64;
            let mut idxs = chunk.to_vec();
            let mut gpfns: Vec<u64> = (0..chunk.len() as u64).map(|page| first + page).collect();
            let mut errs = vec![0_i32; chunk.len()];
            let mut op = AddToPhysmapBatch {
                domid: DOMID_SELF,
                space: XENMAPSPACE_GMFN_FOREIGN as u16,
                size: chunk.len() as u16,
                foreign_domid: domain,
                idxs: idxs.as_mut_ptr() as u64,
                gpfns: gpfns.as_mut_ptr() as u64,
                errs: errs.as_mut_ptr() as u64,
            };
            // Until it is known what is mapped, everything up to here has to be unmapped on drop.
            self.mapped = self.mapped.max(index * BATCH + chunk.len());
            // SAFETY: the three lists are borrowed mutably and as long as said; the frames are in our window, whose views are gone
            // since `self` is borrowed mutably.
            unsafe { hypercall::memory_op(XENMEM_ADD_TO_PHYSMAP_BATCH, &mut op) }?;
            if let Some(&error) = errs.iter().find(|&&error| error != 0) {
                return Err(Errno::from_ret(i64::from(error))
                    .err()
                    .unwrap_or(Errno::EINVAL));
            }
        }
        // SAFETY: mapped just now; the view's lifetime keeps the window from being changed.
        let memory = unsafe {
            SharedMemory::new(
                core::ptr::NonNull::new(self.memory.address() as *mut u8).ok_or(Errno::EINVAL)?,
                gfns.len() * PAGE_SIZE,
            )
        };
        Ok(ForeignView {
            memory,
            window: core::marker::PhantomData,
        })
    }

    /// Unmaps everything, so that a destroyed domain's pages are not kept alive.
    pub fn clear(&mut self) {
        for page in 0..self.mapped as u64 {
            let mut op = RemoveFromPhysmap {
                domid: DOMID_SELF,
                gpfn: self.window.gfn() + page,
                ..Default::default()
            };
            // SAFETY: a frame of our window without a view. A page that was never mapped is an error without effect.
            let _ = unsafe { hypercall::memory_op(XENMEM_REMOVE_FROM_PHYSMAP, &mut op) };
        }
        self.mapped = 0;
    }
}

impl Drop for ForeignWindow {
    fn drop(&mut self) {
        self.clear();
    }
}

/// What [`ForeignWindow::map`] lends.
#[derive(Debug)]
pub struct ForeignView<'a> {
    memory: SharedMemory,
    window: core::marker::PhantomData<&'a mut ForeignWindow>,
}

impl AsRef<SharedMemory> for ForeignView<'_> {
    fn as_ref(&self) -> &SharedMemory {
        &self.memory
    }
}

impl core::ops::Deref for ForeignView<'_> {
    type Target = SharedMemory;
    fn deref(&self) -> &SharedMemory {
        &self.memory
    }
}
