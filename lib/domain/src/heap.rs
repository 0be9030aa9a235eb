//! The global heap: talc over the domain's RAM, grown by whole runs of pages when it is full.
#![expect(unsafe_code, reason = "gives memory to the allocator")]

use crate::memory::PageRange;
use core::alloc::Layout;
use talc::{OomHandler, Span, Talc, Talck};
use xen_abi::xen::PAGE_SIZE;

/// Growth step: few steps at boot, little waste in a domain of 16 MiB.
const STEP_PAGES: usize = 32;

struct Grow;

impl OomHandler for Grow {
    fn handle_oom(talc: &mut Talc<Self>, layout: Layout) -> Result<(), ()> {
        // Room for the allocator's own bookkeeping and for the alignment.
        let wanted = layout
            .size()
            .checked_add(layout.align())
            .ok_or(())?
            .checked_add(PAGE_SIZE)
            .ok_or(())?;
        let pages = wanted.div_ceil(PAGE_SIZE).max(STEP_PAGES);
        let range = PageRange::uninit(pages, 1)
            .or_else(|| PageRange::uninit(wanted.div_ceil(PAGE_SIZE), 1))
            .ok_or(())?;
        let (start, pages) = range.into_raw();
        // SAFETY: the pages are ours alone and never given back.
        unsafe { talc.claim(Span::from_base_size(start as *mut u8, pages * PAGE_SIZE)) }.map(drop)
    }
}

#[global_allocator]
static HEAP: Talck<spin::Mutex<()>, Grow> = Talc::new(Grow).lock();
