//! How long a hypercall may keep a CPU to itself.
//!
//! Interrupts are off in microhv, so nothing announces that something urgent waits: the clock decides.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::arch::{self, MAX_CPUS};

/// A long operation goes on for at most this long (ns) before the guest has to issue it again.
const BUDGET_NS: u64 = 200_000;

static STARTED: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

/// A hypercall begins on this CPU.
pub fn begin() {
    STARTED[arch::cpu_index()].store(arch::timer::now_ns(), Ordering::Relaxed);
}

/// Has the hypercall on this CPU taken its time? What it can continue later it should.
pub fn is_spent() -> bool {
    let started = STARTED[arch::cpu_index()].load(Ordering::Relaxed);
    arch::timer::now_ns().saturating_sub(started) > BUDGET_NS
}
