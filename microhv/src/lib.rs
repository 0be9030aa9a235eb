//! microhv: a minimal type-1 hypervisor for x86-64.
// On the host there are its tests only.
#![cfg(any(test, target_os = "none"))]
#![cfg_attr(not(test), no_std)]
// Allowed in leaf modules, with a reason each.
#![deny(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        dead_code,
        unused_imports,
        reason = "what only the machine itself calls"
    )
)]

// Public, because what is not is inlined into its one caller: then the frames of the boot do not fit the stacks. (Without
// `pub` the compiler names dead code.)
pub mod acpi;
mod amdvi;
pub mod arch;
pub mod boot;
pub mod console;
pub mod domain;
mod ept;
pub mod evtchn;
pub mod exit;
pub mod fpu;
pub mod grant;
pub mod guest_args;
pub mod hypercall;
pub mod iommu;
pub mod mm;
pub mod npt;
pub mod paging;
pub mod panic;
pub mod pci;
pub mod power;
pub mod sched;
pub mod serial;
mod speculation;
mod svm;
pub mod timers;
pub mod types;
pub mod vcpu;
pub mod vlapic;
mod vmx;
mod vtd;
