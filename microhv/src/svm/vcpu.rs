//! The virtual CPU: a VMCB and what goes with it.
#![allow(unsafe_code, reason = "registers of the CPU")]

use super::asid::Asid;
use super::vmcb::{self, Intercept1, Intercept2, Vmcb, v_intr};
use super::{decode, deliver, enable, entry};
use crate::mm::PageBox;
use crate::types::Mfn;
use crate::vcpu::injection::{Information, Interrupted};
use crate::vcpu::state::{CR0_PG, EFER_LMA, EFER_LME, EXCEPTIONS, PAT_RESET, RFLAGS_IF};
use crate::vcpu::{CpuState, Event, Exit, Registers, VirtualCpu, Window};
use crate::vlapic::VLapic;

/// CS.L in packed attributes.
const ATTRIBUTE_L: u16 = 1 << 9;

/// One virtual CPU on SVM.
pub struct Vcpu {
    vmcb: PageBox<Vmcb>,
    registers: Registers,
    asid: Asid,
    /// What to put into EVENTINJ at the next entry: exceptions and NMIs.
    event: Option<Information>,
    /// The vector of the interrupt to deliver at the next entry; see [`deliver`].
    interrupt: Option<u8>,
    /// An NMI was delivered and its handler has not returned.
    nmi_masked: bool,
    /// rip at the last exit, and behind its instruction.
    exit_rip: u64,
    next_rip: u64,
}

impl Vcpu {
    /// A vCPU in the state after INIT on nested table `root`. `None`: out of memory, or SVM is off.
    pub fn new(root: Mfn) -> Option<Self> {
        let bitmaps = enable::bitmaps()?;
        let mut vmcb = PageBox::<Vmcb>::new_zeroed()?;
        vmcb.intercept_exceptions = EXCEPTIONS;
        vmcb.intercept_1 = Intercept1::all() - Intercept1::AT_TIMES;
        vmcb.intercept_2 = Intercept2::all();
        vmcb.iopm_base_pa = bitmaps.iopm.address();
        vmcb.msrpm_base_pa = bitmaps.msrpm.address();
        vmcb.v_intr = v_intr::V_INTR_MASKING;
        vmcb.np_enable = vmcb::NP_ENABLE;
        vmcb.n_cr3 = root.address();
        vmcb.g_pat = PAT_RESET;
        let mut vcpu = Self {
            vmcb,
            registers: Registers::default(),
            asid: Asid::default(),
            event: None,
            interrupt: None,
            nmi_masked: false,
            exit_rip: 0,
            next_rip: 0,
        };
        vcpu.set_state(&CpuState::startup(0));
        Some(vcpu)
    }

    #[cfg(target_os = "none")]
    fn enter(&mut self) {
        let (guest, host) = (self.vmcb.mfn().address(), enable::host_page());
        debug_assert!(host != 0);
        // SAFETY: `new` made the VMCB and fails unless `init` ran; every CPU that schedules ran it. The caller keeps the
        // nested table alive, and the hypervisor runs with interrupts off.
        unsafe { entry::enter(&raw mut self.registers, guest, host) };
    }

    #[cfg(test)]
    fn enter(&mut self) {
        let _ = (entry::enter, enable::host_page());
        self.vmcb.exitcode = 0x7f;
    }
}

impl VirtualCpu for Vcpu {
    fn run(&mut self) -> Exit {
        let flush = enable::renew(&mut self.asid);
        let vmcb = &mut *self.vmcb;
        vmcb.guest_asid = self.asid.number;
        vmcb.tlb_control = if flush { vmcb::TLB_FLUSH_ALL } else { 0 };
        vmcb.eventinj = self
            .event
            .take()
            .map_or([0; 2], |event| [event.info, event.code]);
        if let Some(vector) = self.interrupt {
            let at_once = self.registers.rflags & RFLAGS_IF != 0 && vmcb.interrupt_shadow & 1 == 0;
            deliver::request(vmcb, vector, at_once && !self.nmi_masked);
        }
        vmcb.rax = self.registers.rax;
        vmcb.rsp = self.registers.rsp;
        vmcb.rip = self.registers.rip;
        vmcb.rflags = self.registers.rflags;
        self.enter();
        if self.interrupt.is_some() {
            self.interrupt = deliver::take_back(&mut self.vmcb);
        }
        let vmcb = &*self.vmcb;
        self.registers.rax = vmcb.rax;
        self.registers.rsp = vmcb.rsp;
        self.registers.rip = vmcb.rip;
        self.registers.rflags = vmcb.rflags;
        let [info, code] = vmcb.exitintinfo;
        match Information::interrupted(info, code) {
            Some(Interrupted::Interrupt(vector)) => self.interrupt = Some(vector),
            Some(Interrupted::Other(event)) => self.event = Some(event),
            None => {}
        }
        let (exit, next) = decode::decode(vmcb, &self.registers, enable::has_nrip_save());
        self.exit_rip = self.registers.rip;
        let pointer = if self.is_64bit() {
            u64::MAX
        } else {
            0xffff_ffff
        };
        self.next_rip = next & pointer;
        if self.vmcb.exitcode == decode::code::IRET {
            // A handler is about to end, of an NMI or of an interrupt behind which others wait; nothing else is to be
            // done.
            self.nmi_masked = false;
            self.vmcb.intercept_1.remove(Intercept1::IRET);
        }
        exit
    }

    fn registers(&self) -> &Registers {
        &self.registers
    }

    fn registers_mut(&mut self) -> &mut Registers {
        &mut self.registers
    }

