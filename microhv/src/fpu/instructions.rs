//! The instructions that switch the state. On the host they do nothing.
#![allow(unsafe_code, reason = "instructions")]

use super::Area;

pub use bare::*;

#[cfg(target_os = "none")]
mod bare {
    use super::Area;
    use core::arch::x86_64 as arch;
    use x86::debugregs::{dr0, dr0_write, dr1, dr1_write, dr2, dr2_write, dr3, dr3_write};
    use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags};

    /// Lets FXSAVE and XSAVE work on this CPU.
    pub fn enable(xsave: bool) {
        let mut cr4 = Cr4::read() | Cr4Flags::OSFXSR | Cr4Flags::OSXMMEXCPT_ENABLE;
        if xsave {
            cr4 |= Cr4Flags::OSXSAVE;
        }
        let cr0 = Cr0::read() - Cr0Flags::EMULATE_COPROCESSOR - Cr0Flags::TASK_SWITCHED;
        // SAFETY: the bits only allow instructions; memory and control flow stay as they are.
        unsafe {
            Cr4::write(cr4);
            Cr0::write(cr0 | Cr0Flags::MONITOR_COPROCESSOR);
        }
    }

    /// Reads XCR0.
    pub fn xcr0() -> u64 {
        // SAFETY: `enable` set OSXSAVE; the callers know that XSAVE is there.
        unsafe { arch::_xgetbv(0) }
    }

    /// Writes XCR0.
    pub fn set_xcr0(value: u64) {
        // SAFETY: a legal part of what CPUID offers, so no #GP; microhv is soft-float and does not depend on XCR0.
        unsafe { arch::_xsetbv(0, value) };
    }

    /// XSAVE of the components in `mask`.
    pub fn xsave(area: &mut Area, mask: u64) {
        // SAFETY: the area is 64-byte aligned and a page, which holds all components microhv turns on.
        unsafe { arch::_xsave64(area.0.as_mut_ptr(), mask) };
    }

    /// XRSTOR of the components in `mask`.
    pub fn xrstor(area: &Area, mask: u64) {
        // SAFETY: the area holds what `xsave` wrote or the reset state; microhv has no such state of its own to lose.
        unsafe { arch::_xrstor64(area.0.as_ptr(), mask) };
    }

    /// FXSAVE.
    pub fn fxsave(area: &mut Area) {
        // SAFETY: the area is aligned and longer than the 512 bytes written.
        unsafe { arch::_fxsave64(area.0.as_mut_ptr()) };
    }

    /// FXRSTOR.
    pub fn fxrstor(area: &Area) {
        // SAFETY: as for `xrstor`.
        unsafe { arch::_fxrstor64(area.0.as_ptr()) };
    }

    /// Has the x87 forget where its last instruction and operand were. `area` is one to read from.
    pub fn forget_pointers(area: &Area) {
        // SAFETY: reads four bytes of the area; what the x87 holds is loaded anew afterwards.
        unsafe {
            core::arch::asm!("fnclex; emms; fild dword ptr [{}]", in(reg) area.0.as_ptr(), options(nostack, readonly, preserves_flags))
        };
    }

    /// Reads DR0 to DR3; DR6 and DR7 are the virtual CPU's business.
    pub fn debug() -> [u64; 4] {
        // SAFETY: reading has no effect; CR4.DE only matters for DR4 and DR5.
        unsafe { [dr0(), dr1(), dr2(), dr3()] }.map(|address| address as u64)
    }

    /// Writes DR0 to DR3.
    pub fn set_debug(registers: [u64; 4]) {
        let [first, second, third, fourth] = registers.map(|address| address as usize);
        // SAFETY: DR7 of the host enables no breakpoint, so the addresses mean nothing outside the guest.
        unsafe {
            dr0_write(first);
            dr1_write(second);
            dr2_write(third);
            dr3_write(fourth);
        }
    }
}

#[cfg(test)]
mod bare {
    use super::Area;

    pub fn enable(_xsave: bool) {}
    pub fn xcr0() -> u64 {
        1
    }
    pub fn set_xcr0(_value: u64) {}
    pub fn xsave(_area: &mut Area, _mask: u64) {}
    pub fn xrstor(_area: &Area, _mask: u64) {}
    pub fn fxsave(_area: &mut Area) {}
    pub fn fxrstor(_area: &Area) {}
    pub fn forget_pointers(_area: &Area) {}
    pub fn debug() -> [u64; 4] {
        [0; 4]
    }
    pub fn set_debug(_registers: [u64; 4]) {}
}
