//! One request and its reply.

use super::Store;
use crate::client::DomId;
use crate::error::{Error, Result};
use crate::message::{Header, PAYLOAD_MAX};
use alloc::vec::Vec;
use xen_abi::io::xs_wire as xs;

/// What requests about domains do outside the store.
pub trait Links {
    /// Maps the domain's ring, offers it `features` and binds its event channel; for one that is connected, binds the
    /// channel again.
    ///
    /// # Errors
    /// The ring cannot be mapped or the channel not be bound.
    fn connect(&mut self, domid: DomId, port: u32, features: u32) -> Result<()>;
    /// Empties the domain's ring.
    fn reset(&mut self, domid: DomId);
    /// Unmaps the ring and closes the channel.
    fn disconnect(&mut self, domid: DomId);
}

/// Most requests answer so.
pub(super) const OK: &[u8] = b"OK\0";

impl Store {
    /// Does what a message of an introduced domain asks for, and puts the reply into its queue.
    pub fn handle(&mut self, links: &mut dyn Links, domid: DomId, header: Header, payload: &[u8]) {
        if let Some(domain) = self.domains.get_mut(&domid) {
            domain.requests += 1;
        }
        // A watch's first event comes behind the reply.
        let mut first_event = None;
        let reply = self.dispatch(links, domid, header, payload, &mut first_event);
        let reply = match reply {
            Ok(reply) if reply.len() > PAYLOAD_MAX => Err(Error::E2big),
            reply => reply,
        };
        let (kind, body) = match &reply {
            Ok(body) => (header.kind, body.as_slice()),
            Err(error) => (xs::XS_ERROR, error.name().as_bytes()),
        };
        let header = Header { kind, ..header };
        let bytes = if reply.is_ok() {
            header.with_payload(body)
        } else {
            header.with_payload(&[body, b"\0"].concat())
        };
        if let Some(domain) = self.domains.get_mut(&domid) {
            let footprint = domain.output.push_reply(bytes);
            self.db.accounts.charge(domid, footprint);
        }
        if let Some((path, token)) = first_event {
            self.send_event(None, domid, path, token);
        }
    }

    fn dispatch<'a>(
        &mut self,
        links: &mut dyn Links,
        domid: DomId,
        header: Header,
        payload: &'a [u8],
        first_event: &mut Option<(&'a str, &'a [u8])>,
    ) -> Result<Vec<u8>> {
        let control_only = matches!(
            header.kind,
            xs::XS_CONTROL
                | xs::XS_INTRODUCE
                | xs::XS_RELEASE
                | xs::XS_IS_DOMAIN_INTRODUCED
                | xs::XS_RESUME
                | xs::XS_SET_TARGET
                | xs::XS_SET_FEATURE
                | xs::XS_GET_QUOTA
                | xs::XS_SET_QUOTA
        );
        if control_only && !self.client(domid).is_privileged() {
            return Err(Error::Eacces);
        }
        match header.kind {
            xs::XS_WATCH => return self.watch(domid, payload, first_event),
            xs::XS_UNWATCH => return self.unwatch(domid, payload),
            _ => {}
        }
        let tx = header.tx_id;
        if tx != 0 && !self.has_transaction(domid, tx) {
            return Err(Error::Enoent);
        }
        match header.kind {
            xs::XS_READ => self.read(domid, tx, payload),
            xs::XS_DIRECTORY => self.directory(domid, tx, payload),
            xs::XS_DIRECTORY_PART => self.directory_part(domid, tx, payload),
            xs::XS_GET_PERMS => self.get_perms(domid, tx, payload),
            xs::XS_SET_PERMS => self.set_perms(domid, tx, payload),
            xs::XS_WRITE => self.write(domid, tx, payload),
            xs::XS_MKDIR => self.mkdir(domid, tx, payload),
            xs::XS_RM => self.rm(domid, tx, payload),
            xs::XS_TRANSACTION_START => self.transaction_start(domid, tx),
            xs::XS_TRANSACTION_END => self.transaction_end(domid, tx, payload),
            xs::XS_RESET_WATCHES => {
                self.drop_watches_and_transactions(domid);
                Ok(OK.to_vec())
            }
            xs::XS_INTRODUCE => self.introduce(links, payload),
            xs::XS_RELEASE => self.release_request(links, payload),
            xs::XS_RESUME => self.resume(payload),
            xs::XS_GET_DOMAIN_PATH => Self::get_domain_path(payload),
            xs::XS_IS_DOMAIN_INTRODUCED => self.is_domain_introduced(payload),
            xs::XS_SET_TARGET => self.set_target(payload),
            xs::XS_GET_FEATURE => self.get_feature(domid, payload),
            xs::XS_SET_FEATURE => self.set_feature(payload),
            xs::XS_GET_QUOTA => self.get_quota(payload),
            xs::XS_SET_QUOTA => self.set_quota(payload),
            xs::XS_CONTROL => self.control(payload),
            _ => Err(Error::Enosys),
        }
    }
}
