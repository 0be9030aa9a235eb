//! What each CPU does for ever: pick a vCPU, run it until something better waits, or sleep.

use core::sync::atomic::Ordering;

use super::entity::State;
use super::{PREEMPT_NS, SLICE_NS, enqueue, queue, runstate};
use crate::arch;
use crate::domain::{self, Vcpu};
use crate::exit::{self, After};
use crate::mm::PageArc;
use crate::speculation;
use crate::timers;
use crate::vcpu::VcpuRun;

/// Runs vCPUs on this CPU.
pub fn run() -> ! {
    let cpu = arch::cpu_index();
    loop {
        timers::service(cpu);
        match queue::pop(cpu) {
            Some(vcpu) => run_vcpu(cpu, &vcpu),
            None => sleep(cpu),
        }
    }
}

/// Sleeps until an interrupt; what was queued in the meantime is not overslept, because interrupts are off until `hlt`.
fn sleep(cpu: usize) {
    queue::set_idle(cpu, true);
    // Whoever kicks this CPU sends an interrupt only if the flag was clear: clear it, then look, then sleep.
    arch::percpu::this()
        .reschedule
        .store(false, Ordering::SeqCst);
    if queue::first_time(cpu).is_none() {
        arch::timer::set_deadline(timers::next_deadline(cpu));
        arch::cpu::halt_once();
    }
    queue::set_idle(cpu, false);
}

/// Runs `vcpu` until it waits, is stopped, or another should run.
fn run_vcpu(cpu: usize, vcpu: &PageArc<Vcpu>) {
    let (start_virtual, start) = {
        let mut inner = vcpu.sched.lock();
        inner.state = State::Running(cpu);
        inner.last_cpu = cpu;
        (inner.virtual_time, arch::timer::now_ns())
    };
    queue::advance_minimum(cpu, start_virtual);
    vcpu.runstate.change(vcpu, runstate::RUNNING);
    {
        let mut run = vcpu.run_state();
        run.load();
        guest_loop(cpu, vcpu, &mut run, start, start_virtual);
        run.save();
    }
    let state = if !vcpu.sched.is_online() {
        runstate::OFFLINE
    } else if vcpu.sched.is_waiting() {
        runstate::BLOCKED
    } else {
        runstate::RUNNABLE
    };
    // While it is still ours: as soon as it is idle, another CPU may take it and say that it runs.
    vcpu.runstate.change(vcpu, state);
    let ran = arch::timer::now_ns().saturating_sub(start);
    let weight = u64::from(vcpu.domain.weight.load(Ordering::Relaxed).max(1));
    {
        let mut inner = vcpu.sched.lock();
        inner.state = State::Idle;
        inner.cpu_time += ran;
        inner.virtual_time += ran * 256 / weight;
        queue::advance_minimum(cpu, inner.virtual_time.min(start_virtual + ran));
    }
    if !vcpu.sched.is_waiting() || vcpu.sched.is_notified() {
        enqueue(vcpu, false);
    }
}

/// Enters the guest again and again.
fn guest_loop(cpu: usize, vcpu: &PageArc<Vcpu>, run: &mut VcpuRun, start: u64, start_virtual: u64) {
    let this = arch::percpu::this();
    let mut rearm = true;
    loop {
        if this.timer_fired.swap(false, Ordering::SeqCst) {
            timers::service(cpu);
            rearm = true;
        }
        if this.reschedule.swap(false, Ordering::SeqCst) {
            rearm = true;
        }
        rearm |= timers::take_changed(cpu);
        if vcpu.domain.is_stopped() {
            return;
        }
        if rearm {
            rearm = false;
            let mut deadline = timers::next_deadline(cpu);
            if let Some(waiting) = queue::first_time(cpu) {
                let now = arch::timer::now_ns();
                let mine = start_virtual + (now - start);
                if waiting + PREEMPT_NS < mine || now - start >= SLICE_NS {
                    return;
                }
                let end = start + SLICE_NS;
                deadline = Some(deadline.map_or(end, |timer| timer.min(end)));
            }
            arch::timer::set_deadline(deadline);
        }
        match enter(vcpu, run) {
            After::Resume => {}
            // One that is offline goes whoever calls: somebody may wait for its state, with interrupts off.
            After::Block => {
                if run.offline || !vcpu.sched.is_notified() {
                    return;
                }
            }
            After::Yield => {
                if queue::first_time(cpu).is_some() {
                    return;
                }
            }
            After::Crash(reason) => {
                crash(vcpu, reason);
                return;
            }
        }
    }
}

/// Enters the guest once, if the vCPU has anything to do there. `Block`: it has not.
fn enter(vcpu: &PageArc<Vcpu>, run: &mut VcpuRun) -> After {
    vcpu.sched.begin_look();
    if !vcpu.wait_is_over() {
        vcpu.sched.set_waiting(true);
        return After::Block;
    }
    // From here on a flush of the address space waits for this vCPU, until it leaves guest mode.
    vcpu.in_guest.store(true, Ordering::SeqCst);
    let ready = exit::prepare(vcpu, run);
    vcpu.sched.set_online(!run.offline);
    vcpu.sched.set_waiting(ready == After::Block);
    if ready != After::Resume {
        vcpu.in_guest.store(false, Ordering::SeqCst);
        return ready;
    }
    if vcpu.down.load(Ordering::Relaxed) {
        vcpu.down.store(false, Ordering::SeqCst);
    }
    // Whoever finds the flag set sends no interrupt: what set it since the last look would be seen at the next exit
    // only, and others' kicks as well.
    let this = arch::percpu::this();
    if this.reschedule.load(Ordering::SeqCst) || this.timer_fired.load(Ordering::SeqCst) {
        arch::ipi::interrupt_this();
    }
    speculation::clear_buffers();
    let exit = run.hw.run();
    vcpu.in_guest.store(false, Ordering::SeqCst);
    match exit::handle(vcpu, run, exit) {
        // Whether it really has to wait is found out by looking again.
        After::Block => After::Resume,
        other => other,
    }
}

/// The vCPU's domain cannot go on.
fn crash(vcpu: &Vcpu, reason: &str) {
    log::error!("{} vCPU {}: {reason}", *vcpu.domain, vcpu.id);
    domain::shut_down(&vcpu.domain, xen_abi::sched::SHUTDOWN_CRASH);
}
