//! The virtual CPU: a control structure and what goes with it.
#![allow(unsafe_code, reason = "registers of the CPU")]

use super::apic::ApicPage;
use super::capability::Capabilities;
use super::switched::{self, Switched};
use super::vmcs::Vmcs;
use super::{control_registers, decode, enable, host, segments};
use crate::arch;
use crate::ept;
use crate::types::Mfn;
use crate::vcpu::injection::Information;
use crate::vcpu::state::{CR0_PG, EFER_LMA, EFER_LME, EXCEPTIONS, PAT_RESET};
use crate::vcpu::{CpuState, Event, Exit, Registers, VirtualCpu, Window};
use crate::vlapic::VLapic;
use core::sync::atomic::{AtomicU32, Ordering};
use x86::vmx::vmcs::control::{self, EntryControls, PrimaryControls};
use x86::vmx::vmcs::{guest, ro};

/// CS.L in access rights.
const RIGHTS_L: u64 = 1 << 13;
/// Interruptibility state: blocking by STI or by MOV SS, and by NMI.
pub(super) const SHADOW: u32 = 3;
pub(super) const NMI_BLOCKED: u32 = 1 << 3;

/// One virtual CPU on VMX.
pub struct Vcpu {
    pub(super) vmcs: Vmcs,
    pub(super) capabilities: Capabilities,
    pub(super) apic: ApicPage,
    pub(super) registers: Registers,
    pub(super) switched: Switched,
    /// An exception or NMI for the next entry.
    pub(super) event: Option<Information>,
    /// The vector of the interrupt to deliver as soon as the guest can take it.
    pub(super) interrupt: Option<u8>,
    /// An interrupt waits for the guest to lower its task priority.
    pub(super) held_by_priority: bool,
    /// What the guest's interrupts wait for, as of the last exit.
    pub(super) interruptibility: u32,
    /// The processor-based controls as they should be, and as they are in the structure.
    pub(super) primary: u32,
    pub(super) primary_written: u32,
    /// The task priority threshold as it is in the structure.
    pub(super) threshold: u8,
    /// The preemption timer's value as it is in the structure.
    pub(super) timer: u64,
    /// It is this CPU's current structure; it has been entered since it became so.
    pub(super) loaded: bool,
    pub(super) launched: bool,
    /// `switched` was changed while the vCPU was on no CPU.
    pub(super) switched_changed: bool,
    /// The CPU whose registers the host fields hold.
    host_of: Option<usize>,
    /// The CPU whose cached translations are known to be good.
    pub(super) flushed_on: Option<usize>,
    pub(super) pointer: u64,
    /// rip at the last exit, and behind its instruction.
    pub(super) exit_rip: u64,
    pub(super) next_rip: u64,
}

impl Vcpu {
    /// A vCPU in the state after INIT on second-level table `root`. `None`: out of memory, or VMX is off.
    #[must_use]
    pub fn new(root: Mfn) -> Option<Self> {
        let (capabilities, bitmaps) = enable::common()?;
        let mut vcpu = Self {
            vmcs: Vmcs::new(capabilities.revision)?,
            capabilities,
            apic: ApicPage::new(capabilities.delivers_interrupts())?,
            registers: Registers::default(),
            switched: Switched::RESET,
            event: None,
            interrupt: None,
            held_by_priority: false,
            interruptibility: 0,
            primary: capabilities.primary,
            primary_written: capabilities.primary,
            threshold: 0,
            timer: 0,
            loaded: false,
            launched: false,
            switched_changed: false,
            host_of: None,
            flushed_on: None,
            pointer: ept::pointer(root),
            exit_rip: 0,
            next_rip: 0,
        };
        let vmcs = &vcpu.vmcs;
        vmcs.with(|| {
            for (field, value) in [
                (control::PINBASED_EXEC_CONTROLS, capabilities.pin.into()),
                (
                    control::PRIMARY_PROCBASED_EXEC_CONTROLS,
                    capabilities.primary.into(),
                ),
                (
                    control::SECONDARY_PROCBASED_EXEC_CONTROLS,
                    capabilities.secondary.into(),
                ),
                (control::VMEXIT_CONTROLS, capabilities.exit.into()),
                (control::VMENTRY_CONTROLS, capabilities.entry.into()),
                (control::EXCEPTION_BITMAP, EXCEPTIONS.into()),
                (control::IO_BITMAP_A_ADDR_FULL, bitmaps.io_a.address()),
                (control::IO_BITMAP_B_ADDR_FULL, bitmaps.io_b.address()),
                (control::MSR_BITMAPS_ADDR_FULL, bitmaps.msr.address()),
                (control::VIRT_APIC_ADDR_FULL, vcpu.apic.mfn().address()),
                (control::EPTP_FULL, vcpu.pointer),
                (
                    control::CR0_GUEST_HOST_MASK,
                    control_registers::cr0_mask(&capabilities),
                ),
                (control::CR4_GUEST_HOST_MASK, control_registers::CR4_MASK),
                (guest::LINK_PTR_FULL, u64::MAX),
                (guest::IA32_PAT_FULL, PAT_RESET),
            ] {
                vmcs.write(field, value);
            }
            if capabilities.has_vpid() {
                vmcs.write(control::VPID, next_vpid().into());
            }
        });
        vcpu.set_state(&CpuState::startup(0));
        Some(vcpu)
    }

