//! The boot sequence on the machine itself.
#![allow(unsafe_code, reason = "the entry from assembly")]

use super::archive::Archive;
use super::info::{BootError, BootInfo};
use super::{ORDERS, Orders, lift, multiboot2, plan, pvh};
use crate::arch::{
    self, cpu, descriptors, ioapic, ipi, irq, lapic, percpu, rtc, smp, stack, timer,
};
use crate::mm::ranges::Range;
use crate::mm::{self, DIRECT_MAP, frames};
use crate::types::PAGE_SIZE;
use crate::{acpi, console, domain, iommu, panic, pci, sched, serial, speculation, vcpu};
use core::sync::atomic::{AtomicBool, Ordering};
use spin::Once;

core::arch::global_asm!(include_str!("entry.S"), options(att_syntax));

/// What the boot page tables show of physical memory.
const BOOT_LIMIT: u64 = 1 << 32;

/// What the image may take of memory, in bytes.
const IMAGE_LIMIT: u64 = 1 << 20;
/// What microhv may take for itself beyond page tables, in bytes.
const MEMORY_LIMIT: u64 = 8 << 20;

/// What the first half of the boot leaves to the second.
struct Boot {
    info: BootInfo<'static>,
    orders: &'static Orders,
    taken: mm::init::Taken,
    stacks: stack::Stacks,
}

static BOOT: Once<Boot> = Once::new();

/// Physical memory as a loader left it.
fn memory(address: u64, length: usize) -> Option<&'static [u8]> {
    let end = address.checked_add(length as u64)?;
    if end > BOOT_LIMIT {
        return None;
    }
    let place = core::ptr::with_exposed_provenance((DIRECT_MAP + address) as usize);
    // The allocator does not get their frames, or they are no longer read when it does.
    // SAFETY: the boot page tables show the first 4 GiB; nobody writes the loader's structures after it has handed over.
    Some(unsafe { core::slice::from_raw_parts(place, length) })
}

fn stop(error: BootError) -> ! {
    console::open(Some(&config::xen_cmdline::Com::COM1), true);
    panic::stop(error)
}

/// Copies memory that the boot page tables show to free memory that they show.
fn copy(from: Range, to: u64) {
    let Some(from) = bytes(from) else { return };
    let to = core::ptr::with_exposed_provenance_mut((DIRECT_MAP + to) as usize);
    // SAFETY: `lift` took the place out of RAM that nobody uses, below `BOOT_LIMIT`: nothing refers to it, nor is it in `from`.
    unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) };
}

/// What a module holds.
fn bytes(range: Range) -> Option<&'static [u8]> {
    memory(range.start, usize::try_from(range.len()).ok()?)
}

/// Called by `entry.S` on the boot stack, with the boot page tables: where the loader's structure is, and what the loader
/// left in EAX, or 0 if it came by the PVH entry.
#[unsafe(no_mangle)]
extern "C" fn boot_start(structure: u64, protocol: u32) -> ! {
    timer::start();
    descriptors::load_idt();
    percpu::install(0);
    console::init_log();
    log::info!("microhv {}", env!("CARGO_PKG_VERSION"));
    match first_half(structure, protocol) {
        Ok(boot) => {
            let top = BOOT.call_once(|| boot).stacks.main;
            // SAFETY: the new stack is mapped; nothing of the old one is used again.
            unsafe {
                core::arch::asm!(
                    "mov rsp, {top}",
                    "xor ebp, ebp",
                    "call {next}",
                    "ud2",
                    top = in(reg) top,
                    next = sym second_half,
                    options(noreturn)
                );
            }
        }
        Err(error) => stop(error),
    }
}

fn first_half(structure: u64, protocol: u32) -> Result<Boot, BootError> {
    let mut info = match protocol {
        0 => pvh::parse(structure, memory),
        multiboot2::MAGIC => multiboot2::parse(structure, memory),
        _ => Err(BootError::NOT_MULTIBOOT2),
    }?;
    let image = arch::paging::Image::current().whole();
    lift::modules(&mut info, image, BOOT_LIMIT, copy)?;
    let archive = Archive::new(&info.modules, bytes)?;
    if let Some(symbols) = archive.file(plan::SYMBOLS) {
        panic::symbols::set(symbols);
    }
    let conf = plan::loader_conf(&archive)?;
    let options = conf.xen_options(|_| {});
    let (own, guest) = options.levels(conf.boot_verbose().unwrap_or(false));
    console::set_levels(own, guest);
    panic::set_noreboot(options.noreboot);
    let com = match (options.console.com1, options.console.com2) {
        (Some(_), _) => Some(&options.com1),
        (None, Some(_)) => Some(&options.com2),
        (None, None) => None,
    };
    console::open(com, options.sync_console);
    if options.sync_console {
        // As Xen says it.
        log::warn!(
            "console output is synchronous (sync_console): for debugging, not for production, since it makes everything slow \
             and guests can make it slower"
        );
    }
    plan::report(&conf);
    let orders = ORDERS.call_once(|| Orders {
        archive,
        conf,
        options,
    });
    let taken = mm::init::init(&info)?;
    let stacks = stack::allocate(0).ok_or(BootError::NO_MEMORY)?;
    Ok(Boot {
        info,
        orders,
        taken,
        stacks,
    })
}

