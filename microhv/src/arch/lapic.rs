//! This CPU's local APIC, by MMIO or, where the CPU has it, x2APIC's registers
//! (Intel SDM volume 3, chapter 10).

use super::irq::{APIC_ERROR, SPURIOUS, TIMER};
use super::{cpu, irq};
use crate::mm::Mmio;
use spin::Once;

const MSR_APIC_BASE: u32 = 0x1b;
const APIC_BASE_ENABLE: u64 = 1 << 11;
const APIC_BASE_X2APIC: u64 = 1 << 10;

const ID: usize = 0x20;
const TPR: usize = 0x80;
const EOI: usize = 0xb0;
const SVR: usize = 0xf0;
const ESR: usize = 0x280;
const ICR_LOW: usize = 0x300;
const ICR_HIGH: usize = 0x310;
const LVT_TIMER: usize = 0x320;
const LVT_THERMAL: usize = 0x330;
const LVT_PERFORMANCE: usize = 0x340;
const LVT_LINT0: usize = 0x350;
const LVT_LINT1: usize = 0x360;
const LVT_ERROR: usize = 0x370;
const INITIAL_COUNT: usize = 0x380;
const CURRENT_COUNT: usize = 0x390;
const DIVIDE: usize = 0x3e0;

const MASKED: u32 = 1 << 16;
const DELIVER_NMI: u32 = 4 << 8;
const DELIVER_INIT: u32 = 5 << 8;
const DELIVER_STARTUP: u32 = 6 << 8;
const LEVEL_ASSERT: u32 = 1 << 14;
const ALL_BUT_SELF: u32 = 3 << 18;
const PENDING: u32 = 1 << 12;
const TSC_DEADLINE: u32 = 2 << 17;

enum Access {
    Mmio(Mmio),
    Msr,
}

static ACCESS: Once<Access> = Once::new();

fn read(register: usize) -> u32 {
    match ACCESS.get() {
        Some(Access::Mmio(mmio)) => mmio.read_u32(register),
        Some(Access::Msr) => cpu::rdmsr(0x800 + (register as u32 >> 4)) as u32,
        None => 0,
    }
}

fn write(register: usize, value: u32) {
    match ACCESS.get() {
        Some(Access::Mmio(mmio)) => mmio.write_u32(register, value),
        Some(Access::Msr) => cpu::wrmsr(0x800 + (register as u32 >> 4), value.into()),
        None => {}
    }
}

/// Whether the CPUs' APICs are in x2APIC mode.
pub fn is_x2apic() -> bool {
    matches!(ACCESS.get(), Some(Access::Msr))
}

/// Chooses how to reach the APICs. `address` is where MMIO would find them. `None` if they cannot
/// be mapped.
pub fn choose(address: u64) -> Option<()> {
    let access = if cpu::cpuid(1, 0).ecx & (1 << 21) != 0 {
        Access::Msr
    } else {
        Access::Mmio(Mmio::map(address, 0x1000)?)
    };
    ACCESS.call_once(|| access);
    Some(())
}

/// Turns this CPU's APIC on.
pub fn enable() {
    let base = cpu::rdmsr(MSR_APIC_BASE);
    if base & APIC_BASE_ENABLE == 0 {
        cpu::wrmsr(MSR_APIC_BASE, base | APIC_BASE_ENABLE);
    }
    if is_x2apic() && base & APIC_BASE_X2APIC == 0 {
        cpu::wrmsr(MSR_APIC_BASE, base | APIC_BASE_ENABLE | APIC_BASE_X2APIC);
    }
    write(TPR, 0);
    write(LVT_TIMER, MASKED);
    // How many local vectors there are varies; these two came last (version register, bits 16..24).
    let entries = read(0x30) >> 16 & 0xff;
    if entries >= 4 {
        write(LVT_PERFORMANCE, MASKED);
    }
    if entries >= 5 {
        write(LVT_THERMAL, MASKED);
    }
    write(LVT_LINT0, MASKED);
    write(LVT_LINT1, DELIVER_NMI);
    write(LVT_ERROR, APIC_ERROR.into());
    write(SVR, 0x100 | u32::from(SPURIOUS));
    write(ESR, 0);
    irq::set_handler(APIC_ERROR, |_| {
        write(ESR, 0);
        log::error!("local APIC {:#x}: error {:#x}", id(), read(ESR));
    });
}

/// This CPU's APIC ID.
pub fn id() -> u32 {
    if is_x2apic() {
        read(ID)
    } else {
        read(ID) >> 24
    }
}

/// Acknowledges the interrupt that is being handled.
pub fn end_of_interrupt() {
    write(EOI, 0);
}

fn send(destination: u32, command: u32) {
    match ACCESS.get() {
        Some(Access::Mmio(mmio)) => {
            mmio.write_u32(ICR_HIGH, destination << 24);
            mmio.write_u32(ICR_LOW, command);
            while mmio.read_u32(ICR_LOW) & PENDING != 0 {
                cpu::pause();
            }
        }
        Some(Access::Msr) => {
            // WRMSR to x2APIC registers is not serialising: what we wrote before must be seen
            // (Intel SDM volume 3, 10.12.3).
            x86_64::instructions::interrupts::without_interrupts(|| {
                core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
                cpu::wrmsr(0x830, u64::from(destination) << 32 | u64::from(command));
            });
        }
        None => {}
    }
}

/// Sends `vector` to the CPU with that APIC ID.
pub fn send_vector(apic_id: u32, vector: u8) {
    send(apic_id, LEVEL_ASSERT | u32::from(vector));
}

/// Resets the CPU with that APIC ID.
pub fn send_init(apic_id: u32) {
    send(apic_id, DELIVER_INIT | LEVEL_ASSERT);
}

/// Starts a reset CPU at `page`, a page below 1 MiB.
pub fn send_startup(apic_id: u32, page: u64) {
    send(
        apic_id,
        DELIVER_STARTUP | LEVEL_ASSERT | (page >> 12) as u32 & 0xff,
    );
}

/// Stops all other CPUs for what they are doing.
pub fn send_nmi_to_others() {
    send(0, ALL_BUT_SELF | DELIVER_NMI | LEVEL_ASSERT);
}

/// Lets this CPU's timer count down from `count` and interrupt once; 0 stops it.
pub fn start_countdown(count: u32) {
    write(INITIAL_COUNT, count);
}

/// Sets this CPU's timer up: as a countdown, or for deadlines of the time-stamp counter.
pub fn set_up_timer(tsc_deadline: bool) {
    // Divide by 1 (Intel SDM volume 3, figure 10-10).
    write(DIVIDE, 0b1011);
    let mode = if tsc_deadline { TSC_DEADLINE } else { 0 };
    write(LVT_TIMER, u32::from(TIMER) | mode);
    // "Software must order the memory-mapped write to the LVT entry ... any subsequent WRMSR to the
    // IA32_TSC_DEADLINE MSR" (10.5.4.1).
    core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
}

/// Starts the timer for a measurement, without interrupts.
pub fn start_measurement() {
    write(DIVIDE, 0b1011);
    write(LVT_TIMER, MASKED);
    write(INITIAL_COUNT, u32::MAX);
}

/// Ticks since [`start_measurement`].
pub fn measured() -> u32 {
    u32::MAX - read(CURRENT_COUNT)
}
