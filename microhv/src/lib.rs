//! microhv: a minimal type-1 hypervisor for x86-64.
#![cfg_attr(not(test), no_std)]

pub mod arch;
pub mod evtchn;
pub mod guest_args;
pub mod mm;
pub mod types;
