//! Time, from the time-stamp counter, and each CPU's one deadline.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The counter when microhv started.
static START: AtomicU64 = AtomicU64::new(0);
static TSC_KHZ: AtomicU64 = AtomicU64::new(0);
/// Nanoseconds a tick, times 2^32.
static NS_PER_TICK: AtomicU64 = AtomicU64::new(0);
static APIC_KHZ: AtomicU64 = AtomicU64::new(0);
static DEADLINE_MODE: AtomicBool = AtomicBool::new(false);

/// The time-stamp counter's frequency in kHz.
pub fn tsc_khz() -> u64 {
    #[cfg(test)]
    return 1_000_000;
    #[cfg(target_os = "none")]
    TSC_KHZ.load(Ordering::Relaxed)
}

const fn scale(ticks: u64, factor: u64) -> u64 {
    ((ticks as u128 * factor as u128) >> 32) as u64
}

/// Nanoseconds since microhv started; zero until the counter's frequency is known.
#[cfg(target_os = "none")]
pub fn now_ns() -> u64 {
    let ticks = super::cpu::rdtsc().saturating_sub(START.load(Ordering::Relaxed));
    scale(ticks, NS_PER_TICK.load(Ordering::Relaxed))
}

/// On the host: the time that a test has set.
#[cfg(test)]
pub fn now_ns() -> u64 {
    HOST_NOW.load(Ordering::Relaxed)
}

/// Sets the host's clock.
#[cfg(test)]
pub fn host_set_now(ns: u64) {
    HOST_NOW.store(ns, Ordering::Relaxed);
}

#[cfg(test)]
static HOST_NOW: AtomicU64 = AtomicU64::new(0);

/// Time starts now.
pub(crate) fn start() {
    START.store(super::cpu::rdtsc(), Ordering::Relaxed);
}

/// Notes the frequencies of the time-stamp counter and of the local APICs' timers.
pub(crate) fn set_frequencies(tsc_khz: u64, apic_khz: u64, deadline_mode: bool) {
    TSC_KHZ.store(tsc_khz, Ordering::Relaxed);
    // 10^6 ns a ms, tsc_khz ticks a ms.
    let factor = (1_000_000u64 << 32) / tsc_khz.max(1);
    NS_PER_TICK.store(factor, Ordering::Relaxed);
    APIC_KHZ.store(apic_khz, Ordering::Relaxed);
    DEADLINE_MODE.store(deadline_mode, Ordering::Relaxed);
}

/// How long to count down for `ns` nanoseconds: rounded up, at least 1, at most what the counter
/// holds (the handler then counts on).
fn countdown(ns: u64, apic_khz: u64) -> u32 {
    let ticks = (u128::from(ns) * u128::from(apic_khz)).div_ceil(1_000_000);
    u32::try_from(ticks).unwrap_or(u32::MAX).max(1)
}

/// Sets this CPU's deadline (ns, as in [`now_ns`]); one that has passed fires at once. `None`: no
/// deadline. When it passes, an interrupt sets this CPU's `timer_fired`.
pub fn set_deadline(deadline: Option<u64>) {
    use super::{cpu, lapic, percpu};
    /// Intel SDM volume 4, IA32_TSC_DEADLINE.
    const MSR_TSC_DEADLINE: u32 = 0x6e0;
    let cell = &percpu::this().deadline;
    let before = cell.swap(deadline.unwrap_or(u64::MAX), Ordering::Relaxed);
    if before == deadline.unwrap_or(u64::MAX) && deadline.is_none() {
        return;
    }
    if DEADLINE_MODE.load(Ordering::Relaxed) {
        let ticks = deadline.map_or(0, |ns| {
            let ticks = u128::from(ns) * u128::from(tsc_khz()) / 1_000_000;
            START
                .load(Ordering::Relaxed)
                .saturating_add(ticks as u64)
                .saturating_add(1)
        });
        cpu::wrmsr(MSR_TSC_DEADLINE, ticks);
    } else {
        let count = deadline.map_or(0, |ns| {
            countdown(
                ns.saturating_sub(now_ns()),
                APIC_KHZ.load(Ordering::Relaxed),
            )
        });
        lapic::start_countdown(count);
    }
}

/// Sets this CPU's timer up.
pub(crate) fn init_cpu() {
    super::lapic::set_up_timer(DEADLINE_MODE.load(Ordering::Relaxed));
}

/// Installs the timer's handler.
pub(crate) fn init() {
    super::irq::set_handler(super::irq::TIMER, |_| {
        let cpu = super::percpu::this();
        let deadline = cpu.deadline.load(Ordering::Relaxed);
        if deadline == u64::MAX {
            // Taken back while the interrupt was on its way.
        } else if now_ns() < deadline {
            // A countdown's end before a far deadline, or rounding.
            set_deadline(Some(deadline));
        } else {
            cpu.deadline.store(u64::MAX, Ordering::Relaxed);
            cpu.timer_fired.store(true, Ordering::Release);
        }
    });
}

/// Waits so many nanoseconds.
pub fn busy_wait(ns: u64) {
    let end = now_ns().saturating_add(ns);
    while now_ns() < end {
        super::cpu::pause();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_second_of_ticks_is_a_second() {
        for khz in [999_999u64, 1_000_000, 2_893_437, 3_000_000] {
            let factor = (1_000_000u64 << 32) / khz;
            let ns = scale(khz * 1000, factor);
            assert!(ns.abs_diff(1_000_000_000) < 10, "{khz}: {ns}");
        }
    }

    proptest! {
        #[test]
        fn countdowns_never_end_early(ns in 0u64..4_000_000_000, khz in 1u64..1_000_000) {
            let count = countdown(ns, khz);
            prop_assert!(count >= 1);
            prop_assert!(u128::from(count) * 1_000_000 >= u128::from(ns) * u128::from(khz));
        }
    }
}
