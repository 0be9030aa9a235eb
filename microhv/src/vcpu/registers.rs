//! The registers that every exit saves.

use core::fmt;
use core::mem::offset_of;

/// General registers in the order the entry code saves them, and the three that the hardware keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the architecture's")]
pub struct Registers {
    pub rbx: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rbp: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    pub rax: u64,
    pub rsp: u64,
    pub rip: u64,
    pub rflags: u64,
}

/// Assembly of a backend's way in: all registers that no hardware switches but rax, from the [`Registers`] that rdi points
/// to. Changes no flags.
macro_rules! load_registers {
    () => {
        "mov rbx, [rdi + 0]
         mov rcx, [rdi + 8]
         mov rdx, [rdi + 16]
         mov rsi, [rdi + 24]
         mov rbp, [rdi + 40]
         mov r8, [rdi + 48]
         mov r9, [rdi + 56]
         mov r10, [rdi + 64]
         mov r11, [rdi + 72]
         mov r12, [rdi + 80]
         mov r13, [rdi + 88]
         mov r14, [rdi + 96]
         mov r15, [rdi + 104]
         mov rdi, [rdi + 32]"
    };
}

/// Assembly of a backend's way out: rdi comes from the top of the stack again, and all registers that no hardware switches
/// but rax go where it points. Changes no flags.
macro_rules! save_registers {
    () => {
        "xchg rdi, [rsp]
         mov [rdi + 0], rbx
         mov [rdi + 8], rcx
         mov [rdi + 16], rdx
         mov [rdi + 24], rsi
         mov [rdi + 40], rbp
         mov [rdi + 48], r8
         mov [rdi + 56], r9
         mov [rdi + 64], r10
         mov [rdi + 72], r11
         mov [rdi + 80], r12
         mov [rdi + 88], r13
         mov [rdi + 96], r14
         mov [rdi + 104], r15
         pop qword ptr [rdi + 32]"
    };
}

pub(crate) use {load_registers, save_registers};

// The assembly's offsets.
const _: () = assert!(offset_of!(Registers, rdi) == 32 && offset_of!(Registers, r15) == 104);

impl Registers {
    /// The value in edx:eax, as RDMSR, WRMSR and XSETBV use it.
    pub const fn edx_eax(&self) -> u64 {
        (self.rdx & 0xffff_ffff) << 32 | (self.rax & 0xffff_ffff)
    }

    /// The general register with this number in an instruction's encoding, 0..=15.
    pub const fn by_number(&self, number: u8) -> u64 {
        match number & 15 {
            0 => self.rax,
            1 => self.rcx,
            2 => self.rdx,
            3 => self.rbx,
            4 => self.rsp,
            5 => self.rbp,
            6 => self.rsi,
            7 => self.rdi,
            8 => self.r8,
            9 => self.r9,
            10 => self.r10,
            11 => self.r11,
            12 => self.r12,
            13 => self.r13,
            14 => self.r14,
            _ => self.r15,
        }
    }

    /// Puts `value` into edx:eax; the upper halves become zero.
    pub const fn set_edx_eax(&mut self, value: u64) {
        self.rax = value & 0xffff_ffff;
        self.rdx = value >> 32;
    }
}

impl fmt::Display for Registers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "rip {:#x} rsp {:#x} rflags {:#x} rax {:#x}",
            self.rip, self.rsp, self.rflags, self.rax
        )?;
        write!(
            f,
            " rbx {:#x} rcx {:#x} rdx {:#x}",
            self.rbx, self.rcx, self.rdx
        )?;
        write!(
            f,
            " rsi {:#x} rdi {:#x} rbp {:#x}",
            self.rsi, self.rdi, self.rbp
        )
    }
}
