//! The VMX instructions (Intel SDM, volume 3C, chapter 31). On the host a control structure is a table of fields in
//! its own page, so that what is written to which field can be tested there.
#![allow(unsafe_code, reason = "instructions")]

pub use bare::*;

#[cfg(target_os = "none")]
mod bare {
    use core::arch::asm;

    macro_rules! on_address {
        ($($(#[$doc:meta])* $name:ident $mnemonic:literal;)*) => {$(
            $(#[$doc])*
            pub unsafe fn $name(address: u64) -> bool {
                let failed: u8;
                // SAFETY: the caller vouches for the region.
                unsafe { asm!(concat!($mnemonic, " [{}]"), "setna {}", in(reg) &raw const address, out(reg_byte) failed, options(nostack)) };
                failed == 0
            }
        )*};
    }

    on_address! {
        /// Enters VMX operation. False: the CPU refused.
        ///
        /// # Safety
        /// CR4.VMXE is set, and `address` is a frame that is this CPU's for ever, with the revision in its first word.
        vmxon "vmxon";
        /// Makes the control structure at `address` current and active. False: it is not one.
        ///
        /// # Safety
        /// VMX operation is on; the frame is a control structure that no other CPU has active.
        vmptrld "vmptrld";
        /// Writes back what the CPU holds of the control structure at `address`; it is neither current nor launched then.
        ///
        /// # Safety
        /// As for [`vmptrld`].
        vmclear "vmclear";
    }

    /// Reads a field of the current control structure, which is at `current`. `None`: there is no such field.
    pub fn vmread(_current: u64, field: u32) -> Option<u64> {
        let (value, failed): (u64, u8);
        // SAFETY: reads a field; VMX operation is on wherever a control structure exists.
        unsafe {
            asm!("vmread {}, {}", "setna {}", out(reg) value, in(reg) u64::from(field), out(reg_byte) failed, options(nostack))
        };
        (failed == 0).then_some(value)
    }

    /// Writes a field of the current control structure, which is at `current`. False: there is no such field. What the fields say
    /// happens at the next entry, whose safety is argued there.
    pub fn vmwrite(_current: u64, field: u32, value: u64) -> bool {
        let failed: u8;
        // SAFETY: writes into the control structure only; host fields are `host`'s and the entry code's alone.
        unsafe {
            asm!("vmwrite {}, {}", "setna {}", in(reg) u64::from(field), in(reg) value, out(reg_byte) failed, options(nostack))
        };
        failed == 0
    }

    /// Forgets what this CPU has cached of the tables under EPT pointer `pointer`, if `single`, or of all.
    pub fn invept(single: bool, pointer: u64) {
        let descriptor = [pointer, 0];
        let kind: u64 = if single { 1 } else { 2 };
        // SAFETY: invalidating is always sound.
        unsafe {
            asm!("invept {}, [{}]", in(reg) kind, in(reg) &raw const descriptor, options(nostack))
        };
    }

    /// Has the NMI that ended guest mode handled: its exit holds NMIs back until an IRET.
    pub fn take_nmi() {
        // SAFETY: the vector has a handler that restores all registers and returns with IRET.
        unsafe { asm!("int 2") };
    }
}

#[cfg(test)]
mod bare {
    use crate::mm::phys;
    use crate::types::Mfn;

    /// Where `field` is in the page, or would be: pairs of field + 1 and value, behind the header.
    fn place(page: Mfn, field: u32) -> Option<usize> {
        let key = u64::from(field) + 1;
        let mut places = (16..4096).step_by(16);
        places.find(|&at| phys::read_u64(page, at) == 0 || phys::read_u64(page, at) == key)
    }

    pub unsafe fn vmxon(_address: u64) -> bool {
        true
    }
    pub unsafe fn vmptrld(_address: u64) -> bool {
        true
    }
    pub unsafe fn vmclear(_address: u64) -> bool {
        true
    }
    pub fn vmread(current: u64, field: u32) -> Option<u64> {
        let page = Mfn::containing(current);
        place(page, field).map(|at| phys::read_u64(page, at + 8))
    }
    pub fn vmwrite(current: u64, field: u32, value: u64) -> bool {
        let page = Mfn::containing(current);
        let Some(at) = place(page, field) else {
            return false;
        };
        phys::write_u64(page, at, u64::from(field) + 1);
        phys::write_u64(page, at + 8, value);
        true
    }
    pub fn invept(_single: bool, _pointer: u64) {}
    pub fn take_nmi() {}
}
