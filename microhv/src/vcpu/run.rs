//! What exactly one CPU holds while it runs a vCPU.

use super::{CpuState, Hardware, backend};
use crate::exit::MsrState;
use crate::fpu;
use crate::speculation;
use crate::types::Mfn;

/// The part of a vCPU that only the CPU running it touches.
pub struct VcpuRun {
    /// The backend's vCPU.
    pub hw: Hardware,
    /// Floating point, vector and debug registers while the vCPU is not on a CPU.
    pub fpu: fpu::State,
    /// Model-specific registers that are only remembered.
    pub msrs: MsrState,
    /// The guest executed HLT (or blocked) and waits for a deliverable interrupt. While it is set,
    /// [`crate::exit::prepare`] answers `Block` unless there is one, so a spurious wake-up is harmless.
    pub halted: bool,
    /// The vCPU waits for a start-up IPI (or VCPUOP_up); it does not run until then.
    pub offline: bool,
}

impl VcpuRun {
    /// A vCPU on second-level table `root`, offline until [`Self::start`]. `None`: out of memory.
    pub fn new(root: Mfn) -> Option<Self> {
        Some(Self {
            hw: (backend::chosen().new_vcpu)(root)?,
            fpu: fpu::State::new()?,
            msrs: MsrState::default(),
            halted: false,
            offline: true,
        })
    }

    /// Sets the state and lets it run.
    pub fn start(&mut self, state: &CpuState) {
        self.hw.set_state(state);
        self.halted = false;
        self.offline = false;
    }

    /// Call when the vCPU gets this CPU, before the first entry.
    pub fn load(&mut self) {
        // False: this CPU ran it last, and it ran on no other since.
        let switch = self.fpu.load();
        if switch {
            speculation::change_vcpu();
            self.load_tsc_aux();
        }
        self.hw.load(switch);
    }

    /// Puts the guest's TSC_AUX into the CPU, if it has the register.
    pub(crate) fn load_tsc_aux(&self) {
        if crate::exit::has_rdtscp() {
            crate::arch::cpu::wrmsr(x86::msr::IA32_TSC_AUX, self.msrs.tsc_aux);
        }
    }

    /// Call when the vCPU loses this CPU.
    pub fn save(&mut self) {
        self.hw.unload();
        self.fpu.save();
    }
}
