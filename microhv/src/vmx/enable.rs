//! Turning VMX on.
#![allow(unsafe_code, reason = "registers of the CPU")]

use super::bitmaps::Bitmaps;
use super::capability::Capabilities;
use super::instructions;
use crate::arch::cpu;
use crate::ept::EPT;
use crate::mm::{frames, phys};
use crate::vcpu::backend;
use spin::Once;
use x86::msr::{IA32_FEATURE_CONTROL, IA32_VMX_CR0_FIXED0, IA32_VMX_CR4_FIXED0};

const CPUID_VMX: u32 = 1 << 5;
/// IA32_FEATURE_CONTROL: locked until reset; VMXON is allowed outside SMX.
const LOCKED: u64 = 1 << 0;
const VMXON_ALLOWED: u64 = 1 << 2;

static COMMON: Once<Result<(Capabilities, Bitmaps), &'static str>> = Once::new();

/// This CPU has VMX.
pub fn is_present() -> bool {
    cpu::cpuid(1, 0).ecx & CPUID_VMX != 0
}

/// Turns VMX on, on this CPU.
pub fn init() -> Result<(), &'static str> {
    const NO_MEMORY: &str = "no memory for the CPU's virtualisation state";
    let control = cpu::rdmsr(IA32_FEATURE_CONTROL);
    if control & (LOCKED | VMXON_ALLOWED) == LOCKED {
        return Err("the firmware has turned VMX off");
    }
    if control & LOCKED == 0 {
        cpu::wrmsr(IA32_FEATURE_CONTROL, control | LOCKED | VMXON_ALLOWED);
    }
    let (capabilities, _) = (*COMMON.call_once(|| {
        let capabilities = Capabilities::choose(cpu::rdmsr, backend::wants_apic_virtualisation())?;
        if capabilities.gigabyte_pages {
            EPT.allow_gigabyte_pages();
        }
        log::info!(
            "VMX: EPT (1 GiB pages: {}), VPID {}, unrestricted guest, APIC virtualisation {}; revision {:#x}",
            capabilities.gigabyte_pages,
            capabilities.has_vpid(),
            match (
                capabilities.delivers_interrupts(),
                capabilities.posts_interrupts(),
            ) {
                (false, _) => "off or absent",
                (true, false) => "on",
                (true, true) => "on with posted interrupts",
            },
            capabilities.revision
        );
        Ok((capabilities, Bitmaps::new(&capabilities).ok_or(NO_MEMORY)?))
    }))?;
    crate::speculation::cover();
    let region = frames::alloc_zeroed(0).ok_or(NO_MEMORY)?;
    phys::write_u32(region, 0, capabilities.revision);
    set_fixed_bits();
    // SAFETY: CR4.VMXE is set, and the frame is this CPU's for ever.
    if !unsafe { instructions::vmxon(region.address()) } {
        return Err("VMXON failed");
    }
    // Whatever firmware or a hypervisor before us left.
    instructions::invept(false, 0);
    crate::fpu::init();
    Ok(())
}

#[cfg(target_os = "none")]
fn set_fixed_bits() {
    use x86_64::registers::control::{Cr0, Cr4};
    let (cr0, cr4) = (
        cpu::rdmsr(IA32_VMX_CR0_FIXED0),
        cpu::rdmsr(IA32_VMX_CR4_FIXED0),
    );
    // SAFETY: paging and protection stay as they are; the rest is x87 error reporting and VMXE.
    unsafe {
        Cr0::write_raw(Cr0::read_raw() | cr0);
        Cr4::write_raw(Cr4::read_raw() | cr4);
    }
}

#[cfg(test)]
fn set_fixed_bits() {}

/// What [`init`] found, and the permission maps; `None` before.
pub fn common() -> Option<(Capabilities, Bitmaps)> {
    COMMON.get().copied().and_then(Result::ok)
}

/// Guests take over by themselves what is posted to them.
pub fn posts_interrupts() -> bool {
    common().is_some_and(|(capabilities, _)| capabilities.posts_interrupts())
}

/// What [`init`] does that needs no VMX.
#[cfg(test)]
pub fn prepare_for_tests() {
    COMMON.call_once(|| {
        let capabilities = Capabilities::choose(super::capability::tests::broadwell, true)?;
        Ok((
            capabilities,
            Bitmaps::new(&capabilities).ok_or("no memory")?,
        ))
    });
}
