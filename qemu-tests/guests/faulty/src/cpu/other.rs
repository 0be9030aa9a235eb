//! A second vCPU, started by INIT and start-up IPI and kept in real mode, and interrupts to and from it.

use super::apic::{enable, set, window};
use super::ensure;
use super::traps::take_order;
use crate::HANG;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use domain::Instant;

/// Pages below 1 MiB, which the runtime leaves alone: code, data, interrupt table.
const CODE: usize = 0x8000;
const DATA: usize = 0x9000;
const TABLE: usize = 0xa000;

const ICR: u32 = 0x830;
const INIT: u64 = 0xc500;
const STARTUP: u64 = 0x600 | (CODE >> 12) as u64;
const NMI: u64 = 0x400;
const ALL_BUT_SELF: u64 = 3 << 18;
/// The second vCPU's x2APIC id in the register's destination field.
const OTHER: u64 = 2 << 32;

core::arch::global_asm!(
    ".section .rodata.other, \"a\"",
    ".code16",
    ".global other_start, other_nmi, other_interrupt, other_end",
    "other_start:",
    "jmp 4f",
    // At offset 2: what LIDT loads.
    ".word 0x3ff",
    ".long 0xa000",
    "4: cli",
    "mov ax, cs",
    "mov ds, ax",
    "lidt [2]",
    "xor ax, ax",
    "mov ss, ax",
    "mov sp, 0x7ff0",
    "mov ax, 0x900",
    "mov ds, ax",
    // The id to word 1, and the APIC on.
    "mov ecx, 0x802",
    "rdmsr",
    "mov [4], eax",
    "mov ecx, 0x80f",
    "mov eax, 0x1ff",
    "xor edx, edx",
    "wrmsr",
    "lock inc dword ptr [0]",
    "2: sti",
    "hlt",
    "jmp 2b",
    "other_nmi:",
    "lock inc dword ptr [12]",
    "iret",
    // Counted, ended, and answered with vector 0x50 to the first vCPU.
    "other_interrupt:",
    "lock inc dword ptr [8]",
    "mov ecx, 0x80b",
    "xor eax, eax",
    "xor edx, edx",
    "wrmsr",
    "mov ecx, 0x830",
    "mov eax, 0x50",
    "wrmsr",
    "iret",
    "other_end:",
    ".code64",
    ".text",
);

unsafe extern "C" {
    static other_start: u8;
    static other_nmi: u8;
    static other_interrupt: u8;
    static other_end: u8;
}

/// Word `index` of what the second vCPU writes: starts, id, interrupts, NMIs.
fn word(index: usize) -> &'static AtomicU32 {
    // SAFETY: aligned, in a page of RAM that is mapped and nobody else's.
    unsafe { AtomicU32::from_ptr((DATA + index * 4) as *mut u32) }
}

fn prepare() {
    let (start, end) = (&raw const other_start, &raw const other_end);
    let distance = |symbol: *const u8| symbol.addr() - start.addr();
    for offset in 0..distance(end) {
        // SAFETY: the code lies between the symbols; the page is RAM below 1 MiB, mapped and unused.
        unsafe { ((CODE + offset) as *mut u8).write_volatile(start.add(offset).read()) };
    }
    for (vector, handler) in [
        (2, &raw const other_nmi),
        (0x40, &raw const other_interrupt),
    ] {
        let entry = (CODE as u32 / 16) << 16 | distance(handler) as u32;
        // SAFETY: as above.
        unsafe { ((TABLE + vector * 4) as *mut u32).write_volatile(entry) };
    }
    for index in 0..4 {
        word(index).store(0, Ordering::SeqCst);
    }
}

/// Waits until word `index` is `value`.
fn reaches(index: usize, value: u32) -> bool {
    let start = Instant::now();
    while word(index).load(Ordering::SeqCst) != value {
        if start.elapsed() > HANG {
            return false;
        }
        core::hint::spin_loop();
    }
    true
}

/// Interrupts it and waits for its answer, which comes while interrupts are on.
fn ask(count: u32) -> Result<(), &'static str> {
    // SAFETY: our own table has handlers for what may come.
    unsafe { core::arch::asm!("sti") };
    set(ICR, OTHER | 0x40)?;
    ensure(reaches(2, count), "an interrupt did not reach it")?;
    let start = Instant::now();
    while take_order() != 0x50 {
        ensure(start.elapsed() < HANG, "its answer did not come")?;
        core::hint::spin_loop();
    }
    Ok(())
}

pub fn second_vcpu() -> Result<(), &'static str> {
    // Leaf 0xB, level 1: how many vCPUs there are.
    if core::arch::x86_64::__cpuid_count(0xb, 1).ebx < 2 {
        return Err("it needs two vCPUs");
    }
    enable()?;
    prepare();
    set(ICR, OTHER | INIT)?;
    set(ICR, OTHER | STARTUP)?;
    set(ICR, OTHER | STARTUP)?;
    ensure(reaches(0, 1), "it did not start")?;
    ensure(reaches(1, 2), "its x2APIC id is not 2")?;
    for count in 1..=20 {
        let answered = ask(count);
        // SAFETY: only holds interrupts back again.
        unsafe { core::arch::asm!("cli") };
        answered?;
    }
    set(ICR, ALL_BUT_SELF | 0x40)?;
    ensure(reaches(2, 21), "a broadcast did not reach it")?;
    set(ICR, OTHER | NMI)?;
    ensure(reaches(3, 1), "an NMI did not reach it")?;
    set(ICR, OTHER | INIT)?;
    domain::time::sleep_until(Instant::now() + Duration::from_millis(2));
    set(ICR, OTHER | 0x40)?;
    domain::time::sleep_until(Instant::now() + Duration::from_millis(5));
    ensure(word(2).load(Ordering::SeqCst) == 21, "it runs after INIT")?;
    set(ICR, OTHER | STARTUP)?;
    ensure(reaches(0, 2), "it did not start again")?;
    set(ICR, OTHER | INIT)?;
    domain::time::sleep_until(Instant::now() + Duration::from_millis(2));
    window();
    take_order();
    Ok(())
}