extern "C" fn second_half() -> ! {
    let Some(boot) = BOOT.get() else {
        panic::halt();
    };
    if descriptors::install(&boot.stacks).is_none() {
        stop(BootError::NO_MEMORY);
    }
    smp::enable_features();
    let machine = acpi::init(boot.info.rsdp).unwrap_or_else(|why| panic::stop(why));
    if lapic::choose(machine.local_apic).is_none() {
        stop(BootError::NO_MEMORY);
    }
    mask_8259();
    lapic::enable();
    let reference = arch::calibrate::run(machine.pm_timer);
    timer::init();
    timer::init_cpu();
    ipi::init();
    percpu::this().apic_id.store(lapic::id(), Ordering::Relaxed);
    percpu::this().online.store(true, Ordering::Release);
    let wallclock = rtc::read().unwrap_or(0);
    arch::WALLCLOCK.store(
        wallclock.saturating_sub(timer::now_ns() / 1_000_000_000),
        Ordering::Relaxed,
    );
    describe(boot, machine, reference);
    vcpu::backend::set_apic_virtualisation(boot.orders.options.apicv);
    vcpu::backend::init().unwrap_or_else(|why| panic::stop(why));
    let threads = speculation::share_cores(cpu::cpuid, machine.cpus.iter().copied());
    if speculation::init(&boot.orders.options.spec_ctrl, threads) {
        vcpu::backend::chosen().format.keep_code_small();
    }
    speculation::enable();
    for apic in &machine.io_apics {
        if ioapic::add(apic.id, apic.address.into(), apic.first_gsi).is_none() {
            log::error!("I/O APIC {} cannot be used", apic.id);
        }
    }
    take_over_devices(boot);
    connect_console(boot, machine);
    offer_serial_port(boot, machine);
    let others = machine.cpus.iter().copied().filter(|id| *id != lapic::id());
    let (root, low_page) = (boot.taken.root, boot.taken.low_page);
    let running = smp::start_all(root, low_page, others, prepare_cpu, ap_main);
    let all = machine.cpus.len() + machine.more_cpus;
    log::info!("CPUs: {running} of {all} run");
    report_memory();
    let free = frames::free_frames() * PAGE_SIZE as u64;
    let least = plan::least_memory(&boot.orders.options, free);
    if least > free {
        let (least, free) = (least >> 20, free >> 20);
        panic::stop(format_args!(
            "there is not enough memory: Domain-0 is to have {least} MiB (dom0_mem), and {free} MiB are free"
        ));
    }
    if domain::build::boot_domains(boot.orders).is_err() {
        panic::stop("Domain-0 is not built: for the reason above");
    }
    let (own, guest) = boot.orders.options.levels(false);
    console::set_levels(own, guest);
    RELEASED.store(true, Ordering::SeqCst);
    (0..arch::cpu_count()).for_each(ipi::kick);
    sched::run()
}

/// What the other CPUs do before they run guests.
fn prepare_cpu() -> Result<(), &'static str> {
    speculation::enable();
    vcpu::backend::init()
}

/// Set when there are domains to run.
static RELEASED: AtomicBool = AtomicBool::new(false);

fn ap_main() -> ! {
    while !RELEASED.load(Ordering::SeqCst) {
        cpu::halt_once();
        // Domains that wait for this CPU have kicked it already; the next kick is to wake it again.
        percpu::this().reschedule.store(false, Ordering::SeqCst);
    }
    sched::run()
}

/// Nobody's device reaches memory or interrupts a CPU from here on.
fn take_over_devices(boot: &Boot) {
    use iommu::InitError;
    pci::init();
    match iommu::init(&boot.orders.options.iommu, acpi::table) {
        Ok(()) => pci::redirect_peers(),
        Err(InitError::Off) => {
            log::warn!("IOMMU: off (iommu=off): no device is assigned to any domain");
        }
        Err(InitError::Absent) => panic::stop(format_args!(
            "this machine has no IOMMU that microhv knows (no DMAR and no IVRS table); \
             with iommu=off in xen_cmdline it starts without devices for domains"
        )),
        Err(InitError::Unusable(why)) => panic::stop(why),
    }
}

