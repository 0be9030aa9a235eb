//! A device that keeps faulting is quarantined: taken off the bus until its domain is destroyed, so that its faults cannot
//! keep a CPU busy. As in Xen, ten faults in short succession are too many. The domain gets all the device's interrupts
//! once, and finds bus mastering off in the command register.

use super::binding::{MAX_BINDINGS, on_interrupt};
use super::space::{Ports, Space, command, register};
use super::{DEVICES, Sbdf};
use crate::arch::timer;

const TOO_MANY: u8 = 10;
/// A pause that halves the count. (Xen's 10 ms let a device that faults ten times a second fill the log for ever.)
const PAUSE_NS: u64 = 1_000_000_000;

/// A function's faults.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    last_ns: u64,
    count: u8,
}

impl Faults {
    /// Counts a fault at `now_ns`; true if it was one too many.
    fn add(&mut self, now_ns: u64) -> bool {
        if now_ns.saturating_sub(self.last_ns) > PAUSE_NS {
            self.count /= 2;
        }
        self.last_ns = now_ns;
        self.count = (self.count + 1) % TOO_MANY;
        self.count == 0
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
    let mut functions = devices.functions.list.iter_mut();
    let function = functions.find(|function| function.sbdf == sbdf);
    if !function.is_some_and(|function| function.faults.add(timer::now_ns())) {
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
    if stop_mastering(space, sbdf) {
        log::warn!("PCI: {sbdf} keeps faulting; it may not master the bus any more");
    }
    heapless::Vec::new()
}

/// Takes `sbdf`, which is nobody's, off the bus. False if it was off: its faults were told late.
fn stop_mastering(space: &dyn Space, sbdf: Sbdf) -> bool {
    let before = space.change16(sbdf, register::COMMAND, command::BUS_MASTER, 0);
    before & command::BUS_MASTER != 0
}

#[cfg(test)]
mod tests {
    use super::super::space::fake::{Fake, Function as Registers};
    use super::*;

    #[test]
    fn ten_faults_in_short_succession_are_too_many() {
        let mut faults = Faults::default();
        let too_many = (0..30).filter(|at| faults.add(at * 200_000_000));
        assert_eq!(too_many.count(), 3);
    }

    #[test]
    fn a_fault_now_and_then_is_not() {
        let mut faults = Faults::default();
        assert!(!(0..1000).any(|at| faults.add(at * 2_000_000_000)));
    }

    #[test]
    fn a_device_that_nobody_has_is_taken_off_the_bus_once() {
        let (space, sbdf) = (Fake::default(), Sbdf(0x10));
        let mut registers = Registers::new(0x1af4, 0x1041, 0x0200_0000);
        registers.put16(4, 0x6);
        space.add(sbdf, registers);
        assert!(stop_mastering(&space, sbdf));
        assert_eq!(space.read16(sbdf, register::COMMAND), 0x2);
        assert!(!stop_mastering(&space, sbdf), "faults that are told late");
    }
}
