//! Client of the store (xenbus; Xen `docs/misc/xenstore.txt`).
//!
//! Requests block this domain's event loop until the reply is there; events of other ports are kept for
//! [`crate::event::take_pending`], watch events for [`Store::next_event`]. [`StoreAccess`] has the operations, for [`Store`] itself
//! and for a [`Transaction`].
//!
//! Paths are absolute, or relative to `/local/domain/<own domid>/`. Errors are the store's, by Xen's number (`ENOENT`, `EACCES`,
//! `EAGAIN`, ...); `EIO` means that the connection is broken.

mod transport;
mod wire;

pub use transport::Transport;
pub use wire::WatchEvent;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use wire::{Decoder, Message};
use xen_abi::event_channel::EvtchnPort;
use xen_abi::io::xs_wire::*;
use xen_abi::{DomId, Errno};

/// A transaction that conflicts is tried again this often before `EAGAIN` is given up on.
const MAX_RETRIES: u32 = 100;

/// The connection of this domain to the store.
pub struct Store {
    transport: Box<dyn Transport>,
    decoder: Decoder,
    events: VecDeque<WatchEvent>,
    next_request: u32,
}

/// What can be asked of the store, inside or outside a transaction.
pub trait StoreAccess {
    /// Sends one request whose payload is the concatenation of `parts`; returns the reply's payload.
    fn request(&mut self, message: u32, parts: &[&[u8]]) -> Result<Vec<u8>, Errno>;

    /// The value of `path`.
    fn read(&mut self, path: &str) -> Result<Vec<u8>, Errno> {
        self.request(XS_READ, &[path.as_bytes(), b"\0"])
    }

    /// The value of `path` as text; `EINVAL` if it is not UTF-8.
    fn read_string(&mut self, path: &str) -> Result<String, Errno> {
        String::from_utf8(self.read(path)?).map_err(|_| Errno::EINVAL)
    }

    /// The value of `path` as a decimal number; `EINVAL` if it is not one.
    fn read_number(&mut self, path: &str) -> Result<u64, Errno> {
        self.read_string(path)?
            .trim()
            .parse()
            .map_err(|_| Errno::EINVAL)
    }

    /// Like [`Self::read_number`], with `default` where the key is absent or no number.
    fn read_number_or(&mut self, path: &str, default: u64) -> u64 {
        self.read_number(path).unwrap_or(default)
    }

    /// Whether `path` exists and may be read.
    fn exists(&mut self, path: &str) -> bool {
        self.read(path).is_ok()
    }

    /// Sets `path`, creating it and its parents.
    fn write(&mut self, path: &str, value: impl AsRef<[u8]>) -> Result<(), Errno>
    where
        Self: Sized,
    {
        self.request(XS_WRITE, &[path.as_bytes(), b"\0", value.as_ref()])
            .map(drop)
    }

    /// Sets `path` to a decimal number.
    fn write_number(&mut self, path: &str, value: u64) -> Result<(), Errno>
    where
        Self: Sized,
    {
        self.write(path, alloc::format!("{value}"))
    }

    /// Creates `path` if absent.
    fn mkdir(&mut self, path: &str) -> Result<(), Errno> {
        self.request(XS_MKDIR, &[path.as_bytes(), b"\0"]).map(drop)
    }

    /// Removes `path` and everything below. Absent is no error if the parent exists.
    fn rm(&mut self, path: &str) -> Result<(), Errno> {
        self.request(XS_RM, &[path.as_bytes(), b"\0"]).map(drop)
    }

    /// Names of the children of `path`.
    fn directory(&mut self, path: &str) -> Result<Vec<String>, Errno> {
        let reply = self.request(XS_DIRECTORY, &[path.as_bytes(), b"\0"])?;
        wire::strings(&reply)
    }

