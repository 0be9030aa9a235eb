//! A virtual CPU's whole state, for a log that is read after something went wrong.

use super::capability::Capabilities;
use super::{Vcpu, check};
use crate::vcpu::VirtualCpu;
use x86::vmx::vmcs::{control, guest, ro};

/// Logs everything, and the field that made the CPU refuse the entry, if one is to blame.
pub(super) fn dump(vcpu: &Vcpu, capabilities: &Capabilities) {
    vcpu.vmcs.with(|| log_state(vcpu, capabilities));
}

fn log_state(vcpu: &Vcpu, capabilities: &Capabilities) {
    let vmcs = &vcpu.vmcs;
    let read = |field| vmcs.read(field);
    if let Some(rule) = check::rejected(vmcs, capabilities.cr0_one, capabilities.cr4_one) {
        log::error!("vmcs: the CPU would refuse this state: {rule}");
    }
    log::error!(
        "vmcs: exit {:#x} qualification {:#x} gpa {:#x} interruption {:#x} vectoring {:#x} event {:#x} blocking {:#x} error {}",
        read(ro::EXIT_REASON),
        read(ro::EXIT_QUALIFICATION),
        read(ro::GUEST_PHYSICAL_ADDR_FULL),
        read(ro::VMEXIT_INTERRUPTION_INFO),
        read(ro::IDT_VECTORING_INFO),
        read(control::VMENTRY_INTERRUPTION_INFO_FIELD),
        read(guest::INTERRUPTIBILITY_STATE),
        read(ro::VM_INSTRUCTION_ERROR),
    );
    log::error!(
        "controls: pin {:#x} primary {:#x} secondary {:#x} exit {:#x} entry {:#x} eptp {:#x}",
        read(control::PINBASED_EXEC_CONTROLS),
        read(control::PRIMARY_PROCBASED_EXEC_CONTROLS),
        read(control::SECONDARY_PROCBASED_EXEC_CONTROLS),
        read(control::VMEXIT_CONTROLS),
        read(control::VMENTRY_CONTROLS),
        read(control::EPTP_FULL),
    );
    let state = vcpu.state();
    log::error!(
        "cr0 {:#x} cr2 {:#x} cr3 {:#x} cr4 {:#x} efer {:#x} dr7 {:#x}",
        read(guest::CR0),
        state.cr2,
        state.cr3,
        read(guest::CR4),
        state.efer,
        read(guest::DR7)
    );
    for (name, step) in ["es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"]
        .into_iter()
        .zip((0..).step_by(2))
    {
        log::error!(
            "{name:4} {:#06x} {:#07x} {:#010x} {:#x}",
            read(guest::ES_SELECTOR + step),
            read(guest::ES_ACCESS_RIGHTS + step),
            read(guest::ES_LIMIT + step),
            read(guest::ES_BASE + step)
        );
    }
    log::error!("{}", state.registers);
}
