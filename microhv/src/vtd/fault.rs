//! Faults taken from the units' records.

use super::unit::Unit;
use crate::iommu::fault::{self, report};
use crate::pci::Sbdf;
use spin::Mutex;

/// Reports the faults of a unit recorded so far; bounded work.
pub fn drain(unit: &Mutex<Unit>) {
    let segment = unit.lock().segment;
    fault::drain(unit, Unit::take_faults, |fault| {
        let sbdf = Sbdf::on(segment, fault.source_id);
        let request = if fault.is_interrupt() {
            "interrupt"
        } else {
            "DMAR"
        };
        report(sbdf, format_args!("VT-d: {request} fault: {sbdf} {fault}"));
    });
}
