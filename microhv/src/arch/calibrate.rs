//! How fast the time-stamp counter and the local APIC's timer count.

use super::{cpu, lapic, timer};

/// ACPI's power management timer counts at this rate, in Hz (ACPI 6.5, 4.8.3.3).
const PM_HZ: u64 = 3_579_545;
/// The 8254's rate, in Hz.
const PIT_HZ: u64 = 1_193_182;
/// How long to measure, in ticks of the PM timer: 4 ms, at 280 ns a tick an error of 0.01 %.
const PM_TICKS: u32 = 14_318;

/// One look at all three counters. The time-stamp counter is read before and after the reference,
/// which may be slow to answer.
#[derive(Clone, Copy)]
struct Sample {
    tsc: u64,
    apic: u32,
    reference: u32,
}

/// The look of several with the shortest time between the two readings of the counter.
fn sample(reference: impl Fn() -> u32) -> Sample {
    let looks = [(); 5].map(|()| {
        let before = cpu::rdtsc();
        let reference = reference();
        let apic = lapic::measured();
        let took = cpu::rdtsc() - before;
        let sample = Sample {
            tsc: before + took / 2,
            apic,
            reference,
        };
        (took, sample)
    });
    let [first, rest @ ..] = looks;
    rest.iter()
        .fold(
            first,
            |best, look| if look.0 < best.0 { *look } else { best },
        )
        .1
}

/// Measures both against ACPI's timer at I/O port `pm_timer`, or against the 8254. The boot CPU's
/// local APIC must be on. Returns the name of the reference.
pub fn run(pm_timer: Option<u16>) -> &'static str {
    // Leaf 1, ECX bit 24: the APIC timer can compare with the time-stamp counter.
    let deadline_mode = cpu::cpuid(1, 0).ecx & (1 << 24) != 0;
    lapic::start_measurement();
    let (first, last, ticks, hz, name) = match pm_timer {
        Some(port) => {
            let read = || cpu::inl(port) & 0xff_ffff;
            let first = sample(read);
            while read().wrapping_sub(first.reference) & 0xff_ffff < PM_TICKS {
                cpu::pause();
            }
            let last = sample(read);
            let ticks = last.reference.wrapping_sub(first.reference) & 0xff_ffff;
            (first, last, ticks, PM_HZ, "ACPI PM timer")
        }
        None => {
            // Channel 2, gate on, speaker off, mode 0 (Intel 8254 data sheet).
            cpu::outb(0x61, cpu::inb(0x61) & !2 | 1);
            cpu::outb(0x43, 0xb0);
            cpu::outb(0x42, 0xff);
            cpu::outb(0x42, 0xff);
            let read = || {
                cpu::outb(0x43, 0x80);
                0xffff - (u32::from(cpu::inb(0x42)) | u32::from(cpu::inb(0x42)) << 8)
            };
            let wanted = (u64::from(PM_TICKS) * PIT_HZ / PM_HZ) as u32;
            let first = sample(read);
            while read().saturating_sub(first.reference) < wanted {
                cpu::pause();
            }
            let last = sample(read);
            (
                first,
                last,
                last.reference.saturating_sub(first.reference),
                PIT_HZ,
                "8254",
            )
        }
    };
    let khz =
        |count: u64| (u128::from(count) * u128::from(hz) / u128::from(ticks.max(1)) / 1000) as u64;
    let tsc = khz(last.tsc - first.tsc);
    let apic = khz(last.apic.wrapping_sub(first.apic).into());
    lapic::start_countdown(0);
    timer::set_frequencies(tsc, apic.max(1), deadline_mode);
    name
}