    /// Permissions of `path`, such as `["n0", "r5"]`: the owner with the access of everybody else, then exceptions.
    fn get_permissions(&mut self, path: &str) -> Result<Vec<String>, Errno> {
        let reply = self.request(XS_GET_PERMS, &[path.as_bytes(), b"\0"])?;
        wire::strings(&reply)
    }

    /// Sets the permissions of `path`.
    fn set_permissions(&mut self, path: &str, permissions: &[&str]) -> Result<(), Errno> {
        let mut payload = Vec::from(path.as_bytes());
        payload.push(0);
        for permission in permissions {
            payload.extend_from_slice(permission.as_bytes());
            payload.push(0);
        }
        self.request(XS_SET_PERMS, &[&payload]).map(drop)
    }
}

impl StoreAccess for Store {
    fn request(&mut self, message: u32, parts: &[&[u8]]) -> Result<Vec<u8>, Errno> {
        self.exchange(message, 0, parts)
    }
}

/// Operations that take effect together, or not at all. Made by [`Store::transaction`].
pub struct Transaction<'a> {
    store: &'a mut Store,
    id: u32,
}

impl StoreAccess for Transaction<'_> {
    fn request(&mut self, message: u32, parts: &[&[u8]]) -> Result<Vec<u8>, Errno> {
        self.store.exchange(message, self.id, parts)
    }
}

impl Store {
    /// Connects to the store over this domain's ring page and port. Requests made before Domain-0 has introduced this
    /// domain wait until it has.
    pub fn connect() -> Result<Store, Errno> {
        transport::RingTransport::connect().map(|transport| Store::over(Box::new(transport)))
    }

    /// Uses another transport (tests).
    pub fn over(transport: Box<dyn Transport>) -> Store {
        Store {
            transport,
            decoder: Decoder::default(),
            events: VecDeque::new(),
            next_request: 1,
        }
    }

    /// The port on which replies and watch events are signalled: when [`crate::event::take_pending`] yields it, call
    /// [`Store::next_event`] until it gives `None`.
    pub fn port(&self) -> EvtchnPort {
        self.transport.port()
    }

    /// How long the store may take for an answer; it is waited for without end otherwise. A request that fails with `ETIMEDOUT`
    /// may have been sent in part: this connection is of no use any more.
    pub fn set_patience(&mut self, patience: core::time::Duration) {
        self.transport.set_patience(patience);
    }

    /// The next watch event that has arrived; never blocks.
    pub fn next_event(&mut self) -> Result<Option<WatchEvent>, Errno> {
        if self.events.is_empty() {
            self.receive()?;
        }
        Ok(self.events.pop_front())
    }

    /// Asks for an event whenever `path` or something below changes, and one at once. `token` comes back with each event.
    /// `EEXIST` if this path and token are watched already.
    pub fn watch(&mut self, path: &str, token: &str) -> Result<(), Errno> {
        self.request(XS_WATCH, &[path.as_bytes(), b"\0", token.as_bytes(), b"\0"])
            .map(drop)
    }

    /// Ends a watch, and forgets its events that were not taken yet.
    pub fn unwatch(&mut self, path: &str, token: &str) -> Result<(), Errno> {
        let result = self
            .request(
                XS_UNWATCH,
                &[path.as_bytes(), b"\0", token.as_bytes(), b"\0"],
            )
            .map(drop);
        self.events.retain(|event| event.token != token);
        result
    }

    /// Runs `body` in a transaction and commits; if it conflicted with somebody else's, runs it again. If `body` fails, the
    /// transaction is given up.
    pub fn transaction<T>(
        &mut self,
        mut body: impl FnMut(&mut Transaction<'_>) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        for _ in 0..MAX_RETRIES {
            let reply = self.request(XS_TRANSACTION_START, &[b"\0"])?;
            let id = wire::number(&reply)?;
            let mut transaction = Transaction { store: self, id };
            let result = body(&mut transaction);
            let end: &[u8] = if result.is_ok() { b"T\0" } else { b"F\0" };
            match (result, self.exchange(XS_TRANSACTION_END, id, &[end])) {
                // A reader inside may have failed because of the conflict.
                (Err(Errno::EAGAIN), _) | (Ok(_), Err(Errno::EAGAIN)) => {}
                (Err(errno), _) | (Ok(_), Err(errno)) => return Err(errno),
                (Ok(value), Ok(_)) => return Ok(value),
            }
        }
        Err(Errno::EAGAIN)
    }

