//! Registers of the guest that entry and exit leave alone. The hypervisor uses none of them, so they are switched when a
//! vCPU gets or loses a CPU.
#![allow(unsafe_code, reason = "registers of the CPU")]

use crate::arch::cpu;

/// STAR, LSTAR, CSTAR, SFMASK, KernelGSbase.
pub const MSRS: [u32; 5] = [
    0xc000_0081,
    0xc000_0082,
    0xc000_0083,
    0xc000_0084,
    0xc000_0102,
];
/// DR6 after reset: bits that are always one.
pub const DR6_RESET: u64 = 0xffff_0ff0;

/// Their values while the vCPU is on no CPU.
#[derive(Clone, Copy, Debug)]
pub struct Switched {
    msrs: [u64; MSRS.len()],
    pub cr2: u64,
    pub dr6: u64,
}

impl Switched {
    /// As after reset.
    pub const RESET: Self = Self {
        msrs: [0; MSRS.len()],
        cr2: 0,
        dr6: DR6_RESET,
    };

    /// Puts them into this CPU.
    pub fn load(&self) {
        for (msr, value) in MSRS.into_iter().zip(self.msrs) {
            cpu::wrmsr(msr, value);
        }
        write_cr2(self.cr2);
        write_dr6(self.dr6);
    }

    /// Takes them from this CPU.
    pub fn save(&mut self) {
        self.msrs = MSRS.map(cpu::rdmsr);
        self.cr2 = read_cr2();
        self.dr6 = read_dr6();
    }
}

pub use bare::*;

#[cfg(target_os = "none")]
mod bare {
    use core::arch::asm;

    macro_rules! registers {
        ($($read:ident $write:ident $name:literal;)*) => {$(
            pub fn $read() -> u64 {
                let value;
                // SAFETY: reads a register.
                unsafe { asm!(concat!("mov {}, ", $name), out(reg) value, options(nomem, nostack, preserves_flags)) };
                value
            }
            pub fn $write(value: u64) {
                // SAFETY: the register records faults and has no effect of its own.
                unsafe { asm!(concat!("mov ", $name, ", {}"), in(reg) value, options(nomem, nostack, preserves_flags)) };
            }
        )*};
    }

    registers! {
        read_cr2 write_cr2 "cr2";
        read_dr6 write_dr6 "dr6";
    }
}

#[cfg(test)]
mod bare {
    pub fn read_cr2() -> u64 {
        0
    }
    pub fn write_cr2(_value: u64) {}
    pub fn read_dr6() -> u64 {
        super::DR6_RESET
    }
    pub fn write_dr6(_value: u64) {}
}
