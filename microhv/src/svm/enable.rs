//! Turning SVM on.
#![allow(unsafe_code, reason = "registers of the CPU")]

use super::asid::{Asid, Asids};
use super::bitmaps::Bitmaps;
use super::{entry, vmcb};
use crate::arch::{self, cpu};
use crate::mm::frames;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::{Mutex, Once};

const MSR_EFER: u32 = 0xc000_0080;
const MSR_VM_CR: u32 = 0xc001_0114;
const MSR_VM_HSAVE_PA: u32 = 0xc001_0117;
/// VM_CR.SVMDIS: firmware turned SVM off.
const SVMDIS: u64 = 1 << 4;

const CPUID_SVM_ECX: u32 = 1 << 2;
const CPUID_NP: u32 = 1 << 0;
const CPUID_NRIPS: u32 = 1 << 3;

static BITMAPS: Once<Option<Bitmaps>> = Once::new();
static NRIP_SAVE: Once<bool> = Once::new();

/// What one CPU needs of its own.
struct PerCpu {
    /// Physical address of the page with the host's VMSAVE state.
    host: AtomicU64,
    asids: Mutex<Asids>,
}

static CPUS: [PerCpu; arch::MAX_CPUS] = [const {
    PerCpu {
        host: AtomicU64::new(0),
        asids: Mutex::new(Asids::new(0)),
    }
}; arch::MAX_CPUS];

/// This CPU has SVM.
pub fn is_present() -> bool {
    cpu::cpuid(0x8000_0000, 0).eax >= 0x8000_000a
        && cpu::cpuid(0x8000_0001, 0).ecx & CPUID_SVM_ECX != 0
}

/// Turns SVM on, on this CPU, and saves the host's FS, GS and TR: they must be final.
pub fn init() -> Result<(), &'static str> {
    let features = cpu::cpuid(0x8000_000a, 0);
    if features.edx & CPUID_NP == 0 {
        return Err("this CPU's SVM has no nested paging (NPT)");
    }
    if cpu::rdmsr(MSR_VM_CR) & SVMDIS != 0 {
        return Err("the firmware has turned SVM off");
    }
    const NO_MEMORY: &str = "no memory for the CPU's virtualisation state";
    BITMAPS.call_once(Bitmaps::new).ok_or(NO_MEMORY)?;
    NRIP_SAVE.call_once(|| features.edx & CPUID_NRIPS != 0);
    let area = frames::alloc_zeroed(0).ok_or(NO_MEMORY)?;
    let host = frames::alloc_zeroed(0).ok_or(NO_MEMORY)?;
    cpu::wrmsr(MSR_EFER, cpu::rdmsr(MSR_EFER) | vmcb::EFER_SVME);
    cpu::wrmsr(MSR_VM_HSAVE_PA, area.address());
    // SAFETY: SVM is on since two lines ago and the frame is ours.
    unsafe { entry::vmsave(host.address()) };
    let this = &CPUS[arch::cpu_index()];
    this.host.store(host.address(), Ordering::Relaxed);
    *this.asids.lock() = Asids::new(features.ebx);
    crate::speculation::cover();
    crate::fpu::init();
    Ok(())
}

/// Physical address of this CPU's host state page; 0 before [`init`].
pub fn host_page() -> u64 {
    CPUS[arch::cpu_index()].host.load(Ordering::Relaxed)
}

/// The permission maps, once [`init`] succeeded.
pub fn bitmaps() -> Option<Bitmaps> {
    BITMAPS.get().copied().flatten()
}

/// The hardware stores the next instruction's address at an exit.
pub fn has_nrip_save() -> bool {
    NRIP_SAVE.get().copied().unwrap_or(false)
}

/// See [`Asids::renew`].
pub fn renew(held: &mut Asid) -> bool {
    let cpu = arch::cpu_index();
    CPUS[cpu].asids.lock().renew(held, cpu)
}

/// What [`init`] does that needs no SVM.
#[cfg(test)]
pub fn prepare_for_tests() {
    BITMAPS.call_once(Bitmaps::new);
}
