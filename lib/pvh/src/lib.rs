//! Everything that a PVH domain's memory holds before its first instruction.
//!
//! The hypervisor uses this crate for the boot-time domains and Domain-0 for guests, so there is one
//! answer to where a kernel, its start info, its ACPI tables and its special pages lie:
//!
//! 1. [`Image::parse`] checks the kernel (an ELF file with the Xen note `PHYS32_ENTRY`).
//! 2. [`Layout::new`] says which guest-physical ranges to back with zeroed memory
//!    ([`Layout::populate`]) and what the memory map looks like ([`Layout::memory_map`]).
//! 3. [`build`] writes kernel, modules, start info and ACPI tables through a [`GuestMemory`].
//!    For a kernel that is not in memory as a whole: [`ImageStream`] and [`Plan`].
//! 4. [`VcpuState::pvh_entry`] is the state in which vCPU 0 starts.
//!
//! Nothing here allocates, and everything read from an image is taken as hostile.
//! Sources: Xen `docs/misc/pvh.pandoc`, `xen/include/public/arch-x86/hvm/start_info.h`,
//! `xen/include/public/elfnote.h`; ACPI specification 6.0.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod acpi;
mod build;
mod handle;
mod image;
mod layout;
mod start_info;
mod stream;
mod vcpu;

pub use build::{BuildError, GuestMemory, Module, ModuleSource, Parameters, Plan, Start, build};
pub use handle::{boot_domain_handle, boot_domain_name};
pub use image::{Image, ImageError, Segment};
pub use layout::{
    Layout, LayoutError, MAX_VCPUS, MemoryMap, MemoryMapEntry, MemoryType, PAGE_SIZE, Range,
};
pub use start_info::MAX_MODULES;
pub use stream::ImageStream;
pub use vcpu::{SegmentRegister, VcpuState};
