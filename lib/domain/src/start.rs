//! From the entry stub to the domain's `main`.
#![expect(
    unsafe_code,
    reason = "reads what the builder placed in memory, and the linker script's symbols"
)]

use crate::boot::{Boot, Module};
use crate::paging::{self, Access, Image};
use crate::shared::SharedMemory;
use crate::{event, grant, hypercall, memory};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::arch::x86_64::__cpuid;
use core::ptr::NonNull;
use xen_abi::Errno;
use xen_abi::cpuid::*;
use xen_abi::hvm::start_info::*;
use xen_abi::memory::XENMAPSPACE_SHARED_INFO;
use xen_abi::sched::{SHUTDOWN_CRASH, SHUTDOWN_POWEROFF};
use xen_abi::xen::PAGE_SIZE;

core::arch::global_asm!(include_str!("entry.s"), options(att_syntax));

unsafe extern "C" {
    static image_start: u8;
    static text_end: u8;
    static rodata_end: u8;
    static image_end: u8;
    static boot_stack_guard: u8;
    /// The PVH entry point; named so that the entry code is always linked.
    pub fn pvh_entry();
}

unsafe extern "Rust" {
    /// Defined by [`crate::entry!`] in the domain's binary.
    safe fn domain_main(boot: &'static Boot);
}

const PAGE: u64 = PAGE_SIZE as u64;
/// RAM below this is left alone: a few pages, often with the builder's tables.
const LOW_RAM_END: u64 = 1 << 20;
/// Ranges that are in use when we start: ours, and two of each module; Domain-0 has a module for each file of the boot disk.
type Reserved = [(u64, u64); 5 + 2 * 64];

/// Address of the stack's guard page.
pub(crate) fn stack_guard() -> u64 {
    &raw const boot_stack_guard as u64
}

/// Called by the entry stub with the address of `hvm_start_info`, on the boot stack, everything below 1 GiB mapped.
#[unsafe(no_mangle)]
extern "C" fn domain_start(start_info: u64) -> ! {
    match run(start_info) {
        Ok(boot) => {
            domain_main(boot);
            log::info!("main has returned: powering off");
            event::shutdown(SHUTDOWN_POWEROFF)
        }
        Err((what, errno)) => {
            crate::console::write_line(format_args!("ERROR domain runtime: {what}: {errno}"));
            event::shutdown(SHUTDOWN_CRASH)
        }
    }
}

fn run(start_info: u64) -> Result<&'static Boot, (&'static str, Errno)> {
    install_hypercall_page().ok_or(("no Xen CPUID leaves", Errno::ENODEV))?;
    let image = Image {
        start: &raw const image_start as u64,
        text_end: &raw const text_end as u64,
        rodata_end: &raw const rodata_end as u64,
        end: &raw const image_end as u64,
        stack_guard: stack_guard(),
    };
    // SAFETY: called once, with the linker script's symbols.
    unsafe { paging::init(&image) }.map_err(|errno| ("page tables", errno))?;
    crate::trap::init();

    let info: HvmStartInfo = view(start_info, size_of::<HvmStartInfo>())?
        .read(0)
        .map_err(|_| BAD_START_INFO)?;
    if info.magic != XEN_HVM_START_MAGIC_VALUE || info.version < XEN_HVM_START_INFO_VERSION {
        return Err(BAD_START_INFO);
    }
    let top = init_memory(&image, start_info, &info)?;
    if top > 4 << 30 {
        paging::map(4 << 30, top, Access::Ram)
            .map_err(|errno| ("mapping RAM above 4 GiB", errno))?;
    }
    paging::map(
        memory::WINDOW_BASE,
        memory::WINDOW_BASE + memory::WINDOW_BYTES,
        Access::Ram,
    )
    .map_err(|errno| ("mapping the window", errno))?;
    memory::init_window();
    event::init(
        grant::map_own(XENMAPSPACE_SHARED_INFO, 0).map_err(|errno| ("shared info", errno))?,
    );

    let cmdline = text(info.cmdline_paddr);
    crate::logger::init(cmdline);
    let mut memory_map = Vec::new();
    for index in 0..u64::from(info.memmap_entries) {
        memory_map.push(memmap_entry(&info, index)?);
    }
    let mut modules = Vec::new();
    for index in 0..u64::from(info.nr_modules) {
        modules.push(module(&modlist_entry(&info, index)?)?);
    }
    log::debug!(
        "{} of {} pages free, modules {modules:?}",
        memory::ram_pages().0,
        memory::ram_pages().1
    );
    Ok(Box::leak(Box::new(Boot {
        cmdline,
        modules,
        memory_map,
        rsdp: info.rsdp_paddr,
    })))
}

