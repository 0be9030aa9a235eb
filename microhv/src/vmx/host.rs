//! What an exit puts back into the CPU: the hypervisor's registers, as they are when a vCPU gets this CPU.
#![allow(unsafe_code, reason = "descriptor tables")]

use super::vmcs::Vmcs;
use crate::arch::cpu;
use x86::msr::{IA32_EFER, IA32_FS_BASE, IA32_GS_BASE, IA32_PAT};
use x86::vmx::vmcs::host;

/// Writes all host fields but RSP and RIP, which the entry code writes.
#[cfg(target_os = "none")]
pub fn write(vmcs: &Vmcs) {
    use x86_64::instructions::tables::{sgdt, sidt};
    use x86_64::registers::control::{Cr0, Cr3, Cr4};
    use x86_64::registers::segmentation::{CS, DS, ES, SS, Segment};
    let (cr3, flags) = Cr3::read_raw();
    let (gdtr, idtr) = (sgdt(), sidt());
    // SAFETY: reads the selector of the task register.
    let task: u16 = unsafe {
        let task;
        core::arch::asm!("str {:x}", out(reg) task, options(nomem, nostack, preserves_flags));
        task
    };
    for (field, value) in [
        (host::CR0, Cr0::read_raw()),
        (host::CR3, cr3.start_address().as_u64() | u64::from(flags)),
        (host::CR4, Cr4::read_raw()),
        (host::CS_SELECTOR, CS::get_reg().0.into()),
        (host::SS_SELECTOR, SS::get_reg().0.into()),
        (host::DS_SELECTOR, DS::get_reg().0.into()),
        (host::ES_SELECTOR, ES::get_reg().0.into()),
        (host::FS_SELECTOR, 0),
        (host::GS_SELECTOR, 0),
        (host::TR_SELECTOR, task.into()),
        (host::FS_BASE, cpu::rdmsr(IA32_FS_BASE)),
        (host::GS_BASE, cpu::rdmsr(IA32_GS_BASE)),
        (host::TR_BASE, task_base(gdtr.base.as_u64(), task)),
        (host::GDTR_BASE, gdtr.base.as_u64()),
        (host::IDTR_BASE, idtr.base.as_u64()),
        (host::IA32_SYSENTER_CS, 0),
        (host::IA32_SYSENTER_ESP, 0),
        (host::IA32_SYSENTER_EIP, 0),
        (host::IA32_PAT_FULL, cpu::rdmsr(IA32_PAT)),
        (host::IA32_EFER_FULL, cpu::rdmsr(IA32_EFER)),
    ] {
        vmcs.write(field, value);
    }
}

/// The base address in the 16-byte descriptor `selector` names.
#[cfg(target_os = "none")]
fn task_base(gdt: u64, selector: u16) -> u64 {
    let place =
        core::ptr::with_exposed_provenance::<u64>((gdt + u64::from(selector & !7)) as usize);
    // SAFETY: the CPU has loaded this descriptor of this table, so both words are there.
    let (low, high) = unsafe { (place.read(), place.add(1).read()) };
    base_of(low, high)
}

#[cfg(test)]
pub fn write(vmcs: &Vmcs) {
    vmcs.write(host::IA32_EFER_FULL, cpu::rdmsr(IA32_EFER));
}

const fn base_of(low: u64, high: u64) -> u64 {
    low >> 16 & 0xff_ffff | low >> 56 << 24 | high << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_descriptors_base_is_in_four_pieces() {
        assert_eq!(
            base_of(0x1200_8b34_5678_0067, 0xffff_8000),
            0xffff_8000_1234_5678
        );
    }
}
