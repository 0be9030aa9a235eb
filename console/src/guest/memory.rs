//! A guest's memory, written to from Domain-0.

use pvh::GuestMemory;
use xen_abi::{DomId, Errno};

use crate::host::Control;

/// The memory of `domid`.
pub struct GuestWriter<'a, H> {
    /// The hypervisor.
    pub host: &'a mut H,
    /// Whose memory.
    pub domid: DomId,
}

impl<H: Control> GuestMemory for GuestWriter<'_, H> {
    type Error = Errno;

    fn write(&mut self, gpa: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.host.write_memory(self.domid, gpa, bytes)
    }
}
