//! The hypervisor's own page tables.
//!
//! Nothing is writable and executable at once: the image's code is read-only, its constants are
//! read-only and not executable, and the direct map, which shows all RAM, is not executable and not
//! writable where it shows the image's code and constants.
#![allow(unsafe_code, reason = "page tables")]

use crate::mm::ranges::Range;
use crate::mm::{DIRECT_MAP, MMIO_WINDOW, frames, own, phys};
use crate::types::Mfn;
use core::sync::atomic::Ordering;
use spin::Mutex;
use x86_64::structures::paging::mapper::{MapToError, Mapper, Translate};
use x86_64::structures::paging::page::{Page, PageSize, Size1GiB, Size2MiB, Size4KiB};
use x86_64::structures::paging::{
    FrameAllocator, OffsetPageTable, PageTableFlags as Flags, PhysFrame,
};
use x86_64::{PhysAddr, VirtAddr};

/// The image's address when it runs, minus its physical address.
pub const KERNEL_VMA: u64 = 0xffff_ffff_8000_0000;

const RW: Flags = Flags::PRESENT
    .union(Flags::WRITABLE)
    .union(Flags::NO_EXECUTE)
    .union(Flags::GLOBAL);
const RO: Flags = Flags::PRESENT.union(Flags::NO_EXECUTE).union(Flags::GLOBAL);
const RX: Flags = Flags::PRESENT.union(Flags::GLOBAL);
/// Entry 3 of the page attribute table, uncached, as the CPU's reset leaves it.
const UNCACHED: Flags = Flags::NO_CACHE.union(Flags::WRITE_THROUGH);

/// The image in physical memory, page-aligned: code, constants, data.
#[derive(Clone, Copy, Debug)]
pub struct Image {
    /// Code.
    pub text: Range,
    /// Constants.
    pub rodata: Range,
    /// Data, and what starts as zeros.
    pub data: Range,
}

impl Image {
    /// Where the linker and the loader put us.
    pub fn current() -> Self {
        unsafe extern "C" {
            static image_start: u8;
            static text_end: u8;
            static rodata_end: u8;
            static image_end: u8;
        }
        let [start, text, rodata, end] = [
            &raw const image_start,
            &raw const text_end,
            &raw const rodata_end,
            &raw const image_end,
        ]
        .map(|symbol| symbol.addr() as u64 - KERNEL_VMA);
        Self {
            text: Range { start, end: text },
            rodata: Range::between(text, rodata),
            data: Range::between(rodata, end),
        }
    }

    /// All of it.
    pub const fn whole(&self) -> Range {
        Range::between(self.text.start, self.data.end)
    }
}

/// Where the memory for tables comes from: physical addresses of zeroed frames.
type Source<'a> = &'a mut dyn FnMut() -> Option<u64>;

static LOCK: Mutex<()> = Mutex::new(());

/// Gives tables their frames.
struct Tables<'a>(Source<'a>);

// SAFETY: the source gives frames that are nobody's.
unsafe impl FrameAllocator<Size4KiB> for Tables<'_> {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        let address = (self.0)()?;
        own::PAGE_TABLES.fetch_add(4096, Ordering::Relaxed);
        Some(PhysFrame::containing_address(PhysAddr::new(address)))
    }
}

/// Maps `range` of physical memory at `base` plus its address, in the largest pages that fit.
/// Pages that are mapped already stay as they are.
fn map(root: u64, base: u64, range: Range, flags: Flags, source: Source<'_>) -> Option<()> {
    let place = core::ptr::with_exposed_provenance_mut((DIRECT_MAP + root) as usize);
    // SAFETY: the tables at `root` are in RAM that the direct map shows; the caller holds LOCK or is alone in the machine.
    let mut tables = unsafe { OffsetPageTable::new(&mut *place, VirtAddr::new(DIRECT_MAP)) };
    // CPUID 8000_0001h, EDX bit 26: pages of 1 GiB.
    let giant = crate::arch::cpu::cpuid(0x8000_0001, 0).edx & (1 << 26) != 0;
    let mut at = range.start;
    while at < range.end {
        let virt = VirtAddr::new(base.wrapping_add(at));
        let fits = |size: &u64| {
            let aligned = at.is_multiple_of(*size) && virt.is_aligned(*size);
            aligned && range.end - at >= *size && (giant || *size != Size1GiB::SIZE)
        };
        let sizes = [Size1GiB::SIZE, Size2MiB::SIZE, Size4KiB::SIZE];
        let size = sizes.into_iter().find(fits)?;
        // The crate would change the flags of a large page on its way to a smaller one.
        if tables.translate_addr(virt).is_none() {
            match size {
                Size1GiB::SIZE => map_page::<Size1GiB>(&mut tables, virt, at, flags, source),
                Size2MiB::SIZE => map_page::<Size2MiB>(&mut tables, virt, at, flags, source),
                _ => map_page::<Size4KiB>(&mut tables, virt, at, flags, source),
            }?;
        }
        at += size;
    }
    Some(())
}

