//! Starts the other CPUs (Intel SDM volume 3, 8.4.4).
#![allow(unsafe_code, reason = "writes what a starting CPU executes")]

use super::{cpu, descriptors, lapic, percpu, stack, timer};
use crate::mm::DIRECT_MAP;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use spin::Once;

/// How long a CPU may take to start, in ns.
const PATIENCE: u64 = 1_000_000_000;
/// And then, executing code of ours, until it is ready.
const READY_PATIENCE: u64 = 10_000_000_000;

unsafe extern "C" {
    /// Where the CPU that starts finds its stack's top. It takes it away; one that finds zero was given up and halts.
    #[link_name = "boot_ap_stack"]
    static AP_STACK: AtomicU64;
    /// The page tables to use.
    #[link_name = "boot_ap_root"]
    static AP_ROOT: AtomicU64;
    #[link_name = "boot_ap_trampoline"]
    static TRAMPOLINE: u8;
    #[link_name = "boot_ap_trampoline_end"]
    static TRAMPOLINE_END: u8;
}

/// What a CPU does once it runs.
pub type Main = fn() -> !;

/// What a CPU does first; if that fails, the sentence is logged and the CPU is not used.
pub type Prepare = fn() -> Result<(), &'static str>;

static MAIN: Once<(Prepare, Main)> = Once::new();
/// Number of the CPU that is awaited; 0: none, since it is ready or was given up. Whoever makes it 0 has decided which.
static STARTING: AtomicUsize = AtomicUsize::new(0);
/// The CPU that took the stack does not get to `main`.
static FAILED: AtomicBool = AtomicBool::new(false);
static STACKS: spin::Mutex<Option<stack::Stacks>> = spin::Mutex::new(None);

/// Features that all CPUs have turned on: what guests' state needs.
pub fn enable_features() {
    use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags};
    let mut wanted = Cr4Flags::PAGE_GLOBAL
        | Cr4Flags::OSFXSR
        | Cr4Flags::OSXMMEXCPT_ENABLE
        | Cr4Flags::MACHINE_CHECK_EXCEPTION;
    // Leaf 1, ECX bit 26: XSAVE.
    if cpu::cpuid(1, 0).ecx & (1 << 26) != 0 {
        wanted |= Cr4Flags::OSXSAVE;
    }
    // SAFETY: none of these changes how the code that runs is translated; write protection in
    // ring 0 is what the page tables are made for.
    unsafe {
        Cr4::update(|flags| flags.insert(wanted));
        Cr0::update(|flags| flags.insert(Cr0Flags::WRITE_PROTECT | Cr0Flags::NUMERIC_ERROR));
    }
}

/// Starts the CPUs with these APIC IDs, one after the other, as numbers 1, 2, ...; each runs `prepare` and then
/// `main`.
/// `low_page` is a free page below 1 MiB. Those that do not start are named in the log.
/// Returns how many run, this one included.
pub fn start_all(
    root: u64,
    low_page: u64,
    apic_ids: impl Iterator<Item = u32>,
    prepare: Prepare,
    main: Main,
) -> usize {
    MAIN.call_once(|| (prepare, main));
    // SAFETY: a word of the image's data, which only CPUs that start read.
    unsafe { AP_ROOT.store(root, Ordering::SeqCst) };
    let (from, to) = (&raw const TRAMPOLINE, &raw const TRAMPOLINE_END);
    let length = to.addr() - from.addr();
    let page = core::ptr::with_exposed_provenance_mut::<u8>((DIRECT_MAP + low_page) as usize);
    // SAFETY: the page is free RAM, and the trampoline is shorter than a page.
    unsafe { core::ptr::copy_nonoverlapping(from, page, length) };
    let mut running = 1;
    for apic_id in apic_ids {
        match start(running, apic_id, low_page) {
            Ok(()) => {
                running += 1;
                percpu::set_count(running);
            }
            Err(Absent::Here) => {}
            Err(Absent::Lost) => break,
        }
    }
    running
}

/// Why a CPU does not run.
enum Absent {
    /// It does not execute anything of ours, or has halted.
    Here,
    /// It may come back any time, and take what is meant for the next: so nobody comes after it.
    Lost,
}

fn start(index: usize, apic_id: u32, low_page: u64) -> Result<(), Absent> {
    let data = percpu::of(index).ok_or(Absent::Here)?;
    let Some(stacks) = stack::allocate(index) else {
        log::error!("CPU {index} (APIC ID {apic_id:#x}): no memory for its stacks");
        return Err(Absent::Here);
    };
    data.apic_id.store(apic_id, Ordering::Relaxed);
    *STACKS.lock() = Some(stacks);
    STARTING.store(index, Ordering::Relaxed);
    FAILED.store(false, Ordering::Relaxed);
    let over = || STARTING.load(Ordering::Acquire) == 0 || FAILED.load(Ordering::Acquire);
    let wait = |ns| {
        let end = timer::now_ns() + ns;
        while timer::now_ns() < end && !over() {
            cpu::pause();
        }
    };
    // SAFETY: a word of the image's data, which only the CPU being started reads and clears.
    unsafe { AP_STACK.store(stacks.main, Ordering::SeqCst) };
    lapic::send_init(apic_id);
    timer::busy_wait(10_000);
    let begin = timer::now_ns();
    for _ in 0..2 {
        lapic::send_startup(apic_id, low_page);
        let first = begin + 200_000 > timer::now_ns();
        wait(if first { 200_000 } else { PATIENCE });
        if over() {
            break;
        }
    }
    // If the stack is still there, nobody gets it who comes later; if not, what has it is code of ours.
    // SAFETY: as above.
    let taken = unsafe { AP_STACK.swap(0, Ordering::SeqCst) } == 0;
    if taken {
        wait(READY_PATIENCE);
    }
    let failed = FAILED.load(Ordering::Acquire);
    if STARTING.swap(0, Ordering::AcqRel) == 0 {
        return Ok(());
    }
    if taken && !failed {
        log::error!(
            "CPU {index} (APIC ID {apic_id:#x}) began to start and was not ready within 10 s: it is not used, and no further CPU is started"
        );
        return Err(Absent::Lost);
    }
    log::error!("CPU {index} (APIC ID {apic_id:#x}) did not start");
    Err(Absent::Here)
}

#[unsafe(no_mangle)]
extern "C" fn boot_ap_start() -> ! {
    let index = STARTING.load(Ordering::Relaxed);
    if index == 0 {
        crate::panic::halt();
    }
    // Not in the condition: its lock would be held for as long as the CPU runs.
    let stacks = STACKS.lock().take();
    if let (Some((prepare, main)), Some(stacks)) = (MAIN.get(), stacks) {
        enable_features();
        percpu::install(index);
        if descriptors::install(&stacks).is_some() {
            lapic::enable();
            timer::init_cpu();
            // One that was given up may come when the next is awaited.
            let awaited = percpu::this().apic_id.load(Ordering::Relaxed) == lapic::id();
            let ready = if awaited {
                prepare()
            } else {
                Err("another came")
            };
            match ready {
                Ok(()) => {
                    percpu::this().online.store(true, Ordering::Release);
                    let (was, now) = (Ordering::AcqRel, Ordering::Relaxed);
                    if STARTING.compare_exchange(index, 0, was, now).is_ok() {
                        main();
                    }
                    percpu::this().online.store(false, Ordering::Release);
                }
                Err(why) => log::error!("CPU {index}: {why}"),
            }
        }
    }
    FAILED.store(true, Ordering::Release);
    crate::panic::halt()
}
