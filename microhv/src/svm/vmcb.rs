//! The virtual machine control block (AMD64 manual, volume 2, appendix B).
#![allow(unsafe_code, reason = "memory shared with the CPU")]

use crate::vcpu::Segments;
use bitflags::bitflags;

/// The whole block: control area, then state save area. What nobody here uses is reserved too.
#[repr(C, align(4096))]
pub struct Vmcb {
    pub intercept_cr: u32,
    reserved_004: u32,
    pub intercept_exceptions: u32,
    pub intercept_1: Intercept1,
    pub intercept_2: Intercept2,
    reserved_014: [u8; 0x2c],
    pub iopm_base_pa: u64,
    pub msrpm_base_pa: u64,
    pub tsc_offset: u64,
    pub guest_asid: u32,
    pub tlb_control: u8,
    reserved_05d: [u8; 3],
    pub v_intr: u64,
    pub interrupt_shadow: u64,
    pub exitcode: u64,
    pub exitinfo1: u64,
    pub exitinfo2: u64,
    pub exitintinfo: [u32; 2],
    pub np_enable: u64,
    reserved_098: [u8; 0x10],
    pub eventinj: [u32; 2],
    pub n_cr3: u64,
    reserved_0b8: [u8; 0x10],
    pub nrip: u64,
    reserved_0d0: [u8; 0x330],
    pub segments: Segments,
    reserved_4a0: [u8; 0x2b],
    pub cpl: u8,
    reserved_4cc: u32,
    pub efer: u64,
    reserved_4d8: [u8; 0x70],
    pub cr4: u64,
    pub cr3: u64,
    pub cr0: u64,
    pub dr7: u64,
    pub dr6: u64,
    pub rflags: u64,
    pub rip: u64,
    reserved_580: [u8; 0x58],
    pub rsp: u64,
    reserved_5e0: [u8; 0x18],
    pub rax: u64,
    reserved_600: [u8; 0x40],
    pub cr2: u64,
    reserved_648: [u8; 0x20],
    pub g_pat: u64,
    reserved_670: [u8; 0x990],
}

bitflags! {
    /// [`Vmcb::intercept_1`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[repr(transparent)]
    pub struct Intercept1: u32 {
        const INTR = 1 << 0;
        const NMI = 1 << 1;
        const INIT = 1 << 3;
        const VINTR = 1 << 4;
        const RDPMC = 1 << 15;
        const CPUID = 1 << 18;
        const IRET = 1 << 20;
        const INVD = 1 << 22;
        const HLT = 1 << 24;
        const INVLPGA = 1 << 26;
        const IOIO_PROT = 1 << 27;
        const MSR_PROT = 1 << 28;
        const FERR_FREEZE = 1 << 30;
        const SHUTDOWN = 1 << 31;
        /// Those that are asked for while something waits for them.
        const AT_TIMES = Self::VINTR.bits() | Self::IRET.bits();
    }

    /// [`Vmcb::intercept_2`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[repr(transparent)]
    pub struct Intercept2: u32 {
        const VMRUN = 1 << 0;
        const VMMCALL = 1 << 1;
        const VMLOAD = 1 << 2;
        const VMSAVE = 1 << 3;
        const STGI = 1 << 4;
        const CLGI = 1 << 5;
        const SKINIT = 1 << 6;
        const WBINVD = 1 << 9;
        const MONITOR = 1 << 10;
        const MWAIT = 1 << 11;
        const MWAIT_CONDITIONAL = 1 << 12;
        const XSETBV = 1 << 13;
        const RDPRU = 1 << 14;
    }
}

/// [`Vmcb::v_intr`].
pub mod v_intr {
    pub const V_TPR: u64 = 0xff;
    pub const V_IRQ: u64 = 1 << 8;
    pub const V_INTR_PRIO: u64 = 0xf << 16;
    pub const V_IGN_TPR: u64 = 1 << 20;
    pub const V_INTR_MASKING: u64 = 1 << 24;
    pub const V_INTR_VECTOR: u64 = 0xff << 32;
    /// A virtual interrupt that nothing holds back but RFLAGS.IF and the interrupt shadow.
    pub const REQUEST: u64 = V_IRQ | V_INTR_PRIO | V_IGN_TPR;
}

/// [`Vmcb::np_enable`].
pub const NP_ENABLE: u64 = 1 << 0;

/// [`Vmcb::tlb_control`]: flush the whole TLB, all address spaces.
pub const TLB_FLUSH_ALL: u8 = 1;

/// EFER.SVME.
pub const EFER_SVME: u64 = 1 << 12;

// SAFETY: numbers and arrays of numbers only.
unsafe impl crate::mm::Zeroable for Vmcb {}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    #[test]
    fn the_block_is_one_page() {
        assert_eq!(size_of::<Vmcb>(), 4096);
        assert_eq!(size_of::<Segments>(), 160);
    }

    #[test]
    fn control_area_is_where_the_manual_says() {
        assert_eq!(offset_of!(Vmcb, intercept_exceptions), 0x008);
        assert_eq!(offset_of!(Vmcb, intercept_1), 0x00c);
        assert_eq!(offset_of!(Vmcb, intercept_2), 0x010);
        assert_eq!(Intercept1::all().bits(), 0xdd54_801b);
        assert_eq!(Intercept2::all().bits(), 0x7e7f);
        assert_eq!(offset_of!(Vmcb, iopm_base_pa), 0x040);
        assert_eq!(offset_of!(Vmcb, tsc_offset), 0x050);
        assert_eq!(offset_of!(Vmcb, guest_asid), 0x058);
        assert_eq!(offset_of!(Vmcb, tlb_control), 0x05c);
        assert_eq!(offset_of!(Vmcb, v_intr), 0x060);
        assert_eq!(offset_of!(Vmcb, interrupt_shadow), 0x068);
        assert_eq!(offset_of!(Vmcb, exitcode), 0x070);
        assert_eq!(offset_of!(Vmcb, exitintinfo), 0x088);
        assert_eq!(offset_of!(Vmcb, np_enable), 0x090);
        assert_eq!(offset_of!(Vmcb, eventinj), 0x0a8);
        assert_eq!(offset_of!(Vmcb, n_cr3), 0x0b0);
        assert_eq!(offset_of!(Vmcb, nrip), 0x0c8);
    }

    #[test]
    fn save_area_is_where_the_manual_says() {
        assert_eq!(offset_of!(Vmcb, segments.es), 0x400);
        assert_eq!(offset_of!(Vmcb, segments.gdtr), 0x460);
        assert_eq!(offset_of!(Vmcb, segments.tr), 0x490);
        assert_eq!(offset_of!(Vmcb, cpl), 0x4cb);
        assert_eq!(offset_of!(Vmcb, efer), 0x4d0);
        assert_eq!(offset_of!(Vmcb, cr4), 0x548);
        assert_eq!(offset_of!(Vmcb, cr0), 0x558);
        assert_eq!(offset_of!(Vmcb, dr6), 0x568);
        assert_eq!(offset_of!(Vmcb, rip), 0x578);
        assert_eq!(offset_of!(Vmcb, rsp), 0x5d8);
        assert_eq!(offset_of!(Vmcb, rax), 0x5f8);
        assert_eq!(offset_of!(Vmcb, cr2), 0x640);
        assert_eq!(offset_of!(Vmcb, g_pat), 0x668);
    }
}