const BAD_START_INFO: (&str, Errno) = ("bad start info", Errno::EINVAL);

/// Finds Xen's CPUID leaves and has the hypervisor fill the hypercall page.
fn install_hypercall_page() -> Option<()> {
    let base = crate::identity::leaf_base()?;
    let msr = __cpuid(base + (XEN_CPUID_LEAF_HYPERCALL - XEN_CPUID_FIRST_LEAF)).ebx;
    // SAFETY: the page is reserved for the hypervisor's stubs; nothing calls into it before.
    unsafe {
        x86_64::registers::model_specific::Msr::new(msr)
            .write(&raw const hypercall::hypercall_page as u64)
    };
    Some(())
}

/// A view of what the builder placed at `gpa`, which must be below 4 GiB (Xen places everything there).
fn view(gpa: u64, len: usize) -> Result<SharedMemory, (&'static str, Errno)> {
    let base = NonNull::new(gpa as *mut u8)
        .filter(|_| gpa >= PAGE && gpa.is_multiple_of(8))
        .ok_or(BAD_START_INFO)?;
    if gpa.checked_add(len as u64).is_none_or(|end| end > 4 << 30) {
        return Err(BAD_START_INFO);
    }
    // SAFETY: identity-mapped, aligned, not null; whether memory is behind it is the builder's promise.
    Ok(unsafe { SharedMemory::new(base, len) })
}

fn memmap_entry(
    info: &HvmStartInfo,
    index: u64,
) -> Result<HvmMemmapTableEntry, (&'static str, Errno)> {
    let size = size_of::<HvmMemmapTableEntry>();
    view(info.memmap_paddr + index * size as u64, size)?
        .read(0)
        .map_err(|_| BAD_START_INFO)
}

fn modlist_entry(
    info: &HvmStartInfo,
    index: u64,
) -> Result<HvmModlistEntry, (&'static str, Errno)> {
    let size = size_of::<HvmModlistEntry>();
    view(info.modlist_paddr + index * size as u64, size)?
        .read(0)
        .map_err(|_| BAD_START_INFO)
}

/// The zero-terminated string at `gpa`; empty if absent or not UTF-8.
fn text(gpa: u64) -> &'static str {
    if !(PAGE..4 << 30).contains(&gpa) {
        return "";
    }
    // SAFETY: the builder's string, zero-terminated, in memory that `init_memory` reserves and nobody writes.
    unsafe { core::ffi::CStr::from_ptr(gpa as *const _) }
        .to_str()
        .unwrap_or("")
}

fn module(entry: &HvmModlistEntry) -> Result<Module, (&'static str, Errno)> {
    let end = entry.paddr.checked_add(entry.size).ok_or(BAD_START_INFO)?;
    if entry.paddr < PAGE {
        return Err(BAD_START_INFO);
    }
    // The boot archive may lie beyond everything else that is mapped.
    if end > 4 << 30 {
        paging::map(entry.paddr, end, Access::ReadOnly)
            .map_err(|errno| ("mapping a module", errno))?;
    }
    // SAFETY: the builder's module, in memory that is reserved and nobody writes.
    let data =
        unsafe { core::slice::from_raw_parts(entry.paddr as *const u8, entry.size as usize) };
    Ok(Module {
        data,
        cmdline: text(entry.cmdline_paddr),
        gpa: entry.paddr,
    })
}

