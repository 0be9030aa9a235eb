//! The domain around a vCPU, as the exit handlers need it.

use crate::types::DomId;
use crate::vcpu::guest_memory::GuestPhysical;
use crate::vcpu::{ExitReason, FaultAccess, VcpuRun};
use crate::vlapic::{Command, VLapic};

/// What the scheduler does with the vCPU next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Enter it again (unless another deserves the CPU more).
    Resume,
    /// It waits for an event: [`VcpuRun::halted`] or [`VcpuRun::offline`] say for which.
    Block,
    /// It gave up the rest of its turn.
    Yield,
    /// Its domain cannot go on; the sentence says why.
    Crash(&'static str),
}

/// What a vCPU needs of the domain around it. `domain::Vcpu` implements it.
pub trait Machine {
    /// The domain's number.
    fn domain_id(&self) -> DomId;
    /// This vCPU's number in its domain.
    fn vcpu_id(&self) -> u32;
    /// Adds one to this vCPU's counter for `reason`.
    fn count_exit(&self, reason: ExitReason);
    /// Its local APIC.
    fn vlapic(&self) -> &VLapic;
    /// How many vCPUs the domain has (numbers 0..count).
    fn vcpu_count(&self) -> u32;
    /// Gives vCPU `vcpu_id` of the domain what `command` says if it is addressed, and sees to it that it looks at it soon.
    fn send(&self, vcpu_id: u32, command: &Command);
    /// The vector to deliver for event channels now: `evtchn_upcall_pending` of this vCPU is set and the
    /// domain set a global callback vector. Not to be used for per-vCPU vectors (they go through the local APIC).
    fn upcall_vector(&self) -> Option<u8>;
    /// The local APIC has forgotten what it had. An upcall that comes through it and is pending is not sent again when the
    /// next event comes, so it is posted once more.
    fn repost_upcall(&self);
    /// This vCPU has executed HLT with interrupts off, so that only an NMI or INIT wakes it. When no other vCPU of the
    /// domain can run either, the domain has powered itself off: PVH guests have no other way.
    fn halted_for_good(&self);
    /// True once if somebody changed the second-level table since the last call.
    fn take_tlb_flush(&self) -> bool;
    /// The domain's memory.
    fn memory(&self) -> &dyn GuestPhysical;
    /// The local APIC timer's deadline changed ([`VLapic::deadline`]); the scheduler arms it.
    fn timer_changed(&self);
    /// A hypercall; arguments in the registers, result goes to rax. rip is already past the instruction:
    /// a continuation calls `run.hw.repeat_instruction()`.
    fn hypercall(&self, run: &mut VcpuRun) -> After;
    /// An access outside the second-level table.
    fn second_level_fault(&self, run: &mut VcpuRun, gpa: u64, access: FaultAccess) -> After;
    /// Reads `size` bytes of PCI configuration space at port 0xCFC + `offset`, address register `address`.
    fn pci_config_read(&self, address: u32, offset: u8, size: u8) -> u32;
    /// Writes the same.
    fn pci_config_write(&self, address: u32, offset: u8, size: u8, value: u32);
    /// The address register of port 0xCF8 of this vCPU's domain.
    fn pci_config_address(&self) -> &core::sync::atomic::AtomicU32;
    /// A byte from one of the serial ports that are the domain's; `None` if `port` is none of them.
    fn serial_read(&self, port: u16) -> Option<u8>;
    /// A byte to one of those; dropped if it is none.
    fn serial_write(&self, port: u16, value: u8);
    /// A byte the guest wrote to debug port 0xE9.
    fn debug_byte(&self, byte: u8);
}
