//! Registers that only a change of vCPU switches.

use super::ensure;
use super::traps::fault_of;
use core::time::Duration;
use domain::Instant;

/// Fills the vector and debug registers, lets others run, and looks again.
pub fn registers() -> Result<(), &'static str> {
    // CR4.OSFXSR, so that SSE instructions work; the runtime uses none.
    let _ = fault_of!("mov {x}, cr4\nor {x}, 0x600\nmov cr4, {x}", x = out(reg) _,);
    // Another domain that does the same at the same time has other values.
    let own = u64::from(domain::domid().ok_or("CPUID does not tell the domain's number")?);
    let (number, address) = (
        0x0123_4567_89ab_cdef ^ own << 32,
        0x0000_7fff_1234_5678 ^ own << 4,
    );
    // SAFETY: the code around is soft-float, so nothing of its own is in these registers; DR7 is off.
    unsafe {
        core::arch::asm!(
            "movq xmm0, {n}", "movq xmm15, {n}", "mov dr0, {a}", "mov dr3, {a}",
            "fninit", "fld1",
            n = in(reg) number, a = in(reg) address,
        );
    }
    for _ in 0..20 {
        domain::time::sleep_until(Instant::now() + Duration::from_millis(2));
    }
    let (first, last, low, high): (u64, u64, u64, u64);
    let mut real = 0.0_f64.to_bits();
    // SAFETY: as above; the store goes to `real`.
    unsafe {
        core::arch::asm!(
            "movq {f}, xmm0", "movq {l}, xmm15", "mov {d0}, dr0", "mov {d3}, dr3", "fstp qword ptr [{real}]",
            f = out(reg) first, l = out(reg) last, d0 = out(reg) low, d3 = out(reg) high, real = in(reg) &raw mut real,
        );
    }
    ensure(
        first == number && last == number,
        "a vector register changed",
    )?;
    ensure(
        low == address && high == address,
        "a debug register changed",
    )?;
    ensure(real == 1.0_f64.to_bits(), "the x87 stack changed")
}
