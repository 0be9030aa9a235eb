//! The virtual machine control block (AMD64 manual, volume 2, appendix B).
#![allow(unsafe_code, reason = "memory shared with the CPU")]

use crate::vcpu::{Segment, Table};

/// A segment register in the state save area.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct VmcbSegment {
    pub selector: u16,
    pub attributes: u16,
    pub limit: u32,
    pub base: u64,
}

impl From<Segment> for VmcbSegment {
    fn from(from: Segment) -> Self {
        Self {
            selector: from.selector,
            attributes: from.attributes,
            limit: from.limit,
            base: from.base,
        }
    }
}

impl From<VmcbSegment> for Segment {
    fn from(from: VmcbSegment) -> Self {
        Self {
            selector: from.selector,
            attributes: from.attributes,
            limit: from.limit,
            base: from.base,
        }
    }
}

impl From<Table> for VmcbSegment {
    fn from(from: Table) -> Self {
        Self {
            limit: from.limit.into(),
            base: from.base,
            ..Self::default()
        }
    }
}

impl From<VmcbSegment> for Table {
    fn from(from: VmcbSegment) -> Self {
        Self {
            limit: from.limit as u16,
            base: from.base,
        }
    }
}

/// The whole block: control area, then state save area.
#[repr(C, align(4096))]
pub struct Vmcb {
    pub intercept_cr: u32,
    pub intercept_dr: u32,
    pub intercept_exceptions: u32,
    pub intercept_1: u32,
    pub intercept_2: u32,
    pub intercept_3: u32,
    reserved_018: [u8; 0x24],
    pub pause_filter_threshold: u16,
    pub pause_filter_count: u16,
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
    pub exitintinfo: u64,
    pub np_enable: u64,
    pub avic_apic_bar: u64,
    pub ghcb: u64,
    pub eventinj: u64,
    pub n_cr3: u64,
    pub lbr_virtualization_enable: u64,
    pub vmcb_clean_bits: u64,
    pub nrip: u64,
    pub guest_instruction: [u8; 16],
    reserved_0e0: [u8; 0x320],
    pub es: VmcbSegment,
    pub cs: VmcbSegment,
    pub ss: VmcbSegment,
    pub ds: VmcbSegment,
    pub fs: VmcbSegment,
    pub gs: VmcbSegment,
    pub gdtr: VmcbSegment,
    pub ldtr: VmcbSegment,
    pub idtr: VmcbSegment,
    pub tr: VmcbSegment,
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
    pub s_cet: u64,
    pub ssp: u64,
    pub isst_addr: u64,
    pub rax: u64,
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub sfmask: u64,
    pub kernel_gs_base: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    pub cr2: u64,
    reserved_648: [u8; 0x20],
    pub g_pat: u64,
    pub dbgctl: u64,
    pub br_from: u64,
    pub br_to: u64,
    pub lastexcpfrom: u64,
    pub lastexcpto: u64,
    reserved_698: [u8; 0x968],
}

/// [`Vmcb::intercept_1`].
pub mod intercept_1 {
    pub const INTR: u32 = 1 << 0;
    pub const NMI: u32 = 1 << 1;
    pub const INIT: u32 = 1 << 3;
    pub const VINTR: u32 = 1 << 4;
    pub const RDPMC: u32 = 1 << 15;
    pub const CPUID: u32 = 1 << 18;
    pub const IRET: u32 = 1 << 20;
    pub const INVD: u32 = 1 << 22;
    pub const HLT: u32 = 1 << 24;
    pub const INVLPGA: u32 = 1 << 26;
    pub const IOIO_PROT: u32 = 1 << 27;
    pub const MSR_PROT: u32 = 1 << 28;
    pub const FERR_FREEZE: u32 = 1 << 30;
    pub const SHUTDOWN: u32 = 1 << 31;
}

/// [`Vmcb::intercept_2`].
pub mod intercept_2 {
    pub const VMRUN: u32 = 1 << 0;
    pub const VMMCALL: u32 = 1 << 1;
    pub const VMLOAD: u32 = 1 << 2;
    pub const VMSAVE: u32 = 1 << 3;
    pub const STGI: u32 = 1 << 4;
    pub const CLGI: u32 = 1 << 5;
    pub const SKINIT: u32 = 1 << 6;
    pub const WBINVD: u32 = 1 << 9;
    pub const MONITOR: u32 = 1 << 10;
    pub const MWAIT: u32 = 1 << 11;
    pub const MWAIT_CONDITIONAL: u32 = 1 << 12;
    pub const XSETBV: u32 = 1 << 13;
    pub const RDPRU: u32 = 1 << 14;
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

/// [`Vmcb::eventinj`] and [`Vmcb::exitintinfo`].
pub mod event {
    pub const VECTOR: u64 = 0xff;
    pub const TYPE: u64 = 7 << 8;
    pub const TYPE_INTR: u64 = 0 << 8;
    pub const TYPE_NMI: u64 = 2 << 8;
    pub const TYPE_EXCEPTION: u64 = 3 << 8;
    pub const EV: u64 = 1 << 11;
    pub const V: u64 = 1 << 31;
}

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
        assert_eq!(size_of::<VmcbSegment>(), 16);
    }

    #[test]
    fn control_area_is_where_the_manual_says() {
        assert_eq!(offset_of!(Vmcb, intercept_exceptions), 0x008);
        assert_eq!(offset_of!(Vmcb, intercept_1), 0x00c);
        assert_eq!(offset_of!(Vmcb, intercept_2), 0x010);
        assert_eq!(offset_of!(Vmcb, pause_filter_count), 0x03e);
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
        assert_eq!(offset_of!(Vmcb, vmcb_clean_bits), 0x0c0);
        assert_eq!(offset_of!(Vmcb, nrip), 0x0c8);
        assert_eq!(offset_of!(Vmcb, guest_instruction), 0x0d0);
    }

    #[test]
    fn save_area_is_where_the_manual_says() {
        assert_eq!(offset_of!(Vmcb, es), 0x400);
        assert_eq!(offset_of!(Vmcb, gdtr), 0x460);
        assert_eq!(offset_of!(Vmcb, tr), 0x490);
        assert_eq!(offset_of!(Vmcb, cpl), 0x4cb);
        assert_eq!(offset_of!(Vmcb, efer), 0x4d0);
        assert_eq!(offset_of!(Vmcb, cr4), 0x548);
        assert_eq!(offset_of!(Vmcb, cr0), 0x558);
        assert_eq!(offset_of!(Vmcb, dr6), 0x568);
        assert_eq!(offset_of!(Vmcb, rip), 0x578);
        assert_eq!(offset_of!(Vmcb, rsp), 0x5d8);
        assert_eq!(offset_of!(Vmcb, rax), 0x5f8);
        assert_eq!(offset_of!(Vmcb, star), 0x600);
        assert_eq!(offset_of!(Vmcb, kernel_gs_base), 0x620);
        assert_eq!(offset_of!(Vmcb, cr2), 0x640);
        assert_eq!(offset_of!(Vmcb, g_pat), 0x668);
        assert_eq!(offset_of!(Vmcb, lastexcpto), 0x690);
    }
}
