//! The vendor's backend, chosen once at boot by what the CPU has.

use super::VirtualCpu;
use crate::paging::Format;
use crate::types::Mfn;
use crate::{ept, npt, svm, vmx};
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, Ordering};
use spin::Once;

/// One backend.
pub struct Backend {
    is_present: fn() -> bool,
    init: fn() -> Result<(), &'static str>,
    /// A new vCPU in the state after INIT, running on this second-level table. `None`: out of memory.
    pub new_vcpu: fn(Mfn) -> Option<Hardware>,
    /// How this machine's second-level tables are written.
    pub format: &'static dyn Format,
    /// The three bytes of this machine's hypercall instruction.
    pub hypercall: [u8; 3],
    /// True if a vCPU in guest mode takes over by itself what is posted to its local APIC when its CPU gets
    /// [`crate::arch::irq::POSTED`].
    pub posts_interrupts: fn() -> bool,
}

static BACKENDS: [Backend; 2] = [
    Backend {
        is_present: svm::is_present,
        init: svm::init,
        new_vcpu: |root| svm::Vcpu::new(root).map(Hardware::Svm),
        format: &npt::NPT,
        hypercall: svm::HYPERCALL_INSTRUCTION,
        posts_interrupts: || false,
    },
    Backend {
        is_present: vmx::is_present,
        init: vmx::init,
        new_vcpu: |root| vmx::Vcpu::new(root).map(Hardware::Vmx),
        format: &ept::EPT,
        hypercall: vmx::HYPERCALL_INSTRUCTION,
        posts_interrupts: vmx::posts_interrupts,
    },
];

static APIC_VIRTUALISATION: AtomicBool = AtomicBool::new(true);
static CHOSEN: Once<Option<&'static Backend>> = Once::new();

/// The one that [`init`] chose; before it (on the host, in tests) the first.
pub fn chosen() -> &'static Backend {
    CHOSEN.get().copied().flatten().unwrap_or(&BACKENDS[0])
}

/// A vCPU of whichever backend this machine has; use it as a [`VirtualCpu`].
pub enum Hardware {
    /// AMD's.
    Svm(svm::Vcpu),
    /// Intel's.
    Vmx(vmx::Vcpu),
}

impl Deref for Hardware {
    type Target = dyn VirtualCpu + Send;
    fn deref(&self) -> &Self::Target {
        match self {
            Self::Svm(vcpu) => vcpu,
            Self::Vmx(vcpu) => vcpu,
        }
    }
}

impl DerefMut for Hardware {
    fn deref_mut(&mut self) -> &mut Self::Target {
        match self {
            Self::Svm(vcpu) => vcpu,
            Self::Vmx(vcpu) => vcpu,
        }
    }
}

/// `apicv` of the command line: whether hardware that can deliver interrupts by itself does it. Before [`init`].
pub fn set_apic_virtualisation(on: bool) {
    APIC_VIRTUALISATION.store(on, Ordering::Relaxed);
}

/// What [`set_apic_virtualisation`] said.
pub fn wants_apic_virtualisation() -> bool {
    APIC_VIRTUALISATION.load(Ordering::Relaxed)
}

/// Turns hardware virtualisation on, on the calling CPU. Every CPU calls it once, after its per-CPU
/// data, GDT and TSS are final. The error is a sentence for the console.
pub fn init() -> Result<(), &'static str> {
    let found = CHOSEN.call_once(|| BACKENDS.iter().find(|backend| (backend.is_present)()));
    let backend =
        found.ok_or("this CPU has no hardware virtualisation that microhv knows (SVM or VMX)")?;
    if !(backend.is_present)() {
        return Err("this CPU has other hardware virtualisation than the first");
    }
    (backend.init)()
}

/// What [`init`] does that needs no such CPU.
#[cfg(test)]
pub fn prepare_for_tests() {
    svm::prepare_for_tests();
}
