//! The CPU and its closest surroundings: registers, per-CPU data, interrupts, timers.
//!
//! For tests on the host the functions are stand-ins: one CPU, a clock that
//! tests set, interrupts that never come.

pub mod calibrate;
pub mod cpu;
#[cfg(target_os = "none")]
pub mod descriptors;
mod each_cpu;
pub mod ioapic;
pub mod ipi;
pub mod irq;
pub mod lapic;
pub mod paging;
pub mod percpu;
pub mod rtc;
#[cfg(target_os = "none")]
pub mod smp;
pub mod stack;
pub mod timer;
#[cfg(target_os = "none")]
pub mod trap;

pub use each_cpu::EachCpu;

/// CPUs at most.
pub const MAX_CPUS: usize = 64;

/// This CPU's number, 0 for the one that booted.
pub fn cpu_index() -> usize {
    percpu::this().index
}

/// How many CPUs run.
pub fn cpu_count() -> usize {
    percpu::count()
}

/// Seconds since 1970-01-01 UTC at the instant when [`timer::now_ns`] was zero.
pub fn wallclock_at_boot_s() -> u64 {
    WALLCLOCK.load(core::sync::atomic::Ordering::Relaxed)
}

pub(crate) static WALLCLOCK: core::sync::atomic::AtomicU64 = core::sync::atomic::AtomicU64::new(0);
