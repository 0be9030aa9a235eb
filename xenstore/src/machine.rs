//! The real rings and event channels.

use alloc::collections::BTreeMap;
use core::mem::offset_of;
use core::sync::atomic::{Ordering, fence};
use domain::event::Port;
use domain::grant::{MapRequest, MappedPage, map_page};
use domain::shared::SharedMemory;
use xen_abi::grant_table::GNTTAB_RESERVED_XENSTORE;
use xen_abi::io::xs_wire::XenstoreDomainInterface as Interface;
use xenstore::client::DomId;
use xenstore::error::{Error, Result};
use xenstore::{Platform, Ring};

/// A client's ring page: grant 1 of its domain, which the domain's builder made for the store.
pub struct RingPage {
    page: MappedPage,
}

impl RingPage {
    fn memory(&self) -> &SharedMemory {
        self.page.memory()
    }

    /// Every offset here is a constant inside the page and aligned, so the default is never used.
    fn load(&self, offset: usize) -> u32 {
        self.memory()
            .atomic_u32(offset)
            .map_or(0, |word| word.load(Ordering::Acquire))
    }

    fn store(&self, offset: usize, value: u32) {
        // What was read before must be read before the client may overwrite it.
        fence(Ordering::SeqCst);
        if let Ok(word) = self.memory().atomic_u32(offset) {
            word.store(value, Ordering::SeqCst);
        }
    }
}

impl Ring for RingPage {
    fn req_prod(&self) -> u32 {
        self.load(offset_of!(Interface, req_prod))
    }

    fn rsp_cons(&self) -> u32 {
        self.load(offset_of!(Interface, rsp_cons))
    }

    fn own_indices(&self) -> (u32, u32) {
        (
            self.load(offset_of!(Interface, req_cons)),
            self.load(offset_of!(Interface, rsp_prod)),
        )
    }

    fn set_req_cons(&mut self, index: u32) {
        self.store(offset_of!(Interface, req_cons), index);
    }

    fn set_rsp_prod(&mut self, index: u32) {
        self.store(offset_of!(Interface, rsp_prod), index);
    }

    fn read(&self, offset: usize, to: &mut [u8]) {
        // Inside the page by the trait's contract; if not, the client gets zeroes for its own mistake.
        let _ = self
            .memory()
            .read_bytes(offset_of!(Interface, req) + offset, to);
    }

    fn write(&mut self, offset: usize, from: &[u8]) {
        let _ = self
            .memory()
            .write_bytes(offset_of!(Interface, rsp) + offset, from);
    }

    fn clear(&mut self) {
        for offset in [
            offset_of!(Interface, req_cons),
            offset_of!(Interface, req_prod),
            offset_of!(Interface, rsp_cons),
            offset_of!(Interface, rsp_prod),
        ] {
            self.store(offset, 0);
        }
    }

    fn connection(&self) -> u32 {
        self.load(offset_of!(Interface, connection))
    }

    fn set_connection(&mut self, state: u32) {
        self.store(offset_of!(Interface, connection), state);
    }

    fn set_error(&mut self, error: u32) {
        self.store(offset_of!(Interface, error), error);
    }

    fn set_features(&mut self, features: u32) {
        self.store(offset_of!(Interface, server_features), features);
    }
}

/// Our end of every client's event channel.
#[derive(Default)]
pub struct Machine {
    ports: BTreeMap<DomId, Port>,
}

impl Machine {
    fn bind(&mut self, domid: DomId, port: u32) -> Result<()> {
        // An old channel is closed first: its other end may be the same port.
        self.ports.remove(&domid);
        let port = Port::bind_interdomain(domid, port).map_err(|errno| {
            log::error!("domain {domid}: cannot bind event channel {port}: {errno}");
            Error::Einval
        })?;
        self.ports.insert(domid, port);
        Ok(())
    }
}

impl Platform for Machine {
    type Ring = RingPage;

    fn connect(&mut self, domid: DomId, port: u32) -> Result<RingPage> {
        let request = MapRequest {
            dom: domid,
            gref: GNTTAB_RESERVED_XENSTORE,
            readonly: false,
        };
        let page = map_page(request).map_err(|error| {
            log::error!("domain {domid}: cannot map its store ring: {error}");
            Error::Einval
        })?;
        self.bind(domid, port)?;
        log::info!("domain {domid} is connected");
        Ok(RingPage { page })
    }

    fn rebind(&mut self, domid: DomId, port: u32) -> Result<()> {
        self.bind(domid, port)
    }

    fn disconnect(&mut self, domid: DomId, ring: RingPage) {
        self.ports.remove(&domid);
        drop(ring);
        log::info!("domain {domid} is released");
    }

    fn notify(&mut self, domid: DomId) {
        if let Some(port) = self.ports.get(&domid)
            && let Err(errno) = port.notify()
        {
            // The domain is dying; domain 0 will release it.
            log::debug!("domain {domid}: notifying: {errno}");
        }
    }
}
