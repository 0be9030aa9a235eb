//! A virtual CPU's whole state, for a log that is read after something went wrong.

use super::vmcb::Vmcb;
use crate::vcpu::Registers;

/// Logs everything.
pub(super) fn dump(vmcb: &Vmcb, registers: &Registers) {
    log::error!(
        "vmcb: exit {:#x} info {:#x} {:#x} intinfo {:#x} eventinj {:#x} v_intr {:#x} shadow {:#x} asid {}",
        vmcb.exitcode,
        vmcb.exitinfo1,
        vmcb.exitinfo2,
        vmcb.exitintinfo,
        vmcb.eventinj,
        vmcb.v_intr,
        vmcb.interrupt_shadow,
        vmcb.guest_asid
    );
    log::error!(
        "cr0 {:#x} cr2 {:#x} cr3 {:#x} cr4 {:#x} efer {:#x} dr6 {:#x} dr7 {:#x} n_cr3 {:#x} cpl {}",
        vmcb.cr0,
        vmcb.cr2,
        vmcb.cr3,
        vmcb.cr4,
        vmcb.efer,
        vmcb.dr6,
        vmcb.dr7,
        vmcb.n_cr3,
        vmcb.cpl
    );
    for (name, segment) in [
        ("cs", vmcb.cs),
        ("ds", vmcb.ds),
        ("es", vmcb.es),
        ("ss", vmcb.ss),
        ("fs", vmcb.fs),
        ("gs", vmcb.gs),
        ("tr", vmcb.tr),
        ("ldtr", vmcb.ldtr),
        ("gdtr", vmcb.gdtr),
        ("idtr", vmcb.idtr),
    ] {
        log::error!(
            "{name:4} {:#06x} {:#05x} {:#010x} {:#x}",
            segment.selector,
            segment.attributes,
            segment.limit,
            segment.base
        );
    }
    log::error!("{registers}");
}
