//! microhv: a minimal type-1 hypervisor for x86-64.
#![cfg_attr(not(test), no_std)]

pub mod arch;
pub mod evtchn;
pub mod exit;
pub mod fpu;
pub mod grant;
pub mod guest_args;
pub mod iommu;
pub mod mm;
pub mod npt;
pub mod paging;
pub mod pci;
mod svm;
pub mod types;
pub mod vcpu;
pub mod vlapic;
mod vtd;