    fn state(&self) -> CpuState {
        let vmcb = &*self.vmcb;
        CpuState {
            registers: self.registers,
            cr0: vmcb.cr0,
            cr2: vmcb.cr2,
            cr3: vmcb.cr3,
            cr4: vmcb.cr4,
            // With nested paging the CPU reads them when it walks the tables.
            pdptes: [0; 4],
            efer: self.efer(),
            segments: vmcb.segments,
        }
    }

    fn set_state(&mut self, state: &CpuState) {
        self.registers = state.registers;
        let vmcb = &mut *self.vmcb;
        vmcb.cr0 = state.cr0;
        vmcb.cr2 = state.cr2;
        vmcb.cr3 = state.cr3;
        vmcb.cr4 = state.cr4;
        vmcb.segments = state.segments;
        vmcb.cpl = (state.segments.ss.attributes >> 5 & 3) as u8;
        vmcb.dr6 = 0xffff_0ff0;
        vmcb.dr7 = 0x400;
        vmcb.interrupt_shadow = 0;
        vmcb.intercept_1.remove(Intercept1::IRET);
        self.event = None;
        self.interrupt = None;
        self.nmi_masked = false;
        self.set_efer(state.efer);
        self.request_interrupt_window(Window::None);
        self.flush_tlb();
    }

    fn cr0(&self) -> u64 {
        self.vmcb.cr0
    }

    fn cr3(&self) -> u64 {
        self.vmcb.cr3
    }

    fn cr4(&self) -> u64 {
        self.vmcb.cr4
    }

    fn efer(&self) -> u64 {
        self.vmcb.efer & !vmcb::EFER_SVME
    }

    fn set_efer(&mut self, value: u64) {
        let active = value & EFER_LME != 0 && self.vmcb.cr0 & CR0_PG != 0;
        let lma = if active { EFER_LMA } else { 0 };
        self.vmcb.efer = value & !EFER_LMA | lma | vmcb::EFER_SVME;
    }

    fn pat(&self) -> u64 {
        self.vmcb.g_pat
    }

    fn set_pat(&mut self, value: u64) {
        self.vmcb.g_pat = value;
    }

    fn cpl(&self) -> u8 {
        self.vmcb.cpl
    }

    fn is_64bit(&self) -> bool {
        self.vmcb.efer & EFER_LMA != 0 && self.vmcb.segments.cs.attributes & ATTRIBUTE_L != 0
    }

    fn skip_instruction(&mut self) {
        self.registers.rip = self.next_rip;
        self.vmcb.interrupt_shadow = 0;
    }

    fn repeat_instruction(&mut self) {
        self.registers.rip = self.exit_rip;
    }

    fn has_event(&self) -> bool {
        self.event.is_some() || self.interrupt.is_some()
    }

    fn can_interrupt(&self) -> bool {
        !self.has_event() && self.interrupts_enabled() && self.vmcb.interrupt_shadow & 1 == 0
    }

    fn can_nmi(&self) -> bool {
        !self.has_event() && !self.nmi_masked && self.vmcb.interrupt_shadow & 1 == 0
    }

    fn inject(&mut self, event: Event) {
        if event == Event::Nmi {
            self.nmi_masked = true;
            self.vmcb.intercept_1.insert(Intercept1::IRET);
        }
        match event {
            Event::Interrupt(vector) => self.interrupt = Some(vector),
            other => self.event = Some(Information::of(other, self.cr0())),
        }
    }

    fn request_interrupt_window(&mut self, window: Window) {
        // A virtual interrupt of the highest priority: when the guest could take it, the intercept comes first.
        // It does not take CR8 into account: whether V_TPR or V_INTR_PRIO wins a tie differs between hardware and
        // QEMU's TCG, and TCG 7.2 ends with an assertion when a guest writes CR8 while a virtual interrupt waits.
        if window == Window::Open {
            self.vmcb.v_intr |= v_intr::REQUEST;
            self.vmcb.intercept_1.insert(Intercept1::VINTR);
        } else {
            self.vmcb.v_intr &= !v_intr::REQUEST;
            self.vmcb.intercept_1.remove(Intercept1::VINTR);
        }
        self.vmcb.intercept_cr = if window == Window::None {
            0
        } else {
            deliver::INTERCEPT_WRITE_CR8
        };
    }

    fn load_apic(&mut self, apic: &VLapic) {
        self.vmcb.v_intr = self.vmcb.v_intr & !v_intr::V_TPR | u64::from(apic.cr8() & 0xf);
    }

    fn save_apic(&mut self, apic: &VLapic) {
        let cr8 = (self.vmcb.v_intr & v_intr::V_TPR & 0xf) as u8;
        if cr8 != apic.cr8() {
            apic.set_cr8(cr8);
        }
    }

    fn flush_tlb(&mut self) {
        self.asid = Asid::default();
    }

    fn dump(&self) {
        let vmcb = &self.vmcb;
        log::error!(
            "vmcb: exit {:#x} info {:#x} {:#x} intinfo {:x?} eventinj {:x?} v_intr {:#x} shadow {:#x} asid {} dr6 {:#x} dr7 {:#x} cpl {}",
            vmcb.exitcode,
            vmcb.exitinfo1,
            vmcb.exitinfo2,
            vmcb.exitintinfo,
            vmcb.eventinj,
            vmcb.v_intr,
            vmcb.interrupt_shadow,
            vmcb.guest_asid,
            vmcb.dr6,
            vmcb.dr7,
            vmcb.cpl
        );
    }
}