    /// This domain's number, as the store knows it (`domid`).
    pub fn own_domid(&mut self) -> Result<DomId, Errno> {
        self.read_number("domid")
            .and_then(|number| DomId::try_from(number).map_err(|_| Errno::EINVAL))
    }

    /// Tells the store of a new domain's ring page and port (Domain-0).
    pub fn introduce(&mut self, domain: DomId, gfn: u64, port: EvtchnPort) -> Result<(), Errno> {
        let payload = alloc::format!("{domain}\0{gfn}\0{port}\0");
        self.request(XS_INTRODUCE, &[payload.as_bytes()]).map(drop)
    }

    /// Tells the store that a domain is gone (Domain-0).
    pub fn release(&mut self, domain: DomId) -> Result<(), Errno> {
        self.request(XS_RELEASE, &[alloc::format!("{domain}\0").as_bytes()])
            .map(drop)
    }

    /// `/local/domain/<domain>`, as the store says.
    pub fn domain_path(&mut self, domain: DomId) -> Result<String, Errno> {
        let reply = self.request(
            XS_GET_DOMAIN_PATH,
            &[alloc::format!("{domain}\0").as_bytes()],
        )?;
        wire::strings(&reply)?.into_iter().next().ok_or(Errno::EIO)
    }

    /// Whether the store serves `domain`.
    pub fn is_introduced(&mut self, domain: DomId) -> Result<bool, Errno> {
        let reply = self.request(
            XS_IS_DOMAIN_INTRODUCED,
            &[alloc::format!("{domain}\0").as_bytes()],
        )?;
        Ok(reply.first() == Some(&b'T'))
    }

    fn exchange(
        &mut self,
        message: u32,
        transaction: u32,
        parts: &[&[u8]],
    ) -> Result<Vec<u8>, Errno> {
        let request = self.next_request;
        self.next_request = self.next_request.wrapping_add(1);
        let bytes = wire::encode(message, request, transaction, parts)?;
        let mut sent = 0;
        while sent < bytes.len() {
            match self.transport.send(&bytes[sent..])? {
                0 => {
                    // The server may itself wait for us to read: take what is there before waiting.
                    if self.receive()?.is_none() {
                        self.transport.wait()?;
                    }
                }
                count => sent += count,
            }
        }
        loop {
            match self.receive()? {
                Some(reply) if reply.request == request => {
                    // Waiting consumed the port's event; watch events that came along must not be slept over.
                    self.transport.rearm(!self.events.is_empty());
                    return reply.into_result(message);
                }
                Some(reply) => log::warn!("store: reply to unknown request {}", reply.request),
                None => self.transport.wait()?,
            }
        }
    }

    /// Whether watch events arrived that were not there when `known` events were queued.
    pub(crate) fn news(&mut self, known: usize) -> Result<bool, Errno> {
        while self.receive()?.is_some() {}
        Ok(self.events.len() != known)
    }

    /// Watch events queued.
    pub(crate) fn queued(&self) -> usize {
        self.events.len()
    }

    /// Takes bytes that have arrived until a reply is complete; watch events are queued. `None`: no (complete) reply yet.
    fn receive(&mut self) -> Result<Option<Message>, Errno> {
        loop {
            let room = self.decoder.wanted();
            let count = self.transport.receive(room)?;
            if count == 0 {
                return Ok(None);
            }
            if let Some(message) = self.decoder.advance(count)? {
                if message.kind == XS_WATCH_EVENT {
                    self.events.push_back(message.into_event()?);
                } else {
                    return Ok(Some(message));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
