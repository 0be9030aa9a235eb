//! Memory for virtqueues: pages of the domain's own, at the same address for the device.
#![expect(unsafe_code, reason = "implements an unsafe trait")]

use core::ptr::NonNull;

use domain::PageRange;
use virtio_drivers::{BufferDirection, Hal, PhysAddr};

/// The driver domain's memory as `virtio-drivers` wants to see it.
#[derive(Debug)]
pub struct DomainHal;

// SAFETY: pages come zeroed and page-aligned from the page allocator, to us alone until they are given back; addresses,
// guest physical addresses and DMA addresses are the same.
unsafe impl Hal for DomainHal {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        match PageRange::new(pages) {
            Some(range) => {
                let (gpa, _) = range.into_raw();
                // Page zero is never RAM.
                (
                    gpa,
                    NonNull::new(gpa as *mut u8).unwrap_or(NonNull::dangling()),
                )
            }
            // An address of zero tells the caller that there is no memory.
            None => (0, NonNull::dangling()),
        }
    }

    unsafe fn dma_dealloc(paddr: PhysAddr, _: NonNull<u8>, pages: usize) -> i32 {
        // SAFETY: by the trait's contract these are values from `dma_alloc`, and nobody uses the memory any more.
        drop(unsafe { PageRange::from_raw(paddr, pages) });
        0
    }

    unsafe fn mmio_phys_to_virt(paddr: PhysAddr, size: usize) -> NonNull<u8> {
        // The crate's interface has no way to report a failure. Page tables run out at start-up only, where a domain may panic.
        domain::pci::map_device_memory(paddr, size as u64).expect("page tables for device memory")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.cast::<u8>().as_ptr() as PhysAddr
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}
