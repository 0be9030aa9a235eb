//! The domain's own RAM in whole pages, and the window of guest physical addresses where other things appear.
//!
//! Everything is identity-mapped: an address in this domain's address space is its guest physical address, which is
//! also what an assigned device uses for DMA.
#![expect(unsafe_code, reason = "hands out page-aligned memory by address")]

use crate::bitmap::Bitmap;
use crate::shared::SharedMemory;
use core::ptr::NonNull;
use spin::Mutex;
use xen_abi::xen::PAGE_SIZE;

/// Free pages between two addresses.
struct Pages {
    /// First page's address.
    base: u64,
    bitmap: Bitmap,
}

impl Pages {
    fn alloc(&mut self, count: usize, align: usize) -> Option<u64> {
        let page = self.bitmap.alloc(count, align)?;
        Some(self.base + (page * PAGE_SIZE) as u64)
    }

    fn release(&mut self, gpa: u64, count: usize) {
        self.bitmap
            .release((gpa - self.base) as usize / PAGE_SIZE, count);
    }
}

static RAM: Mutex<Option<Pages>> = Mutex::new(None);
static WINDOW: Mutex<Option<Pages>> = Mutex::new(None);

/// Where the window starts: far above any domain's RAM, below the 39 bits that the least IOMMU translates.
pub const WINDOW_BASE: u64 = 256 << 30;
/// Bytes of the window.
pub const WINDOW_BYTES: u64 = 512 << 20;

/// Gives the allocator its RAM: a bitmap for `[base, base + pages)`, all used until [`free_ram`].
pub(crate) fn init_ram(base: u64, words: &'static mut [u64], pages: usize) {
    *RAM.lock() = Some(Pages {
        base,
        bitmap: Bitmap::new(words, pages),
    });
}

/// Marks RAM `[start, end)` as free (inner whole pages) or used (outer whole pages).
pub(crate) fn mark_ram(start: u64, end: u64, free: bool) {
    let page = PAGE_SIZE as u64;
    if let Some(ram) = RAM.lock().as_mut() {
        let (start, end) = if free {
            (start.next_multiple_of(page), end / page * page)
        } else {
            (start / page * page, end.next_multiple_of(page))
        };
        let (start, end) = (start.max(ram.base), end.max(ram.base));
        if start < end {
            ram.bitmap.set_free(
                ((start - ram.base) / page) as usize,
                ((end - start) / page) as usize,
                free,
            );
        }
    }
}

/// Opens the window. Its bitmap lives on the heap.
pub(crate) fn init_window() {
    let pages = (WINDOW_BYTES / PAGE_SIZE as u64) as usize;
    let words = alloc::vec![0; Bitmap::words_for(pages)].leak();
    let mut bitmap = Bitmap::new(words, pages);
    bitmap.set_free(0, pages, true);
    *WINDOW.lock() = Some(Pages {
        base: WINDOW_BASE,
        bitmap,
    });
}

/// Free and total pages of the domain's RAM (total without holes and image).
pub fn ram_pages() -> (usize, usize) {
    RAM.lock()
        .as_ref()
        .map_or((0, 0), |ram| (ram.bitmap.free_pages(), ram.bitmap.pages()))
}

/// Contiguous zeroed pages of the domain's own RAM. Meant to be shared (rings, DMA buffers), so their contents are reached only
/// through [`SharedMemory`]. Freed on drop: end grants and device use before.
#[derive(Debug)]
pub struct PageRange {
    memory: SharedMemory,
    pages: usize,
}

impl PageRange {
    /// Allocates `pages` contiguous pages, zeroed. `None`: no such run is free.
    pub fn new(pages: usize) -> Option<Self> {
        Self::aligned(pages, 1)
    }

    /// The same, the first page number being a multiple of `align` (a power of two).
    pub fn aligned(pages: usize, align: usize) -> Option<Self> {
        let range = Self::uninit(pages, align)?;
        let _ = range.memory.fill(0, pages * PAGE_SIZE, 0);
        Some(range)
    }

    /// As [`Self::aligned`], contents whatever they were.
    pub fn uninit(pages: usize, align: usize) -> Option<Self> {
        let gpa = alloc_ram(pages, align)?;
        // SAFETY: the allocator gave these pages to us alone; they are mapped and page-aligned.
        let memory = unsafe { SharedMemory::new(NonNull::new(gpa as *mut u8)?, pages * PAGE_SIZE) };
        Some(PageRange { memory, pages })
    }