    /// Writes the registers that every entry writes.
    pub(super) fn write_registers(&self) {
        self.vmcs.write(guest::RIP, self.registers.rip);
        self.vmcs.write(guest::RSP, self.registers.rsp);
        self.vmcs.write(guest::RFLAGS, self.registers.rflags);
    }

    pub(super) fn set_primary(&mut self, bits: PrimaryControls, on: bool) {
        if on {
            self.primary |= bits.bits();
        } else {
            self.primary &= !bits.bits();
        }
    }
}

/// Identifiers of translations; 0 is the hypervisor's. Two vCPUs of the same number have different tables, which tag
/// translations as well.
fn next_vpid() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    (NEXT.fetch_add(1, Ordering::Relaxed) % 0xffff) as u16 + 1
}

impl VirtualCpu for Vcpu {
    fn load(&mut self, switch: bool) {
        self.vmcs.load();
        // They are the same for as long as the machine runs, and stay in the structure when it is cleared.
        let cpu = arch::cpu_index();
        if self.host_of != Some(cpu) {
            host::write(&self.vmcs);
            self.host_of = Some(cpu);
        }
        if switch || self.switched_changed {
            self.switched.load();
            self.switched_changed = false;
        }
        self.loaded = true;
        self.launched = false;
    }

    fn unload(&mut self) {
        self.switched.save();
        self.vmcs.unload();
        self.loaded = false;
    }

    fn run(&mut self) -> Exit {
        self.flush_if_needed();
        self.write_registers();
        self.offer_events();
        self.offer_threshold();
        self.offer_timer();
        if !self.enter() {
            let number = self.vmcs.read(ro::VM_INSTRUCTION_ERROR);
            let name = decode::instruction_error(number);
            log::error!("vmx: the entry failed with VM-instruction error {number}: {name}");
            return Exit::EntryFailed;
        }
        self.launched = true;
        self.take_exit()
    }

    fn registers(&self) -> &Registers {
        &self.registers
    }

    fn registers_mut(&mut self) -> &mut Registers {
        &mut self.registers
    }

    fn state(&self) -> CpuState {
        self.vmcs.with(|| CpuState {
            registers: self.registers,
            cr0: self.cr0(),
            cr2: if self.loaded {
                switched::read_cr2()
            } else {
                self.switched.cr2
            },
            cr3: self.cr3(),
            cr4: self.cr4(),
            pdptes: [0, 2, 4, 6].map(|index| self.vmcs.read(guest::PDPTE0_FULL + index)),
            efer: self.efer(),
            segments: segments::read(&self.vmcs),
        })
    }