fn describe(boot: &Boot, machine: &acpi::Machine, reference: &str) {
    let mib = |bytes: u64| bytes >> 20;
    let sizes = boot.info.modules.iter().map(|module| module.range.len());
    let (modules, size) = (boot.info.modules.len(), sizes.sum::<u64>() >> 10);
    log::info!("boot archive: {size} KiB, {modules} modules");
    for module in &boot.info.modules {
        let Range { start, end } = module.range;
        log::debug!("module {start:#014x} to {end:#014x}: {:?}", module.path);
    }
    for range in boot.info.ram.list() {
        log::debug!("RAM {:#014x} to {:#014x}", range.start, range.end);
    }
    log::info!("RAM: {} MiB", mib(boot.info.ram.bytes()));
    log::info!(
        "time-stamp counter: {}.{:03} MHz, measured with the {reference}",
        timer::tsc_khz() / 1000,
        timer::tsc_khz() % 1000
    );
    let apic = if lapic::is_x2apic() {
        "x2APIC"
    } else {
        "xAPIC"
    };
    log::debug!(
        "ACPI: {} CPUs ({apic}), {} I/O APICs",
        machine.cpus.len(),
        machine.io_apics.len()
    );
}

fn report_memory() {
    let own = mm::own_memory();
    log::info!(
        "microhv's own memory: {} KiB (image {} KiB, frame table {} KiB, CPUs {} KiB, objects {} KiB), page tables {} KiB",
        own.total() >> 10,
        own.image >> 10,
        own.frame_table >> 10,
        own.per_cpu >> 10,
        own.objects >> 10,
        own.page_tables >> 10
    );
    if own.image > IMAGE_LIMIT || own.total() > MEMORY_LIMIT {
        log::warn!("that is more than microhv is meant to take: 1 MiB and 8 MiB");
    }
    log::info!(
        "free memory: {} KiB of {} KiB",
        frames::free_frames() * 4,
        frames::total_frames() * 4
    );
}

/// The operator's input comes by interrupt, to the boot CPU.
fn connect_console(boot: &Boot, machine: &acpi::Machine) {
    let com = match boot.orders.options.console.com1 {
        Some(_) => &boot.orders.options.com1,
        None => &boot.orders.options.com2,
    };
    if com.irq == 0 {
        return;
    }
    if connect_line(machine, com.irq, console::interrupt) {
        console::enable_interrupts();
    } else {
        log::error!("no I/O APIC has line {}: the console has no input", com.irq);
    }
}

/// Domain-0 gets the second serial port, unless microhv itself uses it.
fn offer_serial_port(boot: &Boot, machine: &acpi::Machine) {
    let Some(com) = serial::spare(&boot.orders.options) else {
        return;
    };
    // A level-triggered line would have to be masked until Domain-0 has looked.
    let (_, level, _) = machine.isa_line(com.irq);
    if !level && connect_line(machine, com.irq, serial::interrupt) {
        serial::offer(com);
        log::debug!("serial port {:#x} is Domain-0's", com.io_base);
    } else {
        log::warn!(
            "serial port {:#x} cannot interrupt: Domain-0 does not get it",
            com.io_base
        );
    }
}

/// Has ISA line `irq` interrupt this CPU; false if that cannot be.
fn connect_line(machine: &acpi::Machine, irq: u8, handler: irq::Handler) -> bool {
    let (Some(vector), Ok(apic_id)) = (irq::alloc_vector(), u8::try_from(lapic::id())) else {
        return false;
    };
    irq::set_handler(vector, handler);
    let (gsi, level, active_low) = machine.isa_line(irq);
    let route = ioapic::Route {
        vector,
        apic_id,
        level,
        active_low,
    };
    ioapic::connect(gsi, |id, pin| {
        log::debug!("I/O APIC {id} pin {pin}: vector {vector:#x}");
        iommu::remap_ioapic(id, &route).unwrap_or(route.entry())
    })
}

/// Moves the 8259s' vectors away from exceptions and masks all of their lines (Intel 8259A data
/// sheet): a spurious interrupt may come even so.
fn mask_8259() {
    for (port, first, cascade) in [(0x20, 0x20, 4), (0xa0, 0x28, 2)] {
        cpu::outb(port, 0x11);
        cpu::outb(port + 1, first);
        cpu::outb(port + 1, cascade);
        cpu::outb(port + 1, 1);
        cpu::outb(port + 1, 0xff);
    }
}
