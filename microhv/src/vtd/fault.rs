//! Faults: taken from the units' records, told in the log, and handed to whoever answers for the device.

use super::{debug, entries::Fault, instance, unit::FAULT_BATCH};
use crate::arch::{irq, percpu, timer};
use crate::pci::{self, Sbdf};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Lines a second.
const LINES: u32 = 10;
/// Batches handled per call: more wait for the next event.
const BATCHES: usize = 4;

static WINDOW_START: AtomicU64 = AtomicU64::new(0);
static WINDOW_LINES: AtomicU32 = AtomicU32::new(0);
static SUPPRESSED: AtomicU32 = AtomicU32::new(0);

/// Has the units signal faults by an interrupt to the CPU that calls this.
pub fn enable() {
    let Some(vector) = irq::alloc_vector() else {
        log::warn!("VT-d: no vector for fault events; faults are only seen when polled");
        return;
    };
    irq::set_handler(vector, |_| drain());
    let apic_id = percpu::this().apic_id.load(Ordering::Relaxed);
    let Ok(apic_id) = u8::try_from(apic_id) else {
        return;
    };
    for unit in instance().iter().flat_map(|vtd| &vtd.units) {
        unit.lock().set_fault_event(vector, apic_id);
    }
}

/// Reports all faults recorded so far; bounded work.
pub fn drain() {
    let Some(vtd) = instance() else { return };
    for unit in &vtd.units {
        for _ in 0..BATCHES {
            let mut faults = heapless::Vec::<Fault, FAULT_BATCH>::new();
            let (segment, lost) = {
                let mut unit = unit.lock();
                let lost = unit.take_faults(&mut faults);
                (unit.segment(), lost)
            };
            for fault in &faults {
                report(
                    Sbdf(u32::from(segment) << 16 | u32::from(fault.source_id)),
                    fault,
                );
            }
            if lost && may_log() {
                log::warn!("VT-d: further faults were not recorded");
            }
            if !faults.is_full() {
                break;
            }
        }
    }
}

fn report(sbdf: Sbdf, fault: &Fault) {
    let owner = pci::owner(sbdf);
    if debug() || may_log() {
        let reason = fault.reason_text();
        let code = fault.reason;
        let whose = Owner(owner);
        if fault.is_interrupt() {
            let index = fault.address >> 48;
            log::warn!(
                "VT-d: interrupt fault: {sbdf} index {index:#x} reason {code:02x}h ({reason}) ({whose})"
            );
        } else {
            let direction = if fault.write { "write to" } else { "read from" };
            let address = fault.address;
            log::warn!(
                "VT-d: DMAR fault: {sbdf} {direction} {address:#x} reason {code:02x}h ({reason}) ({whose})"
            );
        }
    }
    pci::note_fault(sbdf);
}

/// The domain a device belongs to, for log lines.
struct Owner(Option<crate::types::DomId>);

impl core::fmt::Display for Owner {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Some(domain) => write!(f, "{domain}"),
            None => f.write_str("no domain's"),
        }
    }
}

/// At most [`LINES`] a second; then one line that says how many were left out.
fn may_log() -> bool {
    let now = timer::now_ns();
    if now.wrapping_sub(WINDOW_START.load(Ordering::Relaxed)) > 1_000_000_000 {
        WINDOW_START.store(now, Ordering::Relaxed);
        WINDOW_LINES.store(0, Ordering::Relaxed);
        let suppressed = SUPPRESSED.swap(0, Ordering::Relaxed);
        if suppressed > 0 {
            log::warn!("VT-d: {suppressed} more faults before this");
        }
    }
    if WINDOW_LINES.fetch_add(1, Ordering::Relaxed) < LINES {
        return true;
    }
    SUPPRESSED.fetch_add(1, Ordering::Relaxed);
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_faults_is_a_few_lines() {
        timer::host_set_now(5_000_000_000);
        let lines = (0..1000).filter(|_| may_log()).count();
        assert_eq!(lines, LINES as usize);
        timer::host_set_now(7_000_000_000);
        assert!(may_log());
    }
}
