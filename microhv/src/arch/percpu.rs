//! What each CPU has of its own.
#![allow(unsafe_code, reason = "found through the GS base")]

use super::MAX_CPUS;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// One CPU's data. Found through the GS base, so whoever runs a guest with a GS of its own puts
/// the host's back before anything else.
#[repr(C)]
#[derive(Debug)]
pub struct PerCpu {
    /// Points to this structure: what `gs:[0]` reads. Assembly relies on its place.
    this: AtomicUsize,
    /// The CPU's number.
    pub index: usize,
    /// The physical ID of the CPU's local APIC.
    pub apic_id: AtomicU32,
    /// Set by the RESCHEDULE interrupt; the scheduler clears it.
    pub reschedule: AtomicBool,
    /// Set when this CPU's deadline passed; the scheduler clears it.
    pub timer_fired: AtomicBool,
    /// This CPU's deadline in ns, all ones if there is none.
    pub(super) deadline: AtomicU64,
    /// Whether the CPU runs.
    pub online: AtomicBool,
}

static CPUS: [PerCpu; MAX_CPUS] = {
    let mut cpus = [const {
        PerCpu {
            this: AtomicUsize::new(0),
            index: 0,
            apic_id: AtomicU32::new(0),
            reschedule: AtomicBool::new(false),
            timer_fired: AtomicBool::new(false),
            deadline: AtomicU64::new(u64::MAX),
            online: AtomicBool::new(false),
        }
    }; MAX_CPUS];
    let mut i = 0;
    while i < MAX_CPUS {
        cpus[i].index = i;
        i += 1;
    }
    cpus
};

static COUNT: AtomicUsize = AtomicUsize::new(1);

/// This CPU's data.
#[cfg(target_os = "none")]
pub fn this() -> &'static PerCpu {
    let place: *const PerCpu;
    // SAFETY: `install` has put the GS base of every CPU at its element of CPUS before anything
    // else runs there, and that element's first field points to itself.
    unsafe {
        core::arch::asm!("mov {}, gs:[0]", out(reg) place, options(nostack, preserves_flags, readonly, pure));
        &*place
    }
}

/// This CPU's data: on the host always the first one's.
#[cfg(test)]
pub fn this() -> &'static PerCpu {
    &CPUS[0]
}

/// The data of CPU `index`.
pub fn of(index: usize) -> Option<&'static PerCpu> {
    CPUS.get(index)
}

/// How many CPUs run.
pub fn count() -> usize {
    COUNT.load(Ordering::Relaxed)
}

pub(crate) fn set_count(count: usize) {
    COUNT.store(count, Ordering::Relaxed);
}

/// Makes `index` the number of the CPU that calls this. It is not yet `online`.
pub(crate) fn install(index: usize) {
    let cpu = &CPUS[index];
    let place = core::ptr::from_ref(cpu).expose_provenance();
    cpu.this.store(place, Ordering::Relaxed);
    super::cpu::wrmsr(MSR_GS_BASE, place as u64);
}

/// Intel SDM volume 4, IA32_GS_BASE.
const MSR_GS_BASE: u32 = 0xc000_0101;
