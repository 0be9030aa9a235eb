//! The virtual CPU, without a vendor's name: its registers, why it left guest mode, and the
//! interface ([`VirtualCpu`]) that a vendor's backend implements.
//!
//! How the scheduler uses it, on the CPU that holds the vCPU's [`VcpuRun`]:
//! ```text
//! run.load();                                    // once when the vCPU gets the CPU: FPU, XCR0, debug registers
//! loop {
//!     match exit::prepare(&machine, &mut run) { After::Resume => {}, other => break other }
//!     let exit = run.hw.run();
//!     match exit::handle(&machine, &mut run, exit) { After::Resume => {}, other => break other }
//! }
//! run.save();                                    // once when it loses the CPU
//! ```

pub mod backend;
pub mod exit_reason;
pub mod guest_memory;
pub mod injection;
pub mod registers;
pub mod run;
pub mod state;

pub use backend::Hardware;
pub use exit_reason::{EXIT_REASONS, Exit, ExitReason, FaultAccess, IoAccess};
pub use registers::Registers;
pub use run::VcpuRun;
pub use state::{CpuState, Segment, Segments};

use crate::vlapic::VLapic;

/// An event to deliver to the guest at the next entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An external interrupt with its vector.
    Interrupt(u8),
    /// A non-maskable interrupt.
    Nmi,
    /// An exception with its vector and, where the vector has one, its error code.
    Exception(u8, Option<u32>),
}

/// When the guest is to exit because it can take an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// Never.
    None,
    /// As soon as interrupts are enabled.
    Open,
    /// Not yet: tell only when the guest writes CR8 ([`Exit::WriteTaskPriority`]), as with [`Self::Open`] too.
    Priority,
}

impl Event {
    /// #UD, invalid opcode.
    pub const INVALID_OPCODE: Self = Self::Exception(6, None);
    /// #GP(0), general protection.
    pub const GENERAL_PROTECTION: Self = Self::Exception(13, Some(0));
}

/// One virtual CPU as a vendor's backend provides it. Held exclusively by the CPU that runs it.
pub trait VirtualCpu {
    /// The vCPU gets this CPU, before the first entry. `switch`: another vCPU had it in between, so that registers which
    /// only guests use are to be loaded.
    fn load(&mut self, switch: bool) {
        let _ = switch;
    }
    /// The vCPU loses this CPU; [`Self::load`] may follow on another.
    fn unload(&mut self) {}
    /// Runs the guest until something needs the hypervisor. Interrupts are off before and after;
    /// a physical interrupt ends the run with [`Exit::HostInterrupt`].
    fn run(&mut self) -> Exit;

    /// General registers, rip, rsp and rflags as they were at the last exit.
    fn registers(&self) -> &Registers;
    /// The same, to change what the guest sees at its next entry.
    fn registers_mut(&mut self) -> &mut Registers;

    /// The whole architectural state (general, control and segment registers).
    fn state(&self) -> CpuState;
    /// Replaces the whole architectural state; pending events of the old one are forgotten.
    fn set_state(&mut self, state: &CpuState);

    /// CR0.
    fn cr0(&self) -> u64;
    /// CR3.
    fn cr3(&self) -> u64;
    /// CR4.
    fn cr4(&self) -> u64;
    /// EFER as the guest may see it.
    fn efer(&self) -> u64;
    /// Sets EFER; `value` has been checked.
    fn set_efer(&mut self, value: u64);
    /// The PAT MSR of the guest.
    fn pat(&self) -> u64;
    /// Sets the PAT MSR of the guest; `value` has been checked.
    fn set_pat(&mut self, value: u64);
    /// Current privilege level, 0..=3.
    fn cpl(&self) -> u8;
    /// True when the guest executes 64-bit code (EFER.LMA and CS.L).
    fn is_64bit(&self) -> bool;

    /// Moves rip past the instruction that caused the last exit and ends an interrupt shadow.
    fn skip_instruction(&mut self);
    /// Undoes [`Self::skip_instruction`], so that the guest executes the instruction again
    /// (a preempted hypercall).
    fn repeat_instruction(&mut self);

    /// True when an event was queued and not delivered yet.
    fn has_event(&self) -> bool;
    /// True when an external interrupt can be delivered at the next entry.
    fn can_interrupt(&self) -> bool;
    /// True when a non-maskable interrupt can be delivered at the next entry.
    fn can_nmi(&self) -> bool;
    /// True when RFLAGS.IF is set (whatever the interrupt shadow).
    fn interrupts_enabled(&self) -> bool {
        self.registers().rflags & state::RFLAGS_IF != 0
    }
    /// Queues `event` for the next entry. One only: a fault queued while another event waits
    /// replaces it, and the interrupted one is delivered again by the guest's own retry.
    fn inject(&mut self, event: Event);
    /// Asks for an [`Exit::InterruptWindow`], or withdraws the request.
    fn request_interrupt_window(&mut self, window: Window);

    /// Asks for an [`Exit::InterruptWindow`] when the guest can take an NMI. A backend that watches the end of each NMI's
    /// handler anyway need not.
    fn request_nmi_window(&mut self) {}

    /// True if the hardware delivers the local APIC's interrupts by itself: they are not injected, and no window is
    /// asked for.
    fn delivers_interrupts(&self) -> bool {
        false
    }
    /// Hands the hardware what it works on of the local APIC while the guest runs: the task priority, and IRR and ISR if
    /// [`Self::delivers_interrupts`].
    fn load_apic(&mut self, apic: &VLapic);
    /// Takes over what the guest and the hardware changed of it, after an exit.
    fn save_apic(&mut self, apic: &VLapic);

    /// Forgets every cached translation of this vCPU before its next entry.
    fn flush_tlb(&mut self);
    /// Logs what the hardware knows about a failed entry or an unexpected exit.
    fn dump(&self);
}
