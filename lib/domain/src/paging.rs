//! This domain's own page tables: everything identity-mapped, RAM writable and not executable, the image by its
//! sections, device memory uncached. Large pages wherever possible.
#![expect(unsafe_code, reason = "edits page tables")]

use crate::memory::PageRange;
use core::ptr::NonNull;
use spin::Mutex;
use x86_64::VirtAddr;
use x86_64::instructions::tlb;
use xen_abi::Errno;
use xen_abi::xen::PAGE_SIZE;

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
/// Page write-through and cache-disable: type UC with the PAT as it is after reset.
const UNCACHED: u64 = 3 << 3;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// What a page may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nothing: a guard.
    None,
    /// Execute and read.
    Text,
    /// Read.
    ReadOnly,
    /// Read and write.
    Ram,
    /// Read and write, uncached.
    Device,
}

impl Access {
    const fn bits(self) -> u64 {
        match self {
            Access::None => 0,
            Access::Text => PRESENT,
            Access::ReadOnly => PRESENT | NO_EXECUTE,
            Access::Ram => PRESENT | WRITABLE | NO_EXECUTE,
            Access::Device => PRESENT | WRITABLE | NO_EXECUTE | UNCACHED,
        }
    }
}

unsafe extern "C" {
    static mut boot_pml4: [u64; 512];
}

/// Tables for the time before there is an allocator: the image's 4 KiB tables and a few directories.
#[repr(C, align(4096))]
struct EarlyTables([[u64; 512]; EARLY_TABLES]);
const EARLY_TABLES: usize = 8;
static mut EARLY: EarlyTables = EarlyTables([[0; 512]; EARLY_TABLES]);

struct Tables {
    early_used: usize,
    gigabyte_pages: bool,
    /// Flush each page that changes; off while everything changes.
    flush: bool,
}

static TABLES: Mutex<Tables> = Mutex::new(Tables {
    early_used: 0,
    gigabyte_pages: false,
    flush: false,
});

impl Tables {
    /// A zeroed table.
    fn new_table(&mut self) -> Result<u64, Errno> {
        if self.early_used < EARLY_TABLES {
            let table = &raw mut EARLY;
            self.early_used += 1;
            // SAFETY: only an address inside the static is computed; each table is handed out once, under the lock.
            return Ok(unsafe { &raw mut (*table).0[self.early_used - 1] } as u64);
        }
        PageRange::new(1)
            .map(|page| page.into_raw().0)
            .ok_or(Errno::ENOMEM)
    }

    /// The entry for `address` at `level` (1: 4 KiB, 2: 2 MiB, 3: 1 GiB), creating tables and splitting large pages on the way.
    fn entry(&mut self, address: u64, level: u32) -> Result<NonNull<u64>, Errno> {
        let mut table = &raw mut boot_pml4 as u64;
        let mut at = 4;
        loop {
            let index = (address >> (12 + 9 * (at - 1)) & 511) as usize;
            // SAFETY: `table` is the identity-mapped address of a page table, 512 entries long.
            let entry = unsafe {
                NonNull::new(table as *mut u64)
                    .ok_or(Errno::EFAULT)?
                    .add(index)
            };
            if at == level {
                return Ok(entry);
            }
            // SAFETY: as above; tables are only accessed under the lock.
            let value = unsafe { entry.read_volatile() };
            table = if value & PRESENT == 0 {
                let new = self.new_table()?;
                // SAFETY: as above. Rights are decided in the last level.
                unsafe { entry.write_volatile(new | PRESENT | WRITABLE) };
                new
            } else if value & LARGE != 0 {
                let new = self.new_table()?;
                let step = 1_u64 << (12 + 9 * (at - 2));
                let drop_large = if at == 2 { LARGE } else { 0 };
                for part in 0..512 {
                    // SAFETY: the new table has 512 entries and is not in use yet.
                    unsafe {
                        (new as *mut u64)
                            .add(part as usize)
                            .write_volatile((value ^ drop_large) + part * step)
                    };
                }
                // SAFETY: as above; the new table maps exactly what the large page did.
                unsafe { entry.write_volatile(new | PRESENT | WRITABLE) };
                new
            } else {
                value & ADDRESS
            };
            at -= 1;
        }
    }

    /// Maps `[start, end)` to itself.
    fn map(&mut self, start: u64, end: u64, access: Access) -> Result<(), Errno> {
        const GIB: u64 = 1 << 30;
        const MIB2: u64 = 2 << 20;
        let page = PAGE_SIZE as u64;
        let (mut at, end) = (
            start / page * page,
            end.checked_next_multiple_of(page).ok_or(Errno::EINVAL)?,
        );
        if end > 1 << 47 {
            return Err(Errno::EINVAL);
        }
        while at < end {
            let room = end - at;
            let (level, size, large) =
                if at.is_multiple_of(GIB) && room >= GIB && self.gigabyte_pages {
                    (3, GIB, LARGE)
                } else if at.is_multiple_of(MIB2) && room >= MIB2 {
                    (2, MIB2, LARGE)
                } else {
                    (1, page, 0)
                };
            let bits = access.bits();
            let value = if bits == 0 { 0 } else { at | bits | large };
            let entry = self.entry(at, level)?;
            // SAFETY: the entry maps `at` to itself with other rights; callers see to it that code keeps running.
            let old = unsafe { entry.replace(value) };
            // What was not present is not in the TLB.
            if old & PRESENT != 0 && self.flush {
                tlb::flush(VirtAddr::new_truncate(at));
            }
            at += size;
        }
        Ok(())
    }
}

/// Maps `[start, end)` to itself; whole pages.
pub(crate) fn map(start: u64, end: u64, access: Access) -> Result<(), Errno> {
    TABLES.lock().map(start, end, access)
}

/// Rights of the image and of everything below 4 GiB.
///
/// # Safety
/// Called once, with the symbols of the linker script.
pub(crate) unsafe fn init(image: &Image) -> Result<(), Errno> {
    let mut tables = TABLES.lock();
    // CPUID 0x80000001 EDX bit 26: 1 GiB pages.
    tables.gigabyte_pages = core::arch::x86_64::__cpuid(0x8000_0001).edx & (1 << 26) != 0;
    const MIB2: u64 = 2 << 20;
    let (first, last) = (image.start / MIB2 * MIB2, image.end.next_multiple_of(MIB2));
    // The large pages around the image are split; the null page stays unmapped unless the image is elsewhere.
    tables.map(first.max(PAGE_SIZE as u64), image.start, Access::Ram)?;
    tables.map(image.start, image.text_end, Access::Text)?;
    tables.map(image.text_end, image.rodata_end, Access::ReadOnly)?;
    tables.map(image.rodata_end, image.end, Access::Ram)?;
    tables.map(
        image.stack_guard,
        image.stack_guard + PAGE_SIZE as u64,
        Access::None,
    )?;
    if first == 0 {
        tables.map(0, PAGE_SIZE as u64, Access::None)?;
    }
    // Partial tables keep the writable and executable mapping of the split page: go on to its end.
    tables.map(image.end, last, Access::Ram)?;
    tables.map(MIB2.min(first), first, Access::Ram)?;
    tables.map(last, 4 << 30, Access::Ram)?;
    tlb::flush_all();
    tables.flush = true;
    Ok(())
}

/// The image's parts, addresses from the linker script.
pub(crate) struct Image {
    pub(crate) start: u64,
    pub(crate) text_end: u64,
    pub(crate) rodata_end: u64,
    pub(crate) end: u64,
    pub(crate) stack_guard: u64,
}