/// Gives all RAM that is not in use to the page allocator; returns the end of RAM.
fn init_memory(
    image: &Image,
    start_info: u64,
    info: &HvmStartInfo,
) -> Result<u64, (&'static str, Errno)> {
    let mut reserved: Reserved = [(0, 0); 5 + 2 * 64];
    let mut count = 0;
    let mut reserve = |start: u64, len: u64| {
        if count == reserved.len() {
            return Err(("too many modules", Errno::E2BIG));
        }
        reserved[count] = (
            start / PAGE * PAGE,
            start.saturating_add(len).next_multiple_of(PAGE),
        );
        count += 1;
        Ok(())
    };
    reserve(image.start, image.end - image.start)?;
    reserve(start_info, size_of::<HvmStartInfo>() as u64)?;
    reserve(
        info.memmap_paddr,
        u64::from(info.memmap_entries) * size_of::<HvmMemmapTableEntry>() as u64,
    )?;
    reserve(
        info.modlist_paddr,
        u64::from(info.nr_modules) * size_of::<HvmModlistEntry>() as u64,
    )?;
    reserve(
        info.cmdline_paddr,
        text(info.cmdline_paddr).len() as u64 + 1,
    )?;
    for index in 0..u64::from(info.nr_modules) {
        let entry = modlist_entry(info, index)?;
        reserve(entry.paddr, entry.size)?;
        reserve(
            entry.cmdline_paddr,
            text(entry.cmdline_paddr).len() as u64 + 1,
        )?;
    }
    let (mut base, mut top) = (u64::MAX, 0);
    for index in 0..u64::from(info.memmap_entries) {
        if let Some((start, end)) = ram(&memmap_entry(info, index)?) {
            base = base.min(start);
            top = top.max(end);
        }
    }
    if base >= top {
        return Err(("no RAM in the memory map", Errno::ENOMEM));
    }
    // The bitmap goes behind the image, past whatever else is there.
    let pages = ((top - base) / PAGE) as usize;
    let bytes = (crate::bitmap::Bitmap::words_for(pages) * 8) as u64;
    let mut place = image.end;
    while let Some(&(_, end)) = reserved
        .iter()
        .find(|&&(start, end)| place < end && start < place + bytes)
    {
        place = end;
    }
    let mut fits = false;
    for index in 0..u64::from(info.memmap_entries) {
        fits |= ram(&memmap_entry(info, index)?)
            .is_some_and(|(start, end)| start <= place && place + bytes <= end);
    }
    if !fits || place + bytes > 4 << 30 {
        return Err(("no room for the page bitmap", Errno::ENOMEM));
    }
    // SAFETY: RAM that nobody uses, checked above, page-aligned; reserved for ever below.
    let words = unsafe { core::slice::from_raw_parts_mut(place as *mut u64, bytes as usize / 8) };
    memory::init_ram(base, words, pages);
    for index in 0..u64::from(info.memmap_entries) {
        if let Some((start, end)) = ram(&memmap_entry(info, index)?) {
            memory::mark_ram(start, end, true);
        }
    }
    for (start, end) in reserved {
        memory::mark_ram(start, end, false);
    }
    memory::mark_ram(place, place + bytes, false);
    Ok(top)
}

/// The usable part of a RAM entry, whole pages.
fn ram(entry: &HvmMemmapTableEntry) -> Option<(u64, u64)> {
    let start = entry.addr.next_multiple_of(PAGE).max(LOW_RAM_END);
    let end = entry.addr.checked_add(entry.size)? / PAGE * PAGE;
    (entry.r#type == XEN_HVM_MEMMAP_TYPE_RAM && start < end).then_some((start, end))
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    // Like Rust's own message, on one line, without the heap.
    match info.location() {
        Some(at) => {
            crate::console::write_line(format_args!("ERROR panicked at {at}: {}", info.message()))
        }
        None => crate::console::write_line(format_args!("ERROR panicked: {}", info.message())),
    }
    event::shutdown(SHUTDOWN_CRASH)
}