/// Maps one page, if there is neither it nor a smaller one.
fn map_page<'a, S: PageSize>(
    tables: &mut OffsetPageTable<'a>,
    virt: VirtAddr,
    at: u64,
    flags: Flags,
    source: Source<'_>,
) -> Option<()>
where
    OffsetPageTable<'a>: Mapper<S>,
{
    let page = Page::<S>::containing_address(virt);
    let frame = PhysFrame::containing_address(PhysAddr::new(at));
    let above = Flags::PRESENT | Flags::WRITABLE;
    let source = &mut Tables(source);
    // SAFETY: nothing was mapped there, so nothing else is named by the address.
    match unsafe { tables.map_to_with_table_flags(page, frame, flags, above, source) } {
        // A new entry where there was none needs no flush.
        Ok(flush) => flush.ignore(),
        Err(MapToError::FrameAllocationFailed) => return None,
        Err(_) => {}
    }
    Some(())
}

/// Builds the tables and makes them this CPU's. `source` must give frames below 4 GiB.
/// Returns the root's physical address, or `None` if there is no memory.
pub fn init(image: &Image, ram: &[Range], firmware: &[Range], source: Source<'_>) -> Option<u64> {
    let root = source()?;
    own::PAGE_TABLES.fetch_add(4096, Ordering::Relaxed);
    map(root, KERNEL_VMA, image.text, RX, source)?;
    map(root, KERNEL_VMA, image.rodata, RO, source)?;
    map(root, KERNEL_VMA, image.data, RW, source)?;
    // First what must not be writable: the rest leaves it alone, because it is mapped already.
    let constant = Range::between(image.text.start, image.rodata.end);
    map(root, DIRECT_MAP, constant, RO, source)?;
    for range in ram {
        let parts = [
            Range::between(range.start, range.end.min(constant.start)),
            Range::between(range.start.max(constant.end), range.end),
        ];
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            map(root, DIRECT_MAP, part, RW, source)?;
        }
    }
    for range in firmware {
        map(root, DIRECT_MAP, *range, RO, source)?;
    }
    activate(root);
    Some(root)
}

/// Makes the tables at `root` this CPU's.
pub fn activate(root: u64) {
    use x86_64::registers::control::{Cr3, Cr3Flags, Cr4, Cr4Flags};
    // SAFETY: the tables map the code that runs, its stack and its data at the same addresses as
    // the boot tables do.
    unsafe {
        Cr3::write(
            PhysFrame::containing_address(PhysAddr::new(root)),
            Cr3Flags::empty(),
        );
        Cr4::update(|flags| flags.insert(Cr4Flags::PAGE_GLOBAL));
    }
}

/// Maps `range` at `base` in the tables that are in use.
fn map_now(base: u64, range: Range, flags: Flags) -> Option<()> {
    let _guard = LOCK.lock();
    let (root, _) = x86_64::registers::control::Cr3::read();
    let mut source = || frames::alloc_zeroed(0).map(Mfn::address);
    map(
        root.start_address().as_u64(),
        base,
        range,
        flags,
        &mut source,
    )
}

/// Maps the registers `physical..end` in [`MMIO_WINDOW`].
pub fn map_device(physical: u64, end: u64) -> Option<*mut u8> {
    let range = Range::between(physical, end).touched_pages();
    let ram =
        [range.start, range.end - 1].map(|byte| phys::pointer(Mfn::containing(byte)).is_some());
    if ram.contains(&true) {
        return None;
    }
    map_now(MMIO_WINDOW, range, RW | UNCACHED)?;
    Some(core::ptr::with_exposed_provenance_mut(
        (MMIO_WINDOW + physical) as usize,
    ))
}

/// Maps firmware's tables `range` read-only in the direct map; returns where.
pub fn map_firmware(range: Range) -> Option<*const u8> {
    map_now(DIRECT_MAP, range.touched_pages(), RO)?;
    Some(core::ptr::with_exposed_provenance(
        (DIRECT_MAP + range.start) as usize,
    ))
}

/// Maps `2^order` frames at `virt`, an address outside all windows, as data.
pub fn map_data(virt: u64, mfn: Mfn, order: u32) -> Option<()> {
    let range = Range::new(mfn.address(), 4096 << order);
    map_now(virt.wrapping_sub(mfn.address()), range, RW)
}
