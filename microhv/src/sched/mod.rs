//! Which vCPU runs where: one run queue a CPU, fair by weighted run time, with preference for those that wake.
//!
//! A vCPU is idle (not queued), queued on one CPU, or running on one. Everything that may give it something to do
//! sets that first (a pending event, a signal, an unpause) and then calls [`Vcpu::kick`]. A running vCPU that finds nothing
//! to do looks once more if it was kicked while it looked. So no reason is lost, in whatever order they meet; a kick
//! without a reason costs one look.

mod entity;
mod queue;
mod run;
mod runstate;

use core::sync::atomic::Ordering;

pub use entity::Entity;
pub use run::run;
pub use runstate::{RunState, Times};

use crate::arch;
use crate::domain::{self, Vcpu};
use crate::vcpu::backend;
use entity::State;

/// A vCPU runs at least this long before a fairer choice replaces it, and at most this long while others wait (ns).
pub const SLICE_NS: u64 = 5_000_000;
/// A waking vCPU may be this much (ns of weighted run time) ahead of those that never slept.
const WAKE_BONUS_NS: u64 = 3_000_000;
/// A vCPU that comes from a CPU whose time is ahead may be this much (ns) behind those of the CPU it comes to.
const LAG_NS: u64 = 20_000_000;
/// A waking vCPU replaces the running one only if it is ahead by more than this (ns).
const PREEMPT_NS: u64 = 500_000;

impl Vcpu {
    /// Makes the vCPU look at its events, signals and pauses soon: wakes it if it waits, makes it leave guest mode if it
    /// runs.
    pub fn kick(&self) {
        self.sched.notify();
        enqueue(self, false);
    }

    /// The same for an interrupt posted to its local APIC, for which it need not leave guest mode if the hardware sees it
    /// there.
    pub fn kick_for_interrupt(&self) {
        self.sched.notify();
        enqueue(self, true);
    }
}

/// Queues `vcpu` if it is idle and nothing holds it back; makes it leave guest mode if it runs elsewhere, unless it is
/// only to see what was `posted`.
fn enqueue(vcpu: &Vcpu, posted: bool) {
    let mut inner = vcpu.sched.lock();
    match inner.state {
        State::Running(cpu) => {
            drop(inner);
            if cpu == arch::cpu_index() {
                return;
            }
            // Between the flag and guest mode interrupts are off, and what was posted is taken over once more.
            let in_guest = vcpu.in_guest.load(Ordering::SeqCst);
            if posted && in_guest && (backend::chosen().posts_interrupts)() {
                arch::ipi::post(cpu);
                let posted = &vcpu.domain.interrupts_posted;
                posted.fetch_add(1, Ordering::Relaxed);
            } else {
                arch::ipi::kick(cpu);
            }
        }
        State::Queued(_) => {}
        State::Idle => {
            if vcpu.domain.is_stopped() {
                return;
            }
            let Some(handle) = domain::find(vcpu.domain.id).and_then(|d| d.vcpu(vcpu.id)) else {
                return; // Being destroyed.
            };
            let cpu = queue::choose(inner.last_cpu, vcpu.sched.affinity());
            inner.virtual_time = place_near(inner.virtual_time, queue::minimum(cpu));
            inner.state = State::Queued(cpu);
            inner.last_cpu = cpu;
            // Before another CPU can take it from the queue and say that it runs.
            vcpu.runstate.change(vcpu, runstate::RUNNABLE);
            if !queue::push(cpu, inner.virtual_time, handle) {
                inner.state = State::Idle;
                log::error!(
                    "run queue of CPU {cpu} is full: {} vCPU {} waits",
                    vcpu.domain.id,
                    vcpu.id
                );
                return;
            }
            drop(inner);
            if cpu == arch::cpu_index() {
                arch::percpu::this()
                    .reschedule
                    .store(true, Ordering::SeqCst);
            } else {
                arch::ipi::kick(cpu);
            }
        }
    }
}

/// The virtual time with which a vCPU that is queued starts on a CPU with the yardstick `minimum`. Each CPU's time goes
/// on its own: without the upper bound a vCPU that comes from a busy CPU would wait until the other has caught up.
fn place_near(virtual_time: u64, minimum: u64) -> u64 {
    virtual_time.clamp(
        minimum.saturating_sub(WAKE_BONUS_NS),
        minimum.saturating_add(LAG_NS),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vcpu_starts_near_the_time_of_its_cpu() {
        let now = 1_000_000_000;
        assert_eq!(place_near(0, now), now - WAKE_BONUS_NS, "slept for long");
        assert_eq!(
            place_near(u64::MAX, now),
            now + LAG_NS,
            "comes from a busy CPU"
        );
        assert_eq!(place_near(now + 1, now), now + 1);
        assert_eq!(place_near(5, 0), 5);
    }
}
