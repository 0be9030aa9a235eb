//! What a guest could learn, or make the hypervisor do, by what a CPU does ahead of time: Spectre v2, L1TF, MDS and their
//! kin; and how it could stop the machine by what a CPU remembers of pages. Decided once at boot, from what the first CPU says; docs/speculation.md has the reasons.
#![allow(unsafe_code, reason = "one instruction")]

mod features;
mod measures;

use crate::arch::cpu;
use config::xen_cmdline::SpecCtrl;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use features::Features;
use measures::{MSR_PRED_CMD, MSR_SPEC_CTRL, Measures, PRED_CMD_IBPB};
use spin::Once;

const MSR_ARCH_CAPABILITIES: u32 = 0x10a;
const MSR_FLUSH_CMD: u32 = 0x10b;
const L1D_FLUSH: u64 = 1 << 0;
const MSR_TSX_CTRL: u32 = 0x122;
const RTM_DISABLE_CPUID_CLEAR: u64 = 3;
const MSR_EFER: u32 = 0xc000_0080;
const EFER_AIBRSE: u64 = 1 << 21;

static COVERED: AtomicBool = AtomicBool::new(false);
static MEASURES: Once<Measures> = Once::new();

/// For the assembly: whether to do anything at exits, the register and the value then, and those at entries.
pub static SWITCH: [AtomicU32; 5] = [const { AtomicU32::new(0) }; 5];

/// Assembly for the way out of a guest, before the first return or indirect branch. Needs 256 bytes of stack and
/// `switch = sym speculation::SWITCH`; changes rax, rcx, rdx, flags.
///
/// The return stack gets 32 entries that lead to traps. LFENCE, because the jump over all of it may be foretold wrongly.
macro_rules! after_exit {
    () => {
        "cmp dword ptr [rip + {switch}], 0; je 63f; mov ecx, 16; mov rax, rsp
         60: call 61f; int3
         61: call 62f; int3
         62: dec ecx; jnz 60b; mov rsp, rax
         mov ecx, dword ptr [rip + {switch} + 4]; jrcxz 63f
         mov eax, dword ptr [rip + {switch} + 8]; xor edx, edx; wrmsr
         63: lfence"
    };
}

/// Assembly for the way into a guest, behind the last return or indirect branch. Needs `switch` and changes registers as
/// [`after_exit`].
macro_rules! before_entry {
    () => {
        "mov ecx, dword ptr [rip + {switch} + 12]; jrcxz 64f
         mov eax, dword ptr [rip + {switch} + 16]; xor edx, edx; wrmsr
         64:"
    };
}

pub(crate) use {after_exit, before_entry};

/// Said by a backend whose way into guests has [`before_entry`] and whose way out [`after_exit`], before [`init`].
pub fn cover() {
    COVERED.store(true, Ordering::Relaxed);
}

/// Decides and says so, once; `threads`: some CPUs are threads of one core. True: domains' code is to run in small pages.
pub fn init(wish: &SpecCtrl, threads: bool) -> bool {
    let features = Features::new(&cpu::cpuid, || cpu::rdmsr(MSR_ARCH_CAPABILITIES));
    let decide = || measures::decide(&features, wish, COVERED.load(Ordering::Relaxed));
    let measures = MEASURES.call_once(decide);
    let ((exit, value), entry) = (measures.at_exit, measures.at_entry);
    let any = (measures.rsb || exit != 0).into();
    for (place, word) in SWITCH.iter().zip([any, exit, value, entry.0, entry.1]) {
        place.store(word, Ordering::Relaxed);
    }
    log::info!("Speculative mitigation facilities:{features}");
    // A hypervisor below may well do what it does not let us see.
    let warn = measures.is_open() && !features.has(&features::VIRTUALISED);
    let level = [log::Level::Info, log::Level::Warn][usize::from(warn)];
    log::log!(level, "  Support for HVM VMs:{measures}");
    if threads {
        log::warn!(
            "CPUs are threads of one core: what runs beside a domain may read what it uses, which none of this prevents. \
             Turn SMT off in the firmware"
        );
    }
    measures.small_code
}

/// Whether some of these CPUs are threads of one core.
pub fn share_cores(
    cpuid: impl Fn(u32, u32) -> cpu::CpuidResult,
    mut apic_ids: impl Iterator<Item = u32>,
) -> bool {
    const TOPOLOGY: u32 = 0xb;
    const OF_THREADS: u32 = 1;
    let level = cpuid(TOPOLOGY, 0);
    // The first level may be of something else, or a number for threads that are not there: Bochs.
    let threads = level.ecx >> 8 & 0xff == OF_THREADS && level.ebx & 0xffff > 1;
    let there = cpuid(0, 0).eax >= TOPOLOGY && threads;
    let shift = u32::from(there) * (level.eax & 31);
    apic_ids.any(|id| id & ((1 << shift) - 1) != 0)
}

/// What each CPU sets once, for itself, behind [`init`].
pub fn enable() {
    let Some(measures) = MEASURES.get() else {
        return;
    };
    if let Some(value) = measures.spec_ctrl {
        cpu::wrmsr(MSR_SPEC_CTRL, value.into());
    }
    for (wanted, msr, bits) in [
        (measures.auto_ibrs, MSR_EFER, EFER_AIBRSE),
        (measures.tsx_off, MSR_TSX_CTRL, RTM_DISABLE_CPUID_CLEAR),
    ] {
        if wanted {
            cpu::wrmsr(msr, cpu::rdmsr(msr) | bits);
        }
    }
}

/// This CPU gets another vCPU. Xen's rule, which is stricter than a barrier where the domain changes: a guest that moves
/// between CPUs could not keep its own processes apart otherwise.
pub fn change_vcpu() {
    if MEASURES.get().is_some_and(|measures| measures.ibpb) {
        cpu::wrmsr(MSR_PRED_CMD, PRED_CMD_IBPB.into());
    }
}

/// Right before the backend's entry. What the backend still touches is this vCPU's own registers and control structure,
/// and no other domain's memory or secrets: that may stay in the cache and in buffers.
pub fn clear_buffers() {
    let Some(measures) = MEASURES.get() else {
        return;
    };
    if measures.l1d_flush {
        cpu::wrmsr(MSR_FLUSH_CMD, L1D_FLUSH);
    }
    #[cfg(target_os = "none")]
    if measures.verw {
        // The data segment of `arch::descriptors`. The instruction's form with a register overwrites nothing.
        static DATA_SELECTOR: u16 = 0x10;
        // SAFETY: reads the selector and the descriptor and changes ZF.
        unsafe {
            core::arch::asm!("verw word ptr [{}]", in(reg) &raw const DATA_SELECTOR, options(nostack, readonly))
        };
    }
}

/// The names of what is there, each with a space before it, or `nothing`.
fn list(
    f: &mut fmt::Formatter<'_>,
    nothing: &str,
    items: impl Iterator<Item = (&'static str, bool)>,
) -> fmt::Result {
    let mut any = false;
    for (name, _) in items.filter(|item| item.1) {
        any = true;
        write!(f, " {name}")?;
    }
    if any { Ok(()) } else { write!(f, " {nothing}") }
}

#[cfg(test)]
mod log_tests;
#[cfg(test)]
mod tests;
