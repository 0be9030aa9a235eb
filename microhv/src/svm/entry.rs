//! The way into a guest and back.
#![allow(unsafe_code, reason = "the way into a guest")]

use crate::speculation;
use crate::vcpu::registers::{self, Registers};
use core::arch::naked_asm;

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
        registers::load_registers!(),
        "vmload rax",
        "vmrun rax",
        // rax and rsp are the host's again: rax still names the guest's block.
        "vmsave rax",
        registers::save_registers!(),
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
