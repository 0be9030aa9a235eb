//! Prints what happened and ends.
#![allow(unsafe_code, reason = "reads stacks")]

use super::{NO_REBOOT, STOPPING, halt, symbols};
use crate::arch::{lapic, percpu, stack, timer, trap::TrapFrame};
use crate::{console, power};
use core::fmt::{Arguments, Display, Write};
use core::panic::PanicInfo;
use core::sync::atomic::Ordering;

/// Frames of a backtrace at most.
const MAX_DEPTH: usize = 40;
/// How long the report stays before the machine starts again, in ns: as in Xen.
const BEFORE_REBOOT: u64 = 5_000_000_000;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let rbp: u64;
    // SAFETY: reads a register.
    unsafe {
        core::arch::asm!("mov {}, rbp", out(reg) rbp, options(nomem, nostack, preserves_flags))
    };
    begin();
    let mut out = console::emergency();
    let _ = write!(out, "\npanic on CPU {}: {}", cpu(), info.message());
    if let Some(place) = info.location() {
        let _ = write!(out, ", at {place}");
    }
    let _ = writeln!(out);
    backtrace(&mut out, None, rbp);
    finish(out)
}

/// An exception in the hypervisor: prints registers and a backtrace, and ends.
pub fn exception(frame: &TrapFrame, what: Arguments<'_>) -> ! {
    begin();
    let mut out = console::emergency();
    let _ = writeln!(out, "\nexception on CPU {}: {what}", cpu());
    let f = frame;
    let [cr0, cr2, cr3, cr4] = control_registers();
    for row in [
        [("rip", f.rip), ("rsp", f.rsp), ("rfl", f.rflags)],
        [("rax", f.rax), ("rbx", f.rbx), ("rcx", f.rcx)],
        [("rdx", f.rdx), ("rsi", f.rsi), ("rdi", f.rdi)],
        [("rbp", f.rbp), ("r8 ", f.r8), ("r9 ", f.r9)],
        [("r10", f.r10), ("r11", f.r11), ("r12", f.r12)],
        [("r13", f.r13), ("r14", f.r14), ("r15", f.r15)],
        [("cr0", cr0), ("cr2", cr2), ("cr3", cr3)],
        [("cr4", cr4), ("cs ", f.cs), ("ss ", f.ss)],
    ] {
        for (name, value) in row {
            let _ = write!(out, "{name} {value:016x}  ");
        }
        let _ = writeln!(out);
    }
    backtrace(&mut out, Some(f.rip), f.rbp);
    finish(out)
}

/// The machine cannot do what is asked of it: one sentence, then off, or halted if it cannot be
/// turned off.
pub fn stop(why: impl Display) -> ! {
    log::error!("microhv cannot start: {why}.");
    power::off()
}

/// CR0, CR2, CR3, CR4.
fn control_registers() -> [u64; 4] {
    use x86_64::registers::control::{Cr0, Cr2, Cr3, Cr4};
    let cr3 = Cr3::read().0.start_address().as_u64();
    [Cr0::read_raw(), Cr2::read_raw(), cr3, Cr4::read_raw()]
}

/// This CPU's number, also when its per-CPU data is not yet there.
fn cpu() -> usize {
    // Intel SDM volume 4, IA32_GS_BASE; zero before `percpu::install`.
    if crate::arch::cpu::rdmsr(0xc000_0101) == 0 {
        0
    } else {
        percpu::this().index
    }
}

/// Ends a second panic on the same path, and stops the other CPUs.
fn begin() {
    x86_64::instructions::interrupts::disable();
    if STOPPING.swap(true, Ordering::AcqRel) {
        halt();
    }
    lapic::send_nmi_to_others();
}

fn backtrace(out: &mut impl Write, rip: Option<u64>, rbp: u64) {
    let _ = writeln!(out, "backtrace:");
    if let Some(rip) = rip {
        line(out, rip, rip);
    }
    let mut frame = rbp;
    for _ in 0..MAX_DEPTH {
        if !stack::contains(frame) && !on_boot_stack(frame) {
            break;
        }
        let words = core::ptr::with_exposed_provenance::<u64>(frame as usize);
        // SAFETY: both words lie on a stack, which is mapped.
        let (next, back) = unsafe { (words.read_volatile(), words.add(1).read_volatile()) };
        if back == 0 {
            break;
        }
        // The call is before the address to which it returns.
        line(out, back, back - 1);
        if next <= frame {
            break;
        }
        frame = next;
    }
}

fn on_boot_stack(address: u64) -> bool {
    let image = crate::arch::paging::Image::current().data;
    let base = crate::arch::paging::KERNEL_VMA;
    let data = base + image.start..base + image.end - 16;
    address.is_multiple_of(8) && data.contains(&address)
}

fn line(out: &mut impl Write, address: u64, inside: u64) {
    let _ = match symbols::name(inside) {
        Some((name, offset)) => writeln!(out, "  {address:016x} {name}+{offset:#x}"),
        None => writeln!(out, "  {address:016x}"),
    };
}

fn finish(mut out: impl Write) -> ! {
    if NO_REBOOT.load(Ordering::Relaxed) {
        let _ = writeln!(out, "Halted, because of noreboot.");
        halt();
    }
    let _ = writeln!(out, "Rebooting in five seconds.");
    // It holds the console.
    drop(out);
    if timer::tsc_khz() != 0 {
        timer::busy_wait(BEFORE_REBOOT);
    }
    power::reboot()
}
