//! Single instructions.
#![allow(unsafe_code, reason = "instructions")]

#[cfg(test)]
use core::arch::x86_64 as intrinsics;
#[cfg(target_os = "none")]
use core::arch::{asm, x86_64 as intrinsics};

/// What CPUID answered.
pub use intrinsics::CpuidResult;

/// CPUID.
pub fn cpuid(leaf: u32, subleaf: u32) -> CpuidResult {
    intrinsics::__cpuid_count(leaf, subleaf)
}

/// The time-stamp counter, in its own ticks.
pub fn rdtsc() -> u64 {
    // SAFETY: every x86-64 CPU has RDTSC, and the hypervisor runs where it is allowed.
    unsafe { intrinsics::_rdtsc() }
}

/// Hints that this is a spin loop.
pub fn pause() {
    core::hint::spin_loop();
}

pub use bare::*;

#[cfg(target_os = "none")]
mod bare {
    use super::asm;

    /// Lets interrupts in and sleeps until one came; returns with interrupts off.
    pub fn halt_once() {
        // SAFETY: every vector has a handler that restores all registers; memory is clobbered by
        // default, so nothing is cached across.
        unsafe { asm!("sti", "hlt", "cli", options(nostack)) };
    }

    /// Lets pending interrupts in; returns with interrupts off.
    pub fn interrupt_window() {
        // SAFETY: as in `halt_once`. The NOP is behind STI's shadow.
        unsafe { asm!("sti", "nop", "cli", options(nostack)) };
    }

    /// Reads a model-specific register. One that does not exist is a #GP, which stops microhv.
    pub fn rdmsr(msr: u32) -> u64 {
        let (low, high): (u32, u32);
        // SAFETY: reading a register has no effect on memory.
        unsafe {
            asm!("rdmsr", in("ecx") msr, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags))
        };
        u64::from(high) << 32 | u64::from(low)
    }

    /// Writes a model-specific register. A register or value that does not exist is a #GP, which
    /// stops microhv.
    pub fn wrmsr(msr: u32, value: u64) {
        // SAFETY: the callers are the hypervisor's own drivers of that register; no guest value
        // gets here unchecked.
        unsafe {
            asm!("wrmsr", in("ecx") msr, in("eax") value as u32, in("edx") (value >> 32) as u32, options(nostack, preserves_flags))
        };
    }

    macro_rules! ports {
        ($($read:ident $write:ident $register:tt $t:ty;)*) => {$(
            /// Reads an I/O port.
            pub fn $read(port: u16) -> $t {
                let value: $t;
                // SAFETY: the hypervisor's drivers only name ports of devices it owns.
                unsafe { asm!(concat!("in ", $register, ", dx"), in("dx") port, out($register) value, options(nomem, nostack, preserves_flags)) };
                value
            }

            /// Writes an I/O port.
            pub fn $write(port: u16, value: $t) {
                // SAFETY: as for reading.
                unsafe { asm!(concat!("out dx, ", $register), in("dx") port, in($register) value, options(nostack, preserves_flags)) };
            }
        )*};
    }

    ports! {
        inb outb "al" u8;
        inw outw "ax" u16;
        inl outl "eax" u32;
    }
}

#[cfg(test)]
mod bare {
    //! Stand-ins: no interrupts, registers that read as zeros, ports that are the test's.
    use super::ports;

    /// Nothing to wait for on the host.
    pub fn halt_once() {}
    /// No interrupts on the host.
    pub fn interrupt_window() {}
    /// Zero.
    pub fn rdmsr(_msr: u32) -> u64 {
        0
    }
    /// Dropped.
    pub fn wrmsr(_msr: u32, _value: u64) {}
    /// What [`ports::ANSWER`] says.
    pub fn inb(_port: u16) -> u8 {
        ports::ANSWER.get() as u8
    }
    /// The same.
    pub fn inw(_port: u16) -> u16 {
        ports::ANSWER.get() as u16
    }
    /// The same.
    pub fn inl(_port: u16) -> u32 {
        ports::ANSWER.get()
    }
    /// Kept in [`ports::WRITTEN`].
    pub fn outb(port: u16, value: u8) {
        outl(port, value.into());
    }
    /// The same.
    pub fn outw(port: u16, value: u16) {
        outl(port, value.into());
    }
    /// The same.
    pub fn outl(port: u16, value: u32) {
        ports::WRITTEN.with_borrow_mut(|all| all.push((port, value)));
    }
}

/// The ports of a test.
#[cfg(test)]
pub mod ports {
    use std::cell::{Cell, RefCell};

    std::thread_local! {
        /// What every port reads as: all ones until a test says something else.
        pub static ANSWER: Cell<u32> = const { Cell::new(!0) };
        /// What was written, port by port.
        pub static WRITTEN: RefCell<Vec<(u16, u32)>> = const { RefCell::new(Vec::new()) };
    }
}
