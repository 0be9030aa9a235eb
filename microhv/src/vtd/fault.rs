//! Faults taken from the units' records.

use super::{entries::Fault, unit::Unit};
use crate::iommu::fault::{self, report};
use crate::pci::Sbdf;
use spin::Mutex;

/// Reports the faults of a unit recorded so far; bounded work.
pub fn drain(unit: &Mutex<Unit>) {
    let segment = u32::from(unit.lock().segment) << 16;
    fault::drain(unit, Unit::take_faults, |fault| {
        describe(Sbdf(segment | u32::from(fault.source_id)), fault);
    });
}

fn describe(sbdf: Sbdf, fault: &Fault) {
    let (code, reason) = (fault.reason, fault.reason_text());
    if fault.is_interrupt() {
        let index = fault.address >> 48;
        report(
            sbdf,
            format_args!(
                "VT-d: interrupt fault: {sbdf} index {index:#x} reason {code:02x}h ({reason})"
            ),
        );
    } else {
        let direction = if fault.write { "write to" } else { "read from" };
        let address = fault.address;
        report(
            sbdf,
            format_args!(
                "VT-d: DMAR fault: {sbdf} {direction} {address:#x} reason {code:02x}h ({reason})"
            ),
        );
    }
}
