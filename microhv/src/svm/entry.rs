//! The way into a guest and back.
#![allow(unsafe_code, reason = "the way into a guest")]

use crate::speculation;
use crate::vcpu::Registers;
use core::arch::naked_asm;
use core::mem::offset_of;

/// Runs the guest of the control block at physical address `guest` until it exits.
///
/// With the global interrupt flag clear, IF is set before VMRUN: with V_INTR_MASKING the host's IF decides
/// whether physical interrupts end guest mode. They stay pending after the exit, because IF is cleared
/// again before the global flag is set.
///
/// # Safety
/// `registers` is valid; `guest` names a VMCB whose nested tables and permission maps are the guest's, and
/// `host` a page that VMSAVE filled on this CPU; SVM is on, with a host save area; interrupts are off.
#[unsafe(naked)]
pub unsafe extern "sysv64" fn enter(registers: *mut Registers, guest: u64, host: u64) {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "push rdx",
        "push rdi",
        "clgi",
        "sti",
        speculation::before_entry!(),
        "mov rax, rsi",
        "mov rbx, [rdi + {rbx}]",
        "mov rcx, [rdi + {rcx}]",
        "mov rdx, [rdi + {rdx}]",
        "mov rsi, [rdi + {rsi}]",
        "mov rbp, [rdi + {rbp}]",
        "mov r8, [rdi + {r8}]",
        "mov r9, [rdi + {r9}]",
        "mov r10, [rdi + {r10}]",
        "mov r11, [rdi + {r11}]",
        "mov r12, [rdi + {r12}]",
        "mov r13, [rdi + {r13}]",
        "mov r14, [rdi + {r14}]",
        "mov r15, [rdi + {r15}]",
        "mov rdi, [rdi + {rdi}]",
        "vmload rax",
        "vmrun rax",
        // rax and rsp are the host's again: rax still names the guest's block.
        "vmsave rax",
        "xchg rdi, [rsp]",
        "mov [rdi + {rbx}], rbx",
        "mov [rdi + {rcx}], rcx",
        "mov [rdi + {rdx}], rdx",
        "mov [rdi + {rsi}], rsi",
        "mov [rdi + {rbp}], rbp",
        "mov [rdi + {r8}], r8",
        "mov [rdi + {r9}], r9",
        "mov [rdi + {r10}], r10",
        "mov [rdi + {r11}], r11",
        "mov [rdi + {r12}], r12",
        "mov [rdi + {r13}], r13",
        "mov [rdi + {r14}], r14",
        "mov [rdi + {r15}], r15",
        "pop qword ptr [rdi + {rdi}]",
        "pop rax",
        "vmload rax",
        speculation::after_exit!(),
        "cli",
        "stgi",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
        switch = sym speculation::SWITCH,
        rbx = const offset_of!(Registers, rbx),
        rcx = const offset_of!(Registers, rcx),
        rdx = const offset_of!(Registers, rdx),
        rsi = const offset_of!(Registers, rsi),
        rdi = const offset_of!(Registers, rdi),
        rbp = const offset_of!(Registers, rbp),
        r8 = const offset_of!(Registers, r8),
        r9 = const offset_of!(Registers, r9),
        r10 = const offset_of!(Registers, r10),
        r11 = const offset_of!(Registers, r11),
        r12 = const offset_of!(Registers, r12),
        r13 = const offset_of!(Registers, r13),
        r14 = const offset_of!(Registers, r14),
        r15 = const offset_of!(Registers, r15),
    );
}

/// Stores the state that VMRUN does not switch (FS, GS, TR, LDTR, system-call MSRs) at physical `page`.
///
/// # Safety
/// SVM is on and `page` is a frame of the hypervisor's own.
pub unsafe fn vmsave(page: u64) {
    // SAFETY: the caller vouches for the frame; the instruction writes nothing else.
    unsafe { core::arch::asm!("vmsave rax", in("rax") page, options(nostack, preserves_flags)) };
}
