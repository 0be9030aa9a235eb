//! The local APIC, and how interrupts meet IF and CR8.

use super::ensure;
use super::instructions::{rdmsr, wrmsr};
use super::traps::{NMIS, ORDER, VECTORS, take_order};
use core::sync::atomic::Ordering;
use core::time::Duration;
use domain::Instant;

const SVR: u32 = 0x80f;
const ICR: u32 = 0x830;
const LVT_TIMER: u32 = 0x832;
const TIMER_INITIAL: u32 = 0x838;
const TIMER_CURRENT: u32 = 0x839;
const TIMER_DIVIDE: u32 = 0x83e;
const SELF_IPI: u32 = 0x83f;

const HVM_OP: u32 = 34;
const HVMOP_SET_EVTCHN_UPCALL_VECTOR: u64 = 23;

/// `struct xen_hvm_evtchn_upcall_vector` (xen/include/public/hvm/hvm_op.h).
#[repr(C)]
struct SetEvtchnUpcallVector {
    vcpu: u32,
    vector: u32,
}

const PERIODIC: u64 = 1 << 17;
const MASKED: u64 = 1 << 16;
/// Divide by 1: a count is a nanosecond.
const BY_ONE: u64 = 0b1011;

pub(super) fn set(msr: u32, value: u64) -> Result<(), &'static str> {
    wrmsr(msr, value).map_err(|_| "a local APIC register faults")
}

fn send(vector: u8) -> Result<(), &'static str> {
    set(SELF_IPI, vector.into())
}

/// Lets interrupts in for a few instructions.
pub(super) fn window() {
    // SAFETY: our own table has handlers for what may come.
    unsafe { core::arch::asm!("sti", "nop", "nop", "cli") };
}

fn set_cr8(priority: u64) {
    // SAFETY: CR8 only holds interrupts back.
    unsafe { core::arch::asm!("mov cr8, {}", in(reg) priority) };
}

pub(super) fn enable() -> Result<(), &'static str> {
    set(SVR, 0x1ff)?;
    take_order();
    Ok(())
}

pub fn priority() -> Result<(), &'static str> {
    enable()?;
    for vector in [VECTORS[1], VECTORS[0], VECTORS[2]] {
        send(vector)?;
    }
    ensure(take_order() == 0, "an interrupt came with IF clear")?;
    for _ in 0..3 {
        window();
    }
    ensure(take_order() == 0x60_50_40, "not by priority")
}

pub fn cr8() -> Result<(), &'static str> {
    enable()?;
    set_cr8(5);
    ensure(rdmsr(0x808) == Ok(0x50), "TPR does not show CR8")?;
    send(VECTORS[1])?;
    send(VECTORS[2])?;
    window();
    ensure(take_order() == 0x60, "not what CR8 lets through")?;
    // Nothing exits from here on until the interrupt comes.
    // SAFETY: as in `window` and `set_cr8`.
    unsafe { core::arch::asm!("sti", "mov cr8, {}", "nop", "nop", "nop", "cli", in(reg) 0_u64) };
    ensure(
        ORDER.load(Ordering::SeqCst) == 0x50,
        "the interrupt did not come when CR8 fell",
    )
}

pub fn one_shot() -> Result<(), &'static str> {
    enable()?;
    set(TIMER_DIVIDE, BY_ONE)?;
    set(LVT_TIMER, VECTORS[0].into())?;
    let start = Instant::now();
    set(TIMER_INITIAL, 20_000_000)?;
    ensure(
        rdmsr(TIMER_CURRENT).is_ok_and(|count| count <= 20_000_000),
        "the count is off",
    )?;
    // SAFETY: the timer's interrupt ends HLT.
    unsafe { core::arch::asm!("sti", "hlt", "cli") };
    ensure(
        take_order() == 0x40,
        "HLT ended without the timer's interrupt",
    )?;
    ensure(start.elapsed() >= Duration::from_millis(20), "too early")?;
    ensure(rdmsr(TIMER_CURRENT) == Ok(0), "it goes on")
}

pub fn periodic() -> Result<(), &'static str> {
    enable()?;
    set(LVT_TIMER, PERIODIC | u64::from(VECTORS[0]))?;
    let start = Instant::now();
    set(TIMER_INITIAL, 10_000_000)?;
    for _ in 0..5 {
        // SAFETY: as in `one_shot`.
        unsafe { core::arch::asm!("sti", "hlt", "cli") };
        // More than one may have come if others had the CPU between the handler and CLI.
        let order = take_order().to_le_bytes();
        ensure(
            order[0] == 0x40 && order.iter().all(|&vector| vector == 0x40 || vector == 0),
            "HLT ended without the timer's interrupt",
        )?;
    }
    set(TIMER_INITIAL, 0)?;
    set(LVT_TIMER, MASKED)?;
    ensure(start.elapsed() >= Duration::from_millis(49), "too fast")?;
    window();
    take_order();
    Ok(())
}

pub fn nmi() -> Result<(), &'static str> {
    enable()?;
    NMIS.store(0, Ordering::SeqCst);
    // The second comes when the first one's handler has returned.
    let own = rdmsr(0x802).map_err(|_| "no id")?;
    set(ICR, own << 32 | 0x400)?;
    set(ICR, own << 32 | 0x400)?;
    ensure(NMIS.load(Ordering::SeqCst) == 2, "not two NMIs")
}

/// An interrupt sent while IF is clear comes as soon as it is set.
pub fn window_opens() -> Result<(), &'static str> {
    enable()?;
    send(VECTORS[0])?;
    // Spin, so that exits for the host's interrupts happen in between.
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(20) {}
    ensure(take_order() == 0, "it came with IF clear")?;
    window();
    ensure(take_order() == 0x40, "it did not come with IF set")
}

/// `HVMOP_set_evtchn_upcall_vector`: this vCPU's events come as an interrupt that the local APIC delivers.
pub fn upcall() -> Result<(), &'static str> {
    enable()?;
    let own = domain::domid().ok_or("CPUID does not tell the domain's number")?;
    let first = domain::Port::alloc_unbound(own).map_err(|_| "no port")?;
    let second =
        domain::Port::bind_interdomain(own, first.number()).map_err(|_| "no second port")?;
    domain::event::take_pending().for_each(drop);
    let request = SetEvtchnUpcallVector {
        vcpu: 0,
        vector: VECTORS[2].into(),
    };
    let answer = crate::hypercalls::call(
        HVM_OP,
        HVMOP_SET_EVTCHN_UPCALL_VECTOR,
        &raw const request as u64,
        0,
    );
    ensure(answer == 0, "the vector was refused")?;
    second.notify().map_err(|_| "notify")?;
    ensure(take_order() == 0, "it came with IF clear")?;
    window();
    ensure(take_order() == 0x60, "it did not come")?;
    window();
    ensure(take_order() == 0, "it came twice")?;
    ensure(
        domain::event::take_pending().any(|port| port == first.number()),
        "the port is not pending",
    )?;
    // An APIC that is off drops what comes from now on: the runtime polls.
    set(SVR, 0xff)
}
