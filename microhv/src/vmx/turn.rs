//! One entry into the guest and what came of it.
#![allow(unsafe_code, reason = "the way into a guest")]

use super::decode::{self, Fields, reason};
use super::vcpu::{NMI_BLOCKED, SHADOW, Vcpu};
use super::{control_registers, entry, instructions, switched};
use crate::arch::{self, irq, timer};
use crate::vcpu::injection::{Information, Interrupted};
use crate::vcpu::{Event, Exit, VirtualCpu};
use x86::vmx::vmcs::control::{self, PrimaryControls};
use x86::vmx::vmcs::{guest, ro};

/// Bit 12 of interruption information and of an EPT violation's qualification: the exit undid an IRET that had let NMIs in.
const NMI_UNBLOCKED: u32 = 1 << 12;
/// DR7.GD.
pub(super) const DR7_GD: u64 = 1 << 13;

impl Vcpu {
    pub(super) fn set_interruptibility(&mut self, state: u32) {
        if self.interruptibility != state {
            self.interruptibility = state;
            self.vmcs.write(guest::INTERRUPTIBILITY_STATE, state.into());
        }
    }

    /// Gives the hardware what is to be delivered, and asks for a window for what has to wait.
    pub(super) fn offer_events(&mut self) {
        let deliverable = self.interrupts_enabled() && self.interruptibility & SHADOW == 0;
        let now = self.event.take().or_else(|| {
            let vector = self.interrupt.filter(|_| deliverable)?;
            self.interrupt = None;
            Some(Information::interrupt(vector))
        });
        if let Some(event) = now {
            if event.is_nmi() {
                // The hardware sets it when the NMI is delivered, and refuses the entry if it is set already.
                self.set_interruptibility(self.interruptibility & !NMI_BLOCKED);
            }
            self.vmcs
                .write(control::VMENTRY_INTERRUPTION_INFO_FIELD, event.info.into());
            self.vmcs
                .write(control::VMENTRY_EXCEPTION_ERR_CODE, event.code.into());
        }
        let mut primary = self.primary;
        if self.interrupt.is_some() {
            primary |= PrimaryControls::INTERRUPT_WINDOW_EXITING.bits();
        }
        if primary != self.primary_written {
            self.primary_written = primary;
            self.vmcs
                .write(control::PRIMARY_PROCBASED_EXEC_CONTROLS, primary.into());
        }
    }

    /// Asks for an exit when the guest lowers its task priority, if an interrupt waits for that.
    pub(super) fn offer_threshold(&mut self) {
        let threshold = if self.held_by_priority {
            self.apic.priority()
        } else {
            0
        };
        if self.threshold != threshold {
            self.threshold = threshold;
            self.vmcs.write(control::TPR_THRESHOLD, threshold.into());
        }
    }

    /// Bounds how long the guest runs with interrupts off. On hardware the host's interrupts end guest mode whatever the
    /// guest's IF; Bochs 3.0 holds them back until IF changes if it was clear at the entry (docs/cpu.md).
    pub(super) fn offer_timer(&mut self) {
        let Some(shift) = self.capabilities.timer_shift else {
            return;
        };
        let timer = if self.interrupts_enabled() {
            u32::MAX.into()
        } else {
            (timer::tsc_khz() >> shift).max(1)
        };
        if self.timer != timer {
            self.timer = timer;
            self.vmcs.write(guest::VMX_PREEMPTION_TIMER_VALUE, timer);
        }
    }

    /// Forgets this CPU's translations if it may hold old ones.
    pub(super) fn flush_if_needed(&mut self) {
        let cpu = arch::cpu_index();
        if self.flushed_on != Some(cpu) {
            instructions::invept(self.capabilities.invept_single, self.pointer);
            self.flushed_on = Some(cpu);
        }
    }

    #[cfg(target_os = "none")]
    pub(super) fn enter(&mut self) -> bool {
        debug_assert!(self.loaded);
        // SAFETY: `new` and `load` filled the structure; the caller keeps the second-level table alive, and the
        // hypervisor runs with interrupts off.
        unsafe { entry::enter(&raw mut self.registers, self.launched) }
    }

