//! A machine for tests.

use crate::client::DomId;
use crate::error::{Error, Result};
use crate::link::{Platform, Ring, Server};
use crate::message::{HEADER, Header};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use xen_abi::io::xs_wire as xs;

/// A ring page.
pub struct Page {
    pub req: [u8; 1024],
    pub rsp: [u8; 1024],
    pub req_cons: u32,
    pub req_prod: u32,
    pub rsp_cons: u32,
    pub rsp_prod: u32,
    pub connection: u32,
    pub error: u32,
    pub features: u32,
}

#[derive(Clone)]
pub struct SharedPage(pub Rc<RefCell<Page>>);

impl SharedPage {
    fn new() -> Self {
        SharedPage(Rc::new(RefCell::new(Page {
            req: [0; 1024],
            rsp: [0; 1024],
            req_cons: 0,
            req_prod: 0,
            rsp_cons: 0,
            rsp_prod: 0,
            connection: 0,
            error: 0,
            features: 0,
        })))
    }
}

impl Ring for SharedPage {
    fn req_prod(&self) -> u32 {
        self.0.borrow().req_prod
    }
    fn rsp_cons(&self) -> u32 {
        self.0.borrow().rsp_cons
    }
    fn own_indices(&self) -> (u32, u32) {
        (self.0.borrow().req_cons, self.0.borrow().rsp_prod)
    }
    fn set_req_cons(&mut self, index: u32) {
        self.0.borrow_mut().req_cons = index;
    }
    fn set_rsp_prod(&mut self, index: u32) {
        self.0.borrow_mut().rsp_prod = index;
    }
    fn read(&self, offset: usize, to: &mut [u8]) {
        to.copy_from_slice(&self.0.borrow().req[offset..offset + to.len()]);
    }
    fn write(&mut self, offset: usize, from: &[u8]) {
        self.0.borrow_mut().rsp[offset..offset + from.len()].copy_from_slice(from);
    }
    fn clear(&mut self) {
        let mut page = self.0.borrow_mut();
        (page.req_cons, page.req_prod, page.rsp_cons, page.rsp_prod) = (0, 0, 0, 0);
    }
    fn connection(&self) -> u32 {
        self.0.borrow().connection
    }
    fn set_connection(&mut self, state: u32) {
        self.0.borrow_mut().connection = state;
    }
    fn set_error(&mut self, error: u32) {
        self.0.borrow_mut().error = error;
    }
    fn set_features(&mut self, features: u32) {
        self.0.borrow_mut().features = features;
    }
}

#[derive(Default)]
pub struct Machine {
    pub pages: BTreeMap<DomId, SharedPage>,
    pub notified: Vec<DomId>,
    pub rebound: Vec<(DomId, u32)>,
}

impl Platform for Machine {
    type Ring = SharedPage;

    fn connect(&mut self, domid: DomId, port: u32) -> Result<SharedPage> {
        if port == 666 {
            return Err(Error::Eio);
        }
        Ok(self
            .pages
            .entry(domid)
            .or_insert_with(SharedPage::new)
            .clone())
    }
    fn rebind(&mut self, domid: DomId, port: u32) -> Result<()> {
        self.rebound.push((domid, port));
        Ok(())
    }
    fn disconnect(&mut self, domid: DomId, _ring: SharedPage) {
        self.pages.remove(&domid);
    }
    fn notify(&mut self, domid: DomId) {
        self.notified.push(domid);
    }
}

/// A reply: its payload, or the error's name.
pub type Reply = core::result::Result<Vec<u8>, String>;

/// Bytes for everything that the store keeps in these tests.
pub const MEMORY: usize = 8 << 20;

pub struct World {
    pub server: Server<Machine>,
    pub now: u64,
    /// Watch events that came while replies were awaited.
    pub events: BTreeMap<DomId, VecDeque<(String, String)>>,
}

impl World {
    /// Domain 0 is connected, and `domids` are introduced with homes that they may write.
    pub fn new(domids: &[DomId]) -> Self {
        let mut server = Server::new(Machine::default(), MEMORY);
        server.attach(0, 1).expect("domain 0");
        let mut world = World {
            server,
            now: 0,
            events: BTreeMap::new(),
        };
        for domid in domids {
            world.introduce(*domid);
            let home = format!("/local/domain/{domid}");
            world.ok(0, xs::XS_MKDIR, &format!("{home}\0"));
            world.ok(0, xs::XS_SET_PERMS, &format!("{home}\0n0\0r{domid}\0"));
            world.ok(0, xs::XS_MKDIR, &format!("{home}/data\0"));
            world.ok(0, xs::XS_SET_PERMS, &format!("{home}/data\0n{domid}\0"));
        }
        world
    }

    pub fn introduce(&mut self, domid: DomId) {
        self.ok(0, xs::XS_INTRODUCE, &format!("{domid}\x001000\x005\0"));
    }

    pub fn page(&mut self, domid: DomId) -> SharedPage {
        self.server
            .platform()
            .pages
            .get(&domid)
            .cloned()
            .expect("a page")
    }

    /// Serves until nothing happens.
    pub fn serve(&mut self) {
        for _ in 0..10_000 {
            if !self.server.serve(self.now).busy {
                return;
            }
        }
        panic!("the store never comes to rest");
    }

