//! The vendor's backend, chosen once at boot.

use super::VirtualCpu;
use crate::paging::Format;
use crate::types::Mfn;
use core::ops::{Deref, DerefMut};

/// A vCPU of whichever backend this machine has; use it as a [`VirtualCpu`].
pub struct Hardware(Kind);

enum Kind {
    Svm(crate::svm::Vcpu),
}

impl Deref for Hardware {
    type Target = dyn VirtualCpu + Send;
    fn deref(&self) -> &Self::Target {
        match &self.0 {
            Kind::Svm(vcpu) => vcpu,
        }
    }
}

impl DerefMut for Hardware {
    fn deref_mut(&mut self) -> &mut Self::Target {
        match &mut self.0 {
            Kind::Svm(vcpu) => vcpu,
        }
    }
}

/// Turns hardware virtualisation on, on the calling CPU. Every CPU calls it once, after its per-CPU
/// data, GDT and TSS are final. The error is a sentence for the console.
pub fn init() -> Result<(), &'static str> {
    crate::svm::init()
}

/// A new vCPU in the state after INIT, running on second-level table `root`. `None`: out of memory.
#[must_use]
pub fn new_vcpu(root: Mfn) -> Option<Hardware> {
    Some(Hardware(Kind::Svm(crate::svm::Vcpu::new(root)?)))
}

/// How this machine's second-level tables are written.
#[must_use]
pub fn page_format() -> &'static dyn Format {
    &crate::npt::NPT
}

/// The three bytes of this machine's hypercall instruction.
#[must_use]
pub fn hypercall_instruction() -> [u8; 3] {
    crate::svm::HYPERCALL_INSTRUCTION
}
