//! Starts the other CPUs (Intel SDM volume 3, 8.4.4).
#![allow(unsafe_code, reason = "writes what a starting CPU executes")]

use super::{cpu, descriptors, lapic, percpu, stack, timer};
use crate::mm::DIRECT_MAP;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use spin::Once;

/// How long a CPU may take to start, in ns.
const PATIENCE: u64 = 1_000_000_000;

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
        if start(running, apic_id, low_page) {
            running += 1;
            percpu::set_count(running);
        }
    }
    running
}

fn start(index: usize, apic_id: u32, low_page: u64) -> bool {
    let Some(data) = percpu::of(index) else {
        return false;
    };
    let Some(stacks) = stack::allocate(index) else {
        log::error!("CPU {index} (APIC ID {apic_id:#x}): no memory for its stacks");
        return false;
    };
    data.apic_id.store(apic_id, Ordering::Relaxed);
    *STACKS.lock() = Some(stacks);
    STARTING.store(index, Ordering::Relaxed);
    FAILED.store(false, Ordering::Relaxed);
    let over = || data.online.load(Ordering::Acquire) || FAILED.load(Ordering::Acquire);
    // SAFETY: a word of the image's data, which only the CPU being started reads and clears.
    unsafe { AP_STACK.store(stacks.main, Ordering::SeqCst) };
    lapic::send_init(apic_id);
    timer::busy_wait(10_000);
    let begin = timer::now_ns();
    for _ in 0..2 {
        lapic::send_startup(apic_id, low_page);
        let wait = if begin + 200_000 > timer::now_ns() {
            200_000
        } else {
            PATIENCE
        };
        let end = timer::now_ns() + wait;
        while timer::now_ns() < end && !over() {
            cpu::pause();
        }
        if over() {
            break;
        }
    }
    // If the stack is still there, nobody gets it who comes later; if not, what has it is code of ours, which ends.
    // SAFETY: as above.
    if unsafe { AP_STACK.swap(0, Ordering::SeqCst) } == 0 {
        while !over() {
            cpu::pause();
        }
    }
    let online = data.online.load(Ordering::Acquire);
    if !online {
        log::error!("CPU {index} (APIC ID {apic_id:#x}) did not start");
    }
    online
}

#[unsafe(no_mangle)]
extern "C" fn boot_ap_start() -> ! {
    let index = STARTING.load(Ordering::Relaxed);
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
                    main();
                }
                Err(why) => log::error!("CPU {index}: {why}"),
            }
        }
    }
    FAILED.store(true, Ordering::Release);
    crate::panic::halt()
}