    /// Pages.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Guest physical address of the first byte; for devices, the DMA address.
    pub fn gpa(&self) -> u64 {
        self.memory.address()
    }

    /// Frame number of page `index`.
    pub fn gfn(&self, index: usize) -> u64 {
        debug_assert!(index < self.pages);
        self.gpa() / PAGE_SIZE as u64 + index as u64
    }

    /// The contents.
    pub fn memory(&self) -> &SharedMemory {
        &self.memory
    }

    /// Forgets the ownership: `(address, pages)` for drivers that keep raw pointers.
    pub fn into_raw(self) -> (u64, usize) {
        let raw = (self.gpa(), self.pages);
        core::mem::forget(self);
        raw
    }

    /// Takes the ownership back.
    ///
    /// # Safety
    /// The values come from [`Self::into_raw`], and nobody uses the memory any more.
    pub unsafe fn from_raw(gpa: u64, pages: usize) -> Option<Self> {
        // SAFETY: the caller's promise.
        let memory = unsafe { SharedMemory::new(NonNull::new(gpa as *mut u8)?, pages * PAGE_SIZE) };
        Some(PageRange { memory, pages })
    }
}

impl AsRef<SharedMemory> for PageRange {
    fn as_ref(&self) -> &SharedMemory {
        &self.memory
    }
}

impl Drop for PageRange {
    fn drop(&mut self) {
        release_ram(self.gpa(), self.pages);
    }
}

#[cfg(target_os = "none")]
fn alloc_ram(pages: usize, align: usize) -> Option<u64> {
    RAM.lock().as_mut()?.alloc(pages, align)
}

#[cfg(target_os = "none")]
fn release_ram(gpa: u64, pages: usize) {
    if let Some(ram) = RAM.lock().as_mut() {
        ram.release(gpa, pages);
    }
}

/// On the host pages come from the process's heap.
#[cfg(not(target_os = "none"))]
fn alloc_ram(pages: usize, align: usize) -> Option<u64> {
    let layout = host_layout(pages, align)?;
    // SAFETY: the layout is not empty.
    let pointer = unsafe { alloc::alloc::alloc(layout) };
    (!pointer.is_null()).then_some(pointer as u64)
}

#[cfg(not(target_os = "none"))]
fn host_layout(pages: usize, _align: usize) -> Option<core::alloc::Layout> {
    core::alloc::Layout::from_size_align(
        pages.checked_mul(PAGE_SIZE).filter(|&n| n > 0)?,
        PAGE_SIZE,
    )
    .ok()
}

#[cfg(not(target_os = "none"))]
fn release_ram(gpa: u64, pages: usize) {
    if let Some(layout) = host_layout(pages, 1) {
        // SAFETY: allocated with the same layout in `alloc_ram`.
        unsafe { alloc::alloc::dealloc(gpa as *mut u8, layout) };
    }
}

/// Contiguous guest physical addresses without memory behind them, where grants, foreign pages and the hypervisor's shared pages can be
/// mapped. Freed on drop: unmap before.
#[derive(Debug)]
pub struct WindowRange {
    gpa: u64,
    pages: usize,
}

impl WindowRange {
    /// Takes `pages` addresses. `None`: the window is full.
    pub fn new(pages: usize) -> Option<Self> {
        let gpa = WINDOW.lock().as_mut()?.alloc(pages, 1)?;
        Some(WindowRange { gpa, pages })
    }

    /// First address.
    pub fn gpa(&self) -> u64 {
        self.gpa
    }

    /// First frame.
    pub fn gfn(&self) -> u64 {
        self.gpa / PAGE_SIZE as u64
    }

    /// Pages.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// A view of what is mapped there.
    ///
    /// # Safety
    /// Something is mapped at all of the range, and stays while the view is used.
    pub(crate) unsafe fn view(&self) -> SharedMemory {
        // SAFETY: the window is identity-mapped, page-aligned and not null; the rest is the caller's promise.
        unsafe {
            SharedMemory::new(
                NonNull::without_provenance(core::num::NonZero::new_unchecked(self.gpa as usize)),
                self.pages * PAGE_SIZE,
            )
        }
    }
}

impl Drop for WindowRange {
    fn drop(&mut self) {
        if let Some(window) = WINDOW.lock().as_mut() {
            window.release(self.gpa, self.pages);
        }
    }
}
