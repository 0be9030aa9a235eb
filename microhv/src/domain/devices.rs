//! What a domain does for the devices that are assigned to it.

use xen_abi::Errno;

use super::{Domain, P2mError, events};
use crate::iommu::{Error, IoDomain};
use crate::paging::Access;
use crate::pci::{AssignError, Owner};
use crate::types::{DomId, Gfn, Mfn};

impl Owner for Domain {
    fn domain_id(&self) -> DomId {
        self.id
    }

    fn with_io(&self, f: &mut dyn FnMut(&mut IoDomain) -> Result<(), Error>) -> Result<(), Error> {
        // Made before the domain's memory was: see `build`.
        f(self.p2m.lock().io().ok_or(Error::NoUnit)?)
    }

    fn map_device_page(&self, gfn: Gfn, mfn: Mfn) -> Result<(), AssignError> {
        self.p2m
            .lock()
            .add_device(gfn, mfn, Access::READ_WRITE)
            .map_err(|error| match error {
                P2mError::NoMemory => AssignError::NoMemory,
                _ => AssignError::BadBar(0),
            })
    }

    fn bind_device_port(&self, device: u32) -> Result<u32, Errno> {
        self.evtchn.lock().bind_device(device)
    }
}

/// A device of `domain` has raised the interrupt bound to `port`.
fn on_interrupt(domain: DomId, port: u32, device: u32) {
    if let Some(domain) = super::find(domain) {
        events::raise_device(&domain, port, device);
    }
}

/// The operator has typed: Domain-0 is told.
pub fn on_console_input() {
    if let Some(dom0) = super::find(DomId(0)) {
        events::raise_global_virq(&dom0, xen_abi::xen::VIRQ_CONSOLE);
    }
}

/// From now on device interrupts become events. Once, at boot.
pub fn init() {
    crate::pci::set_event_hook(on_interrupt);
}
