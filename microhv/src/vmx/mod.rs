//! Intel's Virtual Machine Extensions as a backend of [`crate::vcpu`] (Intel SDM, volume 3C, chapters 24 to 31).

mod apic;
#[cfg(test)]
mod apic_tests;
mod bitmaps;
mod capability;
mod check;
mod control_registers;
mod decode;
mod dump;
mod enable;
mod entry;
mod host;
mod instructions;
mod segments;
mod switched;
mod turn;
#[cfg(test)]
mod turn_tests;
mod vcpu;
mod vmcs;

pub use enable::{init, is_present, posts_interrupts};
pub use vcpu::Vcpu;

/// VMCALL.
pub const HYPERCALL_INSTRUCTION: [u8; 3] = [0x0f, 0x01, 0xc1];