    #[cfg(test)]
    pub(super) fn enter(&mut self) -> bool {
        let _ = entry::enter;
        self.vmcs
            .write(ro::EXIT_REASON, reason::TRIPLE_FAULT.into());
        true
    }

    /// Reads what an exit says, after it was seen that it is one.
    pub(super) fn take_exit(&mut self) -> Exit {
        let vmcs = &self.vmcs;
        self.registers.rip = vmcs.read(guest::RIP);
        self.registers.rsp = vmcs.read(guest::RSP);
        self.registers.rflags = vmcs.read(guest::RFLAGS);
        self.interruptibility = vmcs.read(guest::INTERRUPTIBILITY_STATE) as u32;
        let reason = vmcs.read(ro::EXIT_REASON) as u32;
        let fields = Fields {
            reason,
            qualification: vmcs.read(ro::EXIT_QUALIFICATION),
            guest_physical: match reason as u16 {
                reason::EPT_VIOLATION => vmcs.read(ro::GUEST_PHYSICAL_ADDR_FULL),
                _ => 0,
            },
            interruption: vmcs.read(ro::VMEXIT_INTERRUPTION_INFO) as u32,
            error_code: vmcs.read(ro::VMEXIT_INTERRUPTION_ERR_CODE) as u32,
            instruction: vmcs.read(ro::VMEXIT_INSTRUCTION_INFO) as u32,
        };
        let vectoring = vmcs.read(ro::IDT_VECTORING_INFO) as u32;
        let vectoring_code = vmcs.read(ro::IDT_VECTORING_ERR_CODE) as u32;
        self.exit_rip = self.registers.rip;
        let next = self
            .exit_rip
            .wrapping_add(vmcs.read(ro::VMEXIT_INSTRUCTION_LEN));
        self.next_rip = if self.is_64bit() {
            next
        } else {
            next & 0xffff_ffff
        };
        let interrupted = Information::interrupted(vectoring, vectoring_code);
        match interrupted {
            Some(Interrupted::Interrupt(vector)) => self.interrupt = Some(vector),
            Some(Interrupted::Other(event)) => self.event = Some(event),
            None if self.undid_iret(&fields) => {
                self.set_interruptibility(self.interruptibility | NMI_BLOCKED)
            }
            None => {}
        }
        self.settle(&fields)
    }

    /// The exit was a fault of an IRET that had already let NMIs in; the guest will execute it again.
    fn undid_iret(&self, fields: &Fields) -> bool {
        match fields.reason as u16 {
            reason::EXCEPTION_OR_NMI => {
                fields.interruption & 1 << 31 != 0 && fields.interruption & NMI_UNBLOCKED != 0
            }
            reason::EPT_VIOLATION => fields.qualification as u32 & NMI_UNBLOCKED != 0,
            _ => false,
        }
    }

    /// Does what is the backend's own part of an exit.
    fn settle(&mut self, fields: &Fields) -> Exit {
        let exit = decode::decode(fields, &self.registers);
        match exit {
            Exit::HostNmi => instructions::take_nmi(),
            // Its handler has nothing to do: what was posted is taken over before the next entry.
            Exit::HostInterrupt(Some(irq::POSTED)) => {
                log::debug!("vmx: a posted interrupt ended guest mode");
            }
            Exit::ControlRegister
                if !control_registers::retry(&self.vmcs, fields.qualification, &self.registers) =>
            {
                self.inject(Event::GENERAL_PROTECTION);
            }
            Exit::InterruptWindow if fields.reason as u16 == reason::NMI_WINDOW => {
                self.set_primary(PrimaryControls::NMI_WINDOW_EXITING, false);
            }
            Exit::Exception(1, _) => {
                // The CPU leaves DR6 and DR7 as they were and tells in the qualification what it would have set.
                let mut dr6 = switched::read_dr6() & !0xf;
                dr6 |= fields.qualification & 0xe00f;
                switched::write_dr6(dr6);
                self.vmcs
                    .write(guest::DR7, self.vmcs.read(guest::DR7) & !DR7_GD);
            }
            _ => {}
        }
        exit
    }
}
