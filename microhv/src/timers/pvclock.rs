//! The clock that guests read without an exit (Xen: public/xen.h, `vcpu_time_info` and the wall clock).

use xen_abi::xen::{PvclockFlags, VcpuTimeInfo};
use xen_abi::zerocopy::IntoBytes;

use crate::arch;
use crate::domain::Domain;

/// Offset of `wc_version` in the 64-bit `shared_info`, with `wc_sec`, `wc_nsec` and `wc_sec_hi` after it.
const WALLCLOCK_OFFSET: usize = 0xc00;

/// The record for a vCPU's `vcpu_info` and its registered time area.
pub fn time_info() -> VcpuTimeInfo {
    let (mul, shift) = VcpuTimeInfo::scale_for_hertz(arch::timer::tsc_khz() * 1000);
    let (tsc, ns) = (arch::cpu::rdtsc(), arch::timer::now_ns());
    VcpuTimeInfo {
        version: 2,
        tsc_timestamp: tsc,
        system_time: ns,
        tsc_to_system_mul: mul,
        tsc_shift: shift,
        flags: PvclockFlags::TSC_STABLE_BIT,
        ..Default::default()
    }
}

/// Writes the wall clock at boot into `domain`'s shared_info.
pub fn publish_wallclock(domain: &Domain) {
    let seconds = arch::wallclock_at_boot_s();
    // Version, seconds, nanoseconds, and the upper half of the seconds.
    let clock = [2, seconds as u32, 0, (seconds >> 32) as u32];
    domain.shared_info.write(WALLCLOCK_OFFSET, clock.as_bytes());
}
