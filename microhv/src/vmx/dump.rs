//! What the control structure says of an exit, for a log that is read after something went wrong.

use super::{Vcpu, check, decode};
use x86::vmx::vmcs::{control, guest, ro};

/// Logs it, and the field that made the CPU refuse the entry if it did.
pub(super) fn dump(vcpu: &Vcpu) {
    vcpu.vmcs.with(|| log_state(vcpu));
}

fn log_state(vcpu: &Vcpu) {
    let vmcs = &vcpu.vmcs;
    let read = |field| vmcs.read(field);
    if read(ro::EXIT_REASON) as u32 & decode::ENTRY_FAILED != 0 {
        let rule = check::rejected(vmcs, &check::Limits::read());
        let (register, rule) = rule.unwrap_or(("", "every check of ours passes"));
        log::error!("vmcs: the CPU refused the entry: {register}{rule}");
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
        "controls: pin {:#x} primary {:#x} secondary {:#x} exit {:#x} entry {:#x} eptp {:#x} cr0 {:#x} cr4 {:#x} dr7 {:#x}",
        read(control::PINBASED_EXEC_CONTROLS),
        read(control::PRIMARY_PROCBASED_EXEC_CONTROLS),
        read(control::SECONDARY_PROCBASED_EXEC_CONTROLS),
        read(control::VMEXIT_CONTROLS),
        read(control::VMENTRY_CONTROLS),
        read(control::EPTP_FULL),
        read(guest::CR0),
        read(guest::CR4),
        read(guest::DR7),
    );
}
