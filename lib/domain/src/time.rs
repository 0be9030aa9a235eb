//! Time from the hypervisor's paravirtual clock: no hypercall, one RDTSC.

use crate::shared::SharedMemory;
use core::fmt;
use core::mem::offset_of;
use core::ops::{Add, Sub};
use core::sync::atomic::{Ordering, fence};
use core::time::Duration;
use xen_abi::xen::{SharedInfo, VcpuInfo, VcpuTimeInfo};

/// A point in system time: nanoseconds since the hypervisor started.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// Now.
    pub fn now() -> Self {
        crate::event::shared_info().map_or(Instant(0), |info| Instant(system_time(info)))
    }

    /// From nanoseconds of system time.
    pub const fn from_nanos(nanoseconds: u64) -> Self {
        Instant(nanoseconds)
    }

    /// Nanoseconds of system time.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time since `earlier`, zero if that is later.
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Time since this instant.
    pub fn elapsed(self) -> Duration {
        Instant::now().since(self)
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, duration: Duration) -> Instant {
        Instant(
            self.0
                .saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;
    fn sub(self, earlier: Instant) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{:09}s",
            self.0 / 1_000_000_000,
            self.0 % 1_000_000_000
        )
    }
}

/// Wall-clock time since 1970-01-01 UTC.
pub fn wall_clock() -> Duration {
    crate::event::shared_info().map_or(Duration::ZERO, |info| {
        boot_wall_clock(info) + Duration::from_nanos(Instant::now().0)
    })
}

/// Waits until `deadline` has passed. Events stay pending for [`crate::event::take_pending`].
pub fn sleep_until(deadline: Instant) {
    while Instant::now() < deadline {
        crate::event::wait_deferring(deadline);
    }
}

/// A consistent copy of vCPU 0's clock, then its value now.
fn system_time(info: &SharedMemory) -> u64 {
    const TIME: usize = offset_of!(SharedInfo, vcpu_info) + offset_of!(VcpuInfo, time);
    let Ok(version) = info.atomic_u32(TIME + offset_of!(VcpuTimeInfo, version)) else {
        return 0;
    };
    loop {
        let before = version.load(Ordering::Acquire);
        let time: VcpuTimeInfo = info.read(TIME).unwrap_or_default();
        let tsc = read_tsc();
        fence(Ordering::Acquire);
        // The hypervisor, whom we trust, finishes an update in bounded time: it runs on our own CPU or while we are out.
        if before & 1 == 0 && version.load(Ordering::Acquire) == before {
            return time.system_time_at(tsc);
        }
        core::hint::spin_loop();
    }
}

/// Wall-clock time when system time was zero.
fn boot_wall_clock(info: &SharedMemory) -> Duration {
    let Ok(version) = info.atomic_u32(offset_of!(SharedInfo, wc_version)) else {
        return Duration::ZERO;
    };
    loop {
        let before = version.load(Ordering::Acquire);
        let words: [u32; 3] = info
            .read(offset_of!(SharedInfo, wc_sec))
            .unwrap_or_default();
        fence(Ordering::Acquire);
        if before & 1 == 0 && version.load(Ordering::Acquire) == before {
            let [seconds, nanoseconds, seconds_high] = words;
            return Duration::new(
                u64::from(seconds) | u64::from(seconds_high) << 32,
                nanoseconds,
            );
        }
        core::hint::spin_loop();
    }
}

#[expect(unsafe_code, reason = "RDTSC is an intrinsic")]
fn read_tsc() -> u64 {
    // SAFETY: RDTSC has no effect on memory and is not disabled for us (CR4.TSD is clear).
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::tests::leaked;

    #[test]
    fn wall_clock_starts_at_the_shared_seconds() {
        let info = leaked(4096);
        info.write(offset_of!(SharedInfo, wc_sec), &[5_u32, 6, 1])
            .unwrap();
        assert_eq!(boot_wall_clock(&info), Duration::new((1 << 32) + 5, 6));
    }

    #[test]
    fn instants_order_and_saturate() {
        let (a, b) = (Instant::from_nanos(5), Instant::from_nanos(9));
        assert!(a < b);
        assert_eq!(b - a, Duration::from_nanos(4));
        assert_eq!(a - b, Duration::ZERO);
        assert_eq!(
            std::format!("{:?}", Instant::from_nanos(1_500_000_000)),
            "1.500000000s"
        );
    }
}