    /// Puts bytes into a domain's ring, as far as there is room; serves in between if there is not enough.
    pub fn put(&mut self, domid: DomId, bytes: &[u8]) {
        let page = self.page(domid);
        let mut rest = bytes;
        for _ in 0..10_000 {
            let room = {
                let mut page = page.0.borrow_mut();
                let room = (1024 - page.req_prod.wrapping_sub(page.req_cons)) as usize;
                let (now, later) = rest.split_at(room.min(rest.len()));
                for byte in now {
                    let at = page.req_prod as usize % 1024;
                    page.req[at] = *byte;
                    page.req_prod = page.req_prod.wrapping_add(1);
                }
                rest = later;
                room
            };
            if rest.is_empty() {
                return;
            }
            let _ = room;
            self.server.serve(self.now);
        }
        panic!("the store does not take the request");
    }

    /// Takes what is in a domain's ring of replies.
    pub fn take(&mut self, domid: DomId) -> Vec<u8> {
        let page = self.page(domid);
        let mut page = page.0.borrow_mut();
        let mut bytes = Vec::new();
        while page.rsp_cons != page.rsp_prod {
            bytes.push(page.rsp[page.rsp_cons as usize % 1024]);
            page.rsp_cons = page.rsp_cons.wrapping_add(1);
        }
        bytes
    }

    /// Takes one whole message.
    pub fn message(&mut self, domid: DomId) -> Option<(Header, Vec<u8>)> {
        let mut bytes = self.exactly(domid, HEADER)?;
        let header = Header::from_bytes(*bytes.first_chunk::<HEADER>()?);
        bytes = self.exactly(domid, header.len as usize)?;
        Some((header, bytes))
    }

    fn exactly(&mut self, domid: DomId, count: usize) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            self.serve();
            let page = self.page(domid);
            let mut page = page.0.borrow_mut();
            if page.rsp_cons == page.rsp_prod {
                return None;
            }
            while bytes.len() < count && page.rsp_cons != page.rsp_prod {
                bytes.push(page.rsp[page.rsp_cons as usize % 1024]);
                page.rsp_cons = page.rsp_cons.wrapping_add(1);
            }
        }
        Some(bytes)
    }

    /// Sends a request and waits for its reply; events go to [`World::events`].
    pub fn request_tx(&mut self, domid: DomId, tx_id: u32, kind: u32, payload: &[u8]) -> Reply {
        let header = Header {
            kind,
            req_id: 77,
            tx_id,
            len: 0,
        };
        self.put(domid, &header.with_payload(payload));
        loop {
            let (header, payload) = self.message(domid).expect("a reply");
            if header.kind == xs::XS_WATCH_EVENT {
                assert_eq!((header.req_id, header.tx_id), (0, 0));
                self.note_event(domid, &payload);
                continue;
            }
            assert_eq!((header.req_id, header.tx_id), (77, tx_id));
            if header.kind == xs::XS_ERROR {
                return Err(String::from_utf8(payload)
                    .expect("ASCII")
                    .trim_end_matches('\0')
                    .to_string());
            }
            assert_eq!(header.kind, kind);
            return Ok(payload);
        }
    }

    fn note_event(&mut self, domid: DomId, payload: &[u8]) {
        let text = String::from_utf8_lossy(payload).into_owned();
        let mut parts = text.split('\0');
        let event = (
            parts.next().unwrap_or("").to_string(),
            parts.next().unwrap_or("").to_string(),
        );
        self.events.entry(domid).or_default().push_back(event);
    }

    pub fn request(&mut self, domid: DomId, kind: u32, payload: &str) -> Reply {
        self.request_tx(domid, 0, kind, payload.as_bytes())
    }

    /// A request that must succeed; its reply as text.
    pub fn ok(&mut self, domid: DomId, kind: u32, payload: &str) -> String {
        let reply = self.request(domid, kind, payload);
        String::from_utf8(reply.unwrap_or_else(|e| panic!("{payload:?}: {e}"))).expect("text")
    }

    /// A request that must fail; the error's name.
    pub fn error(&mut self, domid: DomId, kind: u32, payload: &str) -> String {
        match self.request(domid, kind, payload) {
            Err(error) => error,
            Ok(reply) => panic!("{payload:?} succeeds: {reply:?}"),
        }
    }

    pub fn write(&mut self, domid: DomId, path: &str, value: &str) {
        self.ok(domid, xs::XS_WRITE, &format!("{path}\0{value}"));
    }

    pub fn read(&mut self, domid: DomId, path: &str) -> core::result::Result<String, String> {
        self.request(domid, xs::XS_READ, &format!("{path}\0"))
            .map(|value| String::from_utf8(value).expect("text"))
    }

    /// The events that a domain got since the last call, as `path token`.
    pub fn events(&mut self, domid: DomId) -> Vec<String> {
        while let Some((header, payload)) = self.message(domid) {
            assert_eq!(header.kind, xs::XS_WATCH_EVENT);
            self.note_event(domid, &payload);
        }
        let events = self.events.remove(&domid).unwrap_or_default();
        events
            .into_iter()
            .map(|(path, token)| format!("{path} {token}"))
            .collect()
    }

    pub fn start(&mut self, domid: DomId) -> u32 {
        let id = self.ok(domid, xs::XS_TRANSACTION_START, "\0");
        id.trim_end_matches('\0').parse().expect("a number")
    }

    pub fn tx(
        &mut self,
        domid: DomId,
        tx: u32,
        kind: u32,
        payload: &str,
    ) -> core::result::Result<String, String> {
        let reply = self.request_tx(domid, tx, kind, payload.as_bytes());
        reply.map(|payload| String::from_utf8(payload).expect("text"))
    }

    pub fn commit(&mut self, domid: DomId, tx: u32) -> core::result::Result<String, String> {
        self.tx(domid, tx, xs::XS_TRANSACTION_END, "T\0")
    }
}
