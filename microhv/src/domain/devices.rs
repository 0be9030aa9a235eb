//! What a domain does for the devices that are assigned to it.

use xen_abi::Errno;

use super::{Domain, events};
use crate::iommu::IoDomain;
use crate::paging::Access;
use crate::pci::AssignError;
use crate::types::{DomId, Gfn, Mfn};

impl Domain {
    /// Calls `f` with what the domain's devices may reach, made before its memory was: see `build`.
    ///
    /// # Errors
    /// Those of `f`, and `ENODEV` if it has none.
    pub fn with_io(&self, f: impl FnOnce(&mut IoDomain) -> Result<(), Errno>) -> Result<(), Errno> {
        f(self.p2m.lock().io().ok_or(Errno::ENODEV)?)
    }

    /// Lets the domain's CPUs (not its devices) reach a page of device registers, uncached.
    ///
    /// # Errors
    /// No memory for tables, or something else is mapped there.
    pub fn map_device_page(&self, gfn: Gfn, mfn: Mfn) -> Result<(), AssignError> {
        let mapped = self.p2m.lock().add_device(gfn, mfn, Access::READ_WRITE);
        mapped.map_err(|errno| match errno {
            Errno::ENOMEM => AssignError::NoMemory,
            _ => AssignError::BadBar(0),
        })
    }

    /// A new event channel for device interrupt `device`.
    ///
    /// # Errors
    /// Xen's, for the caller of the hypercall.
    pub fn bind_device_port(&self, device: u32) -> Result<u32, Errno> {
        self.evtchn.lock().bind_device(device)
    }
}

/// The operator has typed: Domain-0 is told.
pub fn on_console_input() {
    if let Some(dom0) = super::find(DomId(0)) {
        events::raise_global_virq(&dom0, xen_abi::xen::VIRQ_CONSOLE);
    }
}
