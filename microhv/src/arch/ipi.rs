//! Interrupts from CPU to CPU.

use super::percpu;
use core::sync::atomic::Ordering;

/// Makes CPU `index` leave guest mode or wake up, with its `reschedule` flag set. One that does not
/// exist is ignored. To this CPU itself, the flag is set and the interrupt waits for the next
/// window.
pub fn kick(index: usize) {
    let Some(cpu) = percpu::of(index) else {
        return;
    };
    // One interrupt is enough until the flag has been seen.
    if !cpu.reschedule.swap(true, Ordering::AcqRel) {
        send(cpu, super::irq::RESCHEDULE);
    }
}

fn send(cpu: &percpu::PerCpu, vector: u8) {
    if cpu.online.load(Ordering::Acquire) {
        super::lapic::send_vector(cpu.apic_id.load(Ordering::Relaxed), vector);
    }
}

/// Tells CPU `index` that something was posted to the vCPU it has in guest mode, which stays there.
pub fn post(index: usize) {
    if let Some(cpu) = percpu::of(index) {
        send(cpu, super::irq::POSTED);
    }
}

/// Makes this CPU leave guest mode as soon as it enters it.
pub fn interrupt_this() {
    send(percpu::this(), super::irq::RESCHEDULE);
}

/// Installs the handlers of the interrupts between CPUs.
pub(crate) fn init() {
    // The sender has set the flag; the interrupt only has to arrive.
    super::irq::set_handler(super::irq::RESCHEDULE, |_| {});
    // It came outside guest mode: what was posted is taken over at the next entry.
    super::irq::set_handler(super::irq::POSTED, |_| {});
}
