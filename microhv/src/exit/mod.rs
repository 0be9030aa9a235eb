//! What microhv does when a guest exits, and before it enters a guest.
#![forbid(unsafe_code)]

mod cpuid;
mod cr8;
mod dump;
mod events;
mod hypercall_page;
mod io;
mod msr;
mod xcr;

pub(crate) use cpuid::{XEN_VERSION, has_rdtscp};
pub use dump::dump;
pub use events::{has_work, prepare};
pub use msr::MsrState;

use crate::arch::{cpu, irq};
use crate::domain::Vcpu;
use crate::hypercall;
use crate::vcpu::{Event, Exit, VcpuRun, Window};

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

/// #DB.
const DEBUG: u8 = 1;
/// #MC.
const MACHINE_CHECK: u8 = 18;
/// #AC.
const ALIGNMENT_CHECK: u8 = 17;

/// Handles `exit`, which `run.hw.run()` just returned.
pub fn handle(vcpu: &Vcpu, run: &mut VcpuRun, exit: Exit) -> After {
    vcpu.count_exit(exit.reason());
    run.hw.save_apic(&vcpu.vlapic);
    match exit {
        Exit::HostInterrupt(Some(vector)) => irq::dispatch(vector),
        Exit::HostInterrupt(None) => cpu::interrupt_window(),
        // The CPU took a pending NMI as soon as the entry code let it.
        Exit::HostNmi => {}
        Exit::ControlRegister | Exit::ApicWrite => {}
        Exit::InterruptWindow => run.hw.request_interrupt_window(Window::None),
        Exit::Hypercall => {
            run.hw.skip_instruction();
            return hypercall::dispatch(vcpu, run);
        }
        Exit::Halt => {
            run.hw.skip_instruction();
            run.halted = true;
            if !has_work(vcpu, run) {
                if !run.hw.interrupts_enabled() {
                    vcpu.halted_for_good();
                }
                return After::Block;
            }
        }
        Exit::Cpuid => cpuid::handle(vcpu, run),
        Exit::ReadMsr(index) => msr::handle_read(vcpu, run, index),
        Exit::WriteMsr(index, value) => msr::handle_write(vcpu, run, index, value),
        Exit::Io(access) => io::handle(vcpu, run, access),
        Exit::WriteTaskPriority => cr8::handle(vcpu, run),
        Exit::SetXcr => xcr::handle(run),
        Exit::CacheFlush => run.hw.skip_instruction(),
        Exit::ReadCounter => run.hw.inject(Event::GENERAL_PROTECTION),
        Exit::UndefinedInstruction => run.hw.inject(Event::INVALID_OPCODE),
        // Intercepted only so that an endless chain of them leaves guest mode now and then.
        Exit::Exception(DEBUG, _) => run.hw.inject(Event::Exception(DEBUG, None)),
        Exit::Exception(ALIGNMENT_CHECK, code) => {
            run.hw.inject(Event::Exception(ALIGNMENT_CHECK, Some(code)))
        }
        Exit::SecondLevelFault { gpa, access } => {
            return vcpu.second_level_fault(run, gpa, access);
        }
        Exit::Exception(MACHINE_CHECK, _) => return After::Crash("machine check"),
        Exit::Shutdown => {
            dump(&*run.hw);
            return After::Crash("triple fault");
        }
        Exit::EntryFailed => {
            dump(&*run.hw);
            return After::Crash("the CPU refused the vCPU's state");
        }
        Exit::Exception(..) | Exit::Unexpected { .. } => {
            dump(&*run.hw);
            return After::Crash("an exit microhv does not know");
        }
    }
    After::Resume
}

#[cfg(test)]
pub(crate) mod tests;
