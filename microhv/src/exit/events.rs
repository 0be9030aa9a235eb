//! Interrupts on their way into the guest, and from one vCPU to another.

use super::After;
use crate::arch::timer;
use crate::domain::Vcpu;
use crate::vcpu::{CpuState, Event, VcpuRun, Window};
use crate::vlapic::{Command, Delivery, VLapic};

/// Gets `run` ready to enter: translation flushes, local APIC timer, INIT and start-up IPIs, pending
/// interrupts. `Block`: nothing to do until it is notified.
pub fn prepare(vcpu: &Vcpu, run: &mut VcpuRun) -> After {
    let apic = &vcpu.vlapic;
    if vcpu.take_flush() {
        run.hw.flush_tlb();
    }
    if !take_start(vcpu, run) {
        return After::Block;
    }
    if apic.deadline().is_some() {
        apic.tick(timer::now_ns());
    }
    apic.take_posted();
    deliver(vcpu, apic, run);
    if run.halted {
        return After::Block;
    }
    run.hw.load_apic(apic);
    After::Resume
}

/// INIT and start-up IPIs. False: the vCPU is offline.
fn take_start(vcpu: &Vcpu, run: &mut VcpuRun) -> bool {
    let apic = &vcpu.vlapic;
    if apic.take_init() {
        apic.reset();
        vcpu.post_upcall();
        run.offline = true;
    }
    match (
        apic.startup_pending()
            .then(|| apic.take_startup())
            .flatten(),
        run.offline,
    ) {
        (Some(vector), true) => {
            run.start(&CpuState::startup(vector));
            true
        }
        // The second start-up IPI that kernels send finds the vCPU running and is lost, as on hardware.
        (_, offline) => !offline,
    }
}

/// Queues the most urgent event that the guest can take, and asks for a window if one has to wait.
fn deliver(vcpu: &Vcpu, apic: &VLapic, run: &mut VcpuRun) {
    let hw = &mut *run.hw;
    if hw.has_event() {
        run.halted = false;
    }
    if apic.nmi_pending() {
        if !hw.can_nmi() {
            hw.request_nmi_window();
        } else if apic.take_nmi() {
            hw.inject(Event::Nmi);
            run.halted = false;
        }
    }
    let upcall = vcpu.upcall_vector();
    let by_hardware = hw.delivers_interrupts();
    let mut waiting = apic.pending();
    if by_hardware && waiting.is_some() {
        if hw.can_interrupt() {
            run.halted = false;
        }
        waiting = None;
    }
    if upcall.is_none() && waiting.is_none() {
        // What only CR8 holds back comes when the guest lowers it, which it does without an exit.
        let held = !by_hardware && apic.is_held_by_priority();
        hw.request_interrupt_window(if held { Window::Priority } else { Window::None });
        return;
    }
    if !hw.can_interrupt() {
        hw.request_interrupt_window(Window::Open);
        return;
    }
    run.halted = false;
    if let Some(vector) = upcall {
        // Not level-triggered towards the local APIC: the guest clears the pending flag itself. If it is set
        // again while the handler runs, whoever sets it notifies.
        hw.inject(Event::Interrupt(vector));
    } else if let Some(vector) = waiting {
        apic.accept(vector);
        hw.inject(Event::Interrupt(vector));
        waiting = apic.pending();
    }
    hw.request_interrupt_window(waiting.map_or(Window::None, |_| Window::Open));
}

/// True when [`prepare`] would not answer `Block`. The scheduler asks after it marked the vCPU as blocked, so
/// that an event that came in between is not lost.
pub fn has_work(vcpu: &Vcpu, run: &VcpuRun) -> bool {
    let apic = &vcpu.vlapic;
    if run.offline {
        return apic.startup_pending();
    }
    if !run.halted || run.hw.has_event() || apic.init_pending() {
        return true;
    }
    if apic.nmi_pending() && run.hw.can_nmi() {
        return true;
    }
    let due = apic
        .deadline()
        .is_some_and(|deadline| deadline <= timer::now_ns());
    run.hw.can_interrupt() && (due || apic.pending().is_some() || vcpu.upcall_vector().is_some())
}

/// Sends an inter-processor interrupt within the domain.
pub(super) fn send(sender: &Vcpu, command: &Command) {
    sender.domain.for_each_vcpu(|vcpu| {
        let own = vcpu.id == sender.id;
        let given = !(own && command.except_self) && command.give(&vcpu.vlapic);
        if own || !given {
            return;
        }
        match command.delivery {
            Delivery::Fixed(_) => vcpu.kick_for_interrupt(),
            _ => vcpu.kick(),
        }
    });
}
