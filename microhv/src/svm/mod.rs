//! AMD's Secure Virtual Machine as a backend of [`crate::vcpu`] (AMD64 manual, volume 2, chapter 15).

mod asid;
mod bitmaps;
mod decode;
mod deliver;
mod enable;
mod entry;
mod vcpu;
mod vmcb;

#[cfg(test)]
pub use enable::prepare_for_tests;
pub use enable::{init, is_present};
pub use vcpu::Vcpu;

/// VMMCALL.
pub const HYPERCALL_INSTRUCTION: [u8; 3] = [0x0f, 0x01, 0xd9];
