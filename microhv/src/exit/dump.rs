//! A virtual CPU's whole state, for a log that is read after something went wrong.

use crate::vcpu::VirtualCpu;

/// Logs everything: what the vendor's backend knows of the last exit, then the state that every vCPU has.
pub fn dump(hw: &dyn VirtualCpu) {
    hw.dump();
    let state = hw.state();
    log::error!(
        "cr0 {:#x} cr2 {:#x} cr3 {:#x} cr4 {:#x} efer {:#x}",
        state.cr0,
        state.cr2,
        state.cr3,
        state.cr4,
        state.efer
    );
    let segments = state.segments;
    for (name, segment) in [
        ("cs", segments.cs),
        ("ds", segments.ds),
        ("es", segments.es),
        ("ss", segments.ss),
        ("fs", segments.fs),
        ("gs", segments.gs),
        ("tr", segments.tr),
        ("ldtr", segments.ldtr),
        ("gdtr", segments.gdtr),
        ("idtr", segments.idtr),
    ] {
        log::error!(
            "{name:4} {:#06x} {:#05x} {:#010x} {:#x}",
            segment.selector,
            segment.attributes,
            segment.limit,
            segment.base
        );
    }
    log::error!("{}", state.registers);
}
