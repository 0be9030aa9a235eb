//! A device that keeps faulting is quarantined: taken off the bus until its domain is destroyed, so that its faults cannot
//! keep a CPU busy. As in Xen, ten faults in short succession are too many. The domain gets all the device's interrupts
//! once, and finds bus mastering off in the command register.

use super::binding::{MAX_BINDINGS, on_interrupt};
use super::space::{Ports, Space, command, register};
use super::{DEVICES, Sbdf};
use crate::arch::timer;

const TOO_MANY: u8 = 10;
/// A pause that halves the count.
const PAUSE_NS: u64 = 10_000_000;

/// Faults of the devices that faulted last.
#[derive(Debug)]
pub struct Counts {
    list: heapless::Vec<Count, 32>,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    sbdf: Sbdf,
    last_ns: u64,
    count: u8,
}

impl Counts {
    /// No faults so far.
    pub const fn new() -> Self {
        Self {
            list: heapless::Vec::new(),
        }
    }

    /// Counts a fault at `now_ns`; true if it was one too many.
    fn add(&mut self, sbdf: Sbdf, now_ns: u64) -> bool {
        let count = match self.list.iter().position(|count| count.sbdf == sbdf) {
            Some(at) => &mut self.list[at],
            None => {
                if self.list.is_full() {
                    self.list.remove(0);
                }
                let at = self.list.len();
                let _ = self.list.push(Count {
                    sbdf,
                    last_ns: now_ns,
                    count: 0,
                });
                &mut self.list[at]
            }
        };
        if now_ns.saturating_sub(count.last_ns) > PAUSE_NS {
            count.count /= 2;
        }
        count.last_ns = now_ns;
        count.count += 1;
        if count.count >= TOO_MANY {
            count.count = 0;
            return true;
        }
        false
    }
}

/// The IOMMU stopped a request of `sbdf`. Called without locks held.
pub fn note_fault(sbdf: Sbdf) {
    for vector in count(sbdf, &Ports) {
        on_interrupt(vector);
    }
}

/// Counts a fault; after one too many, the vectors by which the device's domain is told.
fn count(sbdf: Sbdf, space: &dyn Space) -> heapless::Vec<u8, MAX_BINDINGS> {
    let mut guard = DEVICES.lock();
    let devices = &mut *guard;
    if !devices.faults.add(sbdf, timer::now_ns()) {
        return heapless::Vec::new();
    }
    if let Some(device) = devices.assigned.iter_mut().find(|one| one.sbdf == sbdf) {
        if !device.shadow.quarantine(space, sbdf) {
            return heapless::Vec::new(); // Faults from before that, told late.
        }
        let domain = device.domain;
        log::warn!(
            "PCI: {sbdf} keeps faulting: quarantined, it may not master the bus while {domain} has it; {domain} is told"
        );
        return device.bindings.vectors();
    }
    if devices.functions.find(sbdf).is_some() {
        let now = space.read16(sbdf, register::COMMAND);
        if now & command::BUS_MASTER != 0 {
            space.write16(sbdf, register::COMMAND, now & !command::BUS_MASTER);
            log::warn!("PCI: {sbdf} keeps faulting; it may not master the bus any more");
        }
    }
    heapless::Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: Sbdf = Sbdf::new(0, 3, 0);

    #[test]
    fn ten_faults_in_short_succession_are_too_many() {
        let mut counts = Counts::new();
        assert_eq!(
            (0..30)
                .filter(|ms| counts.add(DEVICE, ms * 1_000_000))
                .count(),
            3
        );
    }

    #[test]
    fn a_fault_now_and_then_is_not() {
        let mut counts = Counts::new();
        assert!(!(0..1000).any(|at| counts.add(DEVICE, at * 20_000_000)));
    }

    #[test]
    fn many_devices_are_counted_apart() {
        let mut counts = Counts::new();
        for at in 0..9 {
            for device in 0..40 {
                assert!(!counts.add(Sbdf(device), at));
            }
        }
    }
}
