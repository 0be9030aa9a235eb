//! Faults taken from the units' records.

use super::{Vtd, entries::Fault, unit::FAULT_BATCH};
use crate::iommu::fault::{report, tell};
use crate::pci::Sbdf;

/// Batches handled per call: more wait for the next event.
const BATCHES: usize = 4;

/// Reports all faults recorded so far; bounded work.
pub fn drain(vtd: &Vtd) {
    for unit in &vtd.units {
        for _ in 0..BATCHES {
            let mut faults = heapless::Vec::<Fault, FAULT_BATCH>::new();
            let (segment, lost) = {
                let mut unit = unit.lock();
                let lost = unit.take_faults(&mut faults);
                (unit.segment(), lost)
            };
            for fault in &faults {
                describe(
                    Sbdf(u32::from(segment) << 16 | u32::from(fault.source_id)),
                    fault,
                );
            }
            if lost {
                tell(format_args!("VT-d: further faults were not recorded"));
            }
            if !faults.is_full() {
                break;
            }
        }
    }
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
