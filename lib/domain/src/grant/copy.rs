//! Copies between granted pages, made by the hypervisor.
#![expect(unsafe_code, reason = "a hypercall that writes to pages")]

use super::{GrantError, checked};
use crate::hypercall;
use crate::shared::SharedMemory;
use xen_abi::grant_table::*;
use xen_abi::xen::PAGE_SIZE;
use xen_abi::{DOMID_SELF, Errno};

/// Copies between granted pages and our own, one hypercall for all. Each element has its own `status`
/// afterwards; look at it with [`copy_status`].
///
/// Ends that name a frame of ours by number (`DOMID_SELF`) may only name frames of [`crate::memory::PageRange`] or mapped pages;
/// build those with [`own_page`].
pub fn copy_batch(operations: &mut [GnttabCopy]) -> Result<(), Errno> {
    if operations.is_empty() {
        return Ok(());
    }
    // SAFETY: frames of our own are written by the hypervisor as by any other sharer; they are only reached through
    // `SharedMemory`, as `own_page` says.
    unsafe { hypercall::grant_table_op(GNTTABOP_COPY, operations) }.map(drop)
}

/// An end of a copy in our own shared memory, at `offset` bytes into `memory` (which starts on a page).
pub fn own_page(memory: &SharedMemory, offset: usize) -> GnttabCopyPtr {
    let gpa = memory.address() + offset as u64;
    GnttabCopyPtr::gmfn(
        DOMID_SELF,
        gpa / PAGE_SIZE as u64,
        (gpa % PAGE_SIZE as u64) as u16,
    )
}

/// The outcome of one copy.
pub fn copy_status(operation: &GnttabCopy) -> Result<(), GrantError> {
    checked(operation.status)
}