    fn set_state(&mut self, state: &CpuState) {
        self.registers = state.registers;
        self.event = None;
        self.interrupt = None;
        self.switched.cr2 = state.cr2;
        self.switched.dr6 = switched::DR6_RESET;
        self.switched_changed = !self.loaded;
        if self.loaded {
            switched::write_cr2(state.cr2);
            switched::write_dr6(switched::DR6_RESET);
        }
        let vmcs = &self.vmcs;
        vmcs.with(|| {
            control_registers::write(vmcs, &self.capabilities, state.cr0, state.cr4);
            vmcs.write(guest::CR3, state.cr3);
            // With EPT the CPU takes them from here, and reads them itself when the guest writes CR3.
            for (index, entry) in (0..).zip(state.pdptes) {
                vmcs.write(guest::PDPTE0_FULL + 2 * index, entry);
            }
            segments::write(vmcs, state.segments);
            for (field, value) in [
                (guest::DR7, 0x400),
                (guest::IA32_DEBUGCTL_FULL, 0),
                (guest::INTERRUPTIBILITY_STATE, 0),
                (guest::ACTIVITY_STATE, 0),
                (guest::PENDING_DBG_EXCEPTIONS, 0),
                (control::VMENTRY_INTERRUPTION_INFO_FIELD, 0),
            ] {
                vmcs.write(field, value);
            }
        });
        self.interruptibility = 0;
        self.set_efer(state.efer);
        self.set_primary(PrimaryControls::NMI_WINDOW_EXITING, false);
        self.request_interrupt_window(Window::None);
        self.flush_tlb();
    }

    fn cr0(&self) -> u64 {
        control_registers::cr0(&self.vmcs, &self.capabilities)
    }

    fn cr3(&self) -> u64 {
        self.vmcs.read(guest::CR3)
    }

    fn cr4(&self) -> u64 {
        control_registers::cr4(&self.vmcs)
    }

    fn efer(&self) -> u64 {
        self.vmcs.read(guest::IA32_EFER_FULL)
    }

    fn set_efer(&mut self, value: u64) {
        let active = value & EFER_LME != 0 && self.vmcs.read(guest::CR0) & CR0_PG != 0;
        let lma = if active { EFER_LMA } else { 0 };
        self.vmcs
            .write(guest::IA32_EFER_FULL, value & !EFER_LMA | lma);
        let long = u64::from(EntryControls::IA32E_MODE_GUEST.bits());
        let entry = self.vmcs.read(control::VMENTRY_CONTROLS) & !long;
        self.vmcs.write(
            control::VMENTRY_CONTROLS,
            if active { entry | long } else { entry },
        );
    }

    fn pat(&self) -> u64 {
        self.vmcs.read(guest::IA32_PAT_FULL)
    }

    fn set_pat(&mut self, value: u64) {
        self.vmcs.write(guest::IA32_PAT_FULL, value);
    }

    fn cpl(&self) -> u8 {
        (self.vmcs.read(guest::SS_ACCESS_RIGHTS) >> 5 & 3) as u8
    }

    fn is_64bit(&self) -> bool {
        self.efer() & EFER_LMA != 0 && self.vmcs.read(guest::CS_ACCESS_RIGHTS) & RIGHTS_L != 0
    }

    fn skip_instruction(&mut self) {
        self.registers.rip = self.next_rip;
        self.set_interruptibility(self.interruptibility & !SHADOW);
    }

    fn repeat_instruction(&mut self) {
        self.registers.rip = self.exit_rip;
    }

    fn has_event(&self) -> bool {
        self.event.is_some() || self.interrupt.is_some()
    }

    fn can_interrupt(&self) -> bool {
        !self.has_event() && self.interrupts_enabled() && self.interruptibility & SHADOW == 0
    }

    fn can_nmi(&self) -> bool {
        !self.has_event() && self.interruptibility & (SHADOW | NMI_BLOCKED) == 0
    }

    fn inject(&mut self, event: Event) {
        match event {
            Event::Interrupt(vector) => self.interrupt = Some(vector),
            other => self.event = Some(Information::of(other, self.cr0())),
        }
    }

    fn request_interrupt_window(&mut self, window: Window) {
        self.set_primary(
            PrimaryControls::INTERRUPT_WINDOW_EXITING,
            window == Window::Open,
        );
        self.held_by_priority = window == Window::Priority;
    }

    fn request_nmi_window(&mut self) {
        self.set_primary(PrimaryControls::NMI_WINDOW_EXITING, true);
    }

    fn delivers_interrupts(&self) -> bool {
        self.capabilities.delivers_interrupts()
    }

    fn load_apic(&mut self, apic: &VLapic) {
        self.apic.load(&self.vmcs, &self.capabilities, apic);
    }

    fn save_apic(&mut self, apic: &VLapic) {
        self.apic.save(&self.vmcs, apic);
    }

    fn flush_tlb(&mut self) {
        self.flushed_on = None;
    }

    fn dump(&self) {
        super::dump::dump(self);
    }
}
