//! Where all interrupts and exceptions arrive.
#![allow(unsafe_code, reason = "called from assembly")]

use super::{irq, stack};
use crate::panic;
use x86::irq::EXCEPTIONS;

/// The registers at an interrupt, in the order in which `vectors.S` pushes them.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "registers, by their names")]
pub struct TrapFrame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rbp: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rbx: u64,
    pub rax: u64,
    pub vector: u64,
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// NMI's vector.
const NMI: u64 = 2;
/// #PF's vector.
const PAGE_FAULT: u64 = 14;
/// #DF's vector: what a stack overflow ends in.
const DOUBLE_FAULT: u64 = 8;

#[unsafe(no_mangle)]
extern "C" fn interrupt_entry(frame: &mut TrapFrame) {
    match u8::try_from(frame.vector) {
        Ok(vector) if vector >= 32 => irq::dispatch(vector),
        _ => exception(frame),
    }
}

fn exception(frame: &TrapFrame) {
    if frame.vector == NMI && panic::stopped_by_another() {
        panic::halt();
    }
    let name = EXCEPTIONS.get(frame.vector as usize);
    let (short, name) = name.map_or(("", ""), |name| (name.mnemonic, name.description));
    let cr2 = x86_64::registers::control::Cr2::read_raw();
    match frame.vector {
        PAGE_FAULT | DOUBLE_FAULT if let Some(cpu) = stack::overflowed(cr2) => panic::exception(
            frame,
            format_args!("{short} {name}: the stack of CPU {cpu} is full"),
        ),
        PAGE_FAULT => {
            let act = match frame.error {
                error if error & 16 != 0 => "execution",
                error if error & 2 != 0 => "write",
                _ => "read",
            };
            panic::exception(
                frame,
                format_args!(
                    "{short} {name}: {act} at {cr2:#018x}, error code {:#x}",
                    frame.error
                ),
            )
        }
        _ => panic::exception(
            frame,
            format_args!("{short} {name}, error code {:#x}", frame.error),
        ),
    }
}
