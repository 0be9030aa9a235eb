//! The run queues: who waits for which CPU.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use spin::Mutex;

use crate::arch::{self, EachCpu};
use crate::domain::Vcpu;
use crate::mm::PageArc;

/// vCPUs that can wait for one CPU at a time.
const DEPTH: usize = 256;

struct Waiting {
    virtual_time: u64,
    vcpu: PageArc<Vcpu>,
}

struct Queue {
    waiting: Mutex<heapless::Vec<Waiting, DEPTH>>,
    /// The virtual time of what ran here last: the yardstick for those that wake.
    minimum: AtomicU64,
    idle: AtomicBool,
}

static QUEUES: EachCpu<Queue> = EachCpu::new(|| Queue {
    waiting: Mutex::new(heapless::Vec::new()),
    minimum: AtomicU64::new(0),
    idle: AtomicBool::new(false),
});

/// The yardstick of `cpu`: the virtual time of what runs there.
pub fn minimum(cpu: usize) -> u64 {
    QUEUES[cpu].minimum.load(Ordering::Relaxed)
}

/// Moves the yardstick of `cpu` forward.
pub fn advance_minimum(cpu: usize, virtual_time: u64) {
    QUEUES[cpu]
        .minimum
        .fetch_max(virtual_time, Ordering::Relaxed);
}

/// Says whether `cpu` has nothing to do.
pub fn set_idle(cpu: usize, idle: bool) {
    QUEUES[cpu].idle.store(idle, Ordering::SeqCst);
}

/// The CPU on which a vCPU should wait that was on `last` and may run on `affinity`.
pub fn choose(last: usize, affinity: u64) -> usize {
    choose_of(arch::cpu_count(), last, affinity, |cpu| {
        QUEUES[cpu].idle.load(Ordering::Relaxed)
    })
}

fn choose_of(count: usize, last: usize, affinity: u64, is_idle: impl Fn(usize) -> bool) -> usize {
    let allowed = |cpu: usize| affinity & (1 << cpu) != 0;
    if last < count && allowed(last) && is_idle(last) {
        return last;
    }
    if let Some(cpu) = (0..count).find(|&cpu| allowed(cpu) && is_idle(cpu)) {
        return cpu;
    }
    if last < count && allowed(last) {
        return last;
    }
    // An affinity without any existing CPU counts as none.
    (0..count).find(|&cpu| allowed(cpu)).unwrap_or(0)
}

/// Queues `vcpu` on `cpu`; false if the queue is full.
pub fn push(cpu: usize, virtual_time: u64, vcpu: PageArc<Vcpu>) -> bool {
    let waiting = Waiting { virtual_time, vcpu };
    let pushed = QUEUES[cpu].waiting.lock().push(waiting).is_ok();
    if pushed {
        QUEUES[cpu].idle.store(false, Ordering::SeqCst);
    }
    pushed
}

/// The smallest virtual time that waits on `cpu`.
pub fn first_time(cpu: usize) -> Option<u64> {
    let waiting = QUEUES[cpu].waiting.lock();
    waiting.iter().map(|entry| entry.virtual_time).min()
}

/// Takes the vCPU that `cpu` should run next: its own first, then one that waits elsewhere and may come.
pub fn pop(cpu: usize) -> Option<PageArc<Vcpu>> {
    take(cpu, |_| true).or_else(|| {
        (0..arch::cpu_count())
            .filter(|&other| other != cpu)
            .find_map(|other| take(other, |vcpu| vcpu.sched.affinity() & (1 << cpu) != 0))
    })
}

fn take(from: usize, may: impl Fn(&Vcpu) -> bool) -> Option<PageArc<Vcpu>> {
    let mut waiting = QUEUES[from].waiting.lock();
    let best = waiting
        .iter()
        .enumerate()
        .filter(|(_, entry)| may(&entry.vcpu))
        .min_by_key(|(_, entry)| entry.virtual_time)
        .map(|(index, _)| index)?;
    Some(waiting.swap_remove(best).vcpu)
}

#[cfg(test)]
mod tests {
    use super::choose_of;

    #[test]
    fn the_last_cpu_is_preferred_unless_another_is_idle() {
        assert_eq!(choose_of(4, 2, u64::MAX, |_| false), 2);
        assert_eq!(choose_of(4, 2, u64::MAX, |cpu| cpu == 3), 3);
        assert_eq!(choose_of(4, 2, u64::MAX, |cpu| cpu >= 2), 2);
    }

    #[test]
    fn affinity_is_obeyed_even_if_that_means_waiting() {
        assert_eq!(choose_of(4, 2, 0b0010, |cpu| cpu == 3), 1);
        assert_eq!(choose_of(4, 2, 0b1010, |cpu| cpu == 3), 3);
    }

    #[test]
    fn an_affinity_without_existing_cpus_counts_as_none() {
        assert_eq!(choose_of(2, 1, 1 << 40, |_| true), 0);
        assert_eq!(choose_of(2, 7, u64::MAX, |_| false), 0);
    }
}
