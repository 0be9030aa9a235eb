//! One vCPU's place in the scheduler.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use spin::{Mutex, MutexGuard};

use crate::types::DomId;

/// Where a vCPU is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Neither queued nor running.
    Idle,
    /// In the run queue of a CPU.
    Queued(usize),
    /// On a CPU.
    Running(usize),
}

/// What changes together, under one lock.
pub(super) struct Inner {
    pub state: State,
    /// The CPU it was on last: its caches may still know it.
    pub last_cpu: usize,
    /// Run time in ns, divided by weight / 256: the smaller, the sooner it runs.
    pub virtual_time: u64,
    /// Run time in ns, as it is.
    pub cpu_time: u64,
}

/// One vCPU's scheduling state.
pub struct Entity {
    inner: Mutex<Inner>,
    online: AtomicBool,
    waiting: AtomicBool,
    notified: AtomicBool,
    affinity: AtomicU64,
}

impl Entity {
    /// An offline vCPU; the first CPU is spread by numbers so that domains do not all start on CPU 0.
    pub fn new(domain: DomId, vcpu: u32) -> Self {
        let start = (usize::from(domain.0) + vcpu as usize) % crate::arch::cpu_count().max(1);
        Self {
            inner: Mutex::new(Inner {
                state: State::Idle,
                last_cpu: start,
                virtual_time: 0,
                cpu_time: 0,
            }),
            online: AtomicBool::new(false),
            waiting: AtomicBool::new(true),
            notified: AtomicBool::new(false),
            affinity: AtomicU64::new(u64::MAX),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// The CPU it runs on or ran on last.
    pub fn cpu(&self) -> usize {
        self.inner.lock().last_cpu
    }

    /// The CPU it is on right now, if it is on one.
    pub fn running_on(&self) -> Option<usize> {
        match self.inner.lock().state {
            State::Running(cpu) => Some(cpu),
            _ => None,
        }
    }

    /// Total run time in ns.
    pub fn cpu_time(&self) -> u64 {
        self.inner.lock().cpu_time
    }

    /// Has it been started (by its builder, `VCPUOP_up` or SIPI) and not stopped? For information only.
    pub fn is_online(&self) -> bool {
        self.online.load(Ordering::SeqCst)
    }

    pub(super) fn set_online(&self, online: bool) {
        self.online.store(online, Ordering::SeqCst);
    }

    /// Had it nothing to do when it last looked?
    pub fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::SeqCst)
    }

    pub(super) fn set_waiting(&self, waiting: bool) {
        self.waiting.store(waiting, Ordering::SeqCst);
    }

    /// Notes that there may be something to do.
    pub(super) fn notify(&self) {
        self.notified.store(true, Ordering::SeqCst);
    }

    /// Has anything come since [`Self::begin_look`]?
    pub fn is_notified(&self) -> bool {
        self.notified.load(Ordering::SeqCst)
    }

    /// About to look for something to do: what comes from now on counts again.
    pub(super) fn begin_look(&self) {
        self.notified.store(false, Ordering::SeqCst);
    }

    /// The CPUs on which it may run, a bit each.
    pub fn affinity(&self) -> u64 {
        self.affinity.load(Ordering::Relaxed)
    }

    /// Sets the CPUs on which it may run; obeyed from its next wake-up or preemption.
    pub fn set_affinity(&self, mask: u64) {
        self.affinity.store(mask, Ordering::Relaxed);
    }
}
