//! The way into a guest and back.
#![allow(unsafe_code, reason = "the way into a guest")]

use crate::speculation;
use crate::vcpu::registers::{self, Registers};
use core::arch::naked_asm;
use core::mem::offset_of;
use x86::vmx::vmcs::host;

/// Runs the guest of the current control structure until it exits. False: VMLAUNCH or VMRESUME itself failed.
///
/// # Safety
/// `registers` is valid; the control structure's tables and permission maps are the guest's, and its host fields this
/// CPU's; `launched` says whether it was entered since it was loaded; interrupts are off.
#[unsafe(naked)]
pub unsafe extern "sysv64" fn enter(registers: *mut Registers, launched: bool) -> bool {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "push rdi",
        "mov eax, {host_rsp}",
        "vmwrite rax, rsp",
        "lea rdx, [rip + 2f]",
        "mov eax, {host_rip}",
        "vmwrite rax, rdx",
        speculation::before_entry!(),
        "test sil, sil",
        "mov rax, [rdi + {rax}]",
        registers::load_registers!(),
        "jnz 3f",
        "vmlaunch",
        "jmp 4f",
        "3:",
        "vmresume",
        // Still here: nothing was changed.
        "4:",
        "pop rdi",
        "xor eax, eax",
        "jmp 5f",
        // The exit.
        "2:",
        registers::save_registers!(),
        "mov [rdi + {rax}], rax",
        speculation::after_exit!(),
        "mov eax, 1",
        "5:",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
        switch = sym speculation::SWITCH,
        host_rsp = const host::RSP,
        host_rip = const host::RIP,
        rax = const offset_of!(Registers, rax),
    );
}
