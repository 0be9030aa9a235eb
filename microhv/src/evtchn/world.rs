//! Domains for the tests, and calls as guests make them.

use core::sync::atomic::Ordering::SeqCst;
use std::cell::RefCell;
use std::collections::HashMap;

use xen_abi::Errno;
use xen_abi::event_channel::*;
use xen_abi::xen::DOMID_SELF;
use xen_abi::zerocopy::{FromBytes, Immutable, IntoBytes};

use super::*;
use crate::guest_args::{Progress, TestArgs};
use crate::mm::{FrameRef, frame_table, frames};
use crate::types::{DomId, Gfn};

/// A zeroed frame of `owner`.
pub fn frame(owner: u16) -> FrameRef {
    let mfn = frames::alloc_zeroed(0).unwrap();
    frame_table::assign(mfn, 0, DomId(owner));
    FrameRef::from_raw(mfn)
}

/// Domains 0 (privileged), 1 and 2, with two vCPUs each; the calls come from `caller`.
pub struct World {
    pub caller: u16,
    pub tables: HashMap<u16, RefCell<Table>>,
    pub shared: HashMap<u16, FrameRef>,
    pub pages: RefCell<HashMap<u64, FrameRef>>,
    pub notified: RefCell<Vec<(u16, Notify)>>,
    pub unbound: RefCell<Vec<u32>>,
    pub preempt: bool,
}

impl World {
    pub fn new() -> Self {
        let mut world = Self {
            caller: 1,
            tables: HashMap::new(),
            shared: HashMap::new(),
            pages: RefCell::default(),
            notified: RefCell::default(),
            unbound: RefCell::default(),
            preempt: false,
        };
        for id in 0..3 {
            let shared = frame(id);
            let mut table = Table::new(DomId(id), shared.clone()).unwrap();
            table.add_vcpu(0).unwrap();
            table.add_vcpu(1).unwrap();
            world.tables.insert(id, RefCell::new(table));
            world.shared.insert(id, shared);
        }
        world
    }

    pub fn call<T: IntoBytes + FromBytes + Immutable + Clone>(
        &mut self,
        caller: u16,
        cmd: u32,
        arg: T,
    ) -> Result<T, Errno> {
        self.caller = caller;
        let mut args = TestArgs::of(&[arg]);
        assert_eq!(op(self, cmd, &mut args)?, Progress::Done(0));
        Ok(T::read_from_bytes(&args.0).unwrap())
    }

    pub fn table<R>(&self, domain: u16, f: impl FnOnce(&mut Table) -> R) -> R {
        f(&mut self.tables[&domain].borrow_mut())
    }

    pub fn page(&self, gfn: u64, owner: u16) -> FrameRef {
        let page = frame(owner);
        self.pages.borrow_mut().insert(gfn, page.clone());
        page
    }

    pub fn take_notified(&self) -> Vec<(u16, Notify)> {
        self.notified
            .borrow_mut()
            .drain(..)
            .filter(|(_, notify)| *notify != Notify::NONE)
            .collect()
    }

    pub fn alloc(&mut self, dom: u16, remote_dom: u16) -> u32 {
        self.try_alloc(dom, remote_dom).unwrap()
    }

    pub fn try_alloc(&mut self, dom: u16, remote_dom: u16) -> Result<u32, Errno> {
        let arg = EvtchnAllocUnbound {
            dom: DOMID_SELF,
            remote_dom,
            ..Default::default()
        };
        let done = self.call(dom, EVTCHNOP_ALLOC_UNBOUND, arg)?;
        Ok(done.port)
    }

    pub fn bind(&mut self, dom: u16, remote_dom: u16, remote_port: u32) -> Result<u32, Errno> {
        let arg = EvtchnBindInterdomain {
            remote_dom,
            remote_port,
            ..Default::default()
        };
        Ok(self.call(dom, EVTCHNOP_BIND_INTERDOMAIN, arg)?.local_port)
    }

    pub fn send(&mut self, dom: u16, port: u32) -> Result<EvtchnSend, Errno> {
        self.call(dom, EVTCHNOP_SEND, EvtchnSend { port })
    }

    pub fn status(&mut self, dom: u16, port: u32) -> EvtchnStatus {
        let arg = EvtchnStatus {
            dom: DOMID_SELF,
            port,
            ..Default::default()
        };
        self.call(dom, EVTCHNOP_STATUS, arg).unwrap()
    }

    /// A channel from domain 1 to domain 2: the ports at each end. What binding raised has been handled.
    pub fn channel(&mut self) -> (u32, u32) {
        let one = self.alloc(1, 2);
        let two = self.bind(2, 1, one).unwrap();
        if self.table(2, |table| table.fifo.is_none()) {
            self.handle(2);
        }
        self.take_notified();
        (one, two)
    }

    /// A 2-level guest's upcall handler on vCPU 0: the ports that were pending and not masked.
    pub fn handle(&self, domain: u16) -> Vec<u32> {
        let page = &self.shared[&domain];
        page.atomic_u8(0).store(0, SeqCst);
        let selected = page.atomic_u64(8).swap(0, SeqCst);
        let mut ports = vec![];
        for word in (0..64).filter(|word| selected & 1 << word != 0) {
            let pending = page.atomic_u64(2048 + word * 8);
            let ready = pending.load(SeqCst) & !page.atomic_u64(2560 + word * 8).load(SeqCst);
            pending.fetch_and(!ready, SeqCst);
            ports.extend(
                (0..64)
                    .filter(|bit| ready & 1 << bit != 0)
                    .map(|bit| word as u32 * 64 + bit),
            );
        }
        ports
    }
}

impl Environment for World {
    fn caller(&self) -> DomId {
        DomId(self.caller)
    }
    fn privileged(&self) -> bool {
        self.caller == 0
    }
    fn with_table<R>(&self, domain: DomId, f: impl FnOnce(&mut Table) -> R) -> Option<R> {
        // Borrowed mutably: a second table locked inside `f` of the same domain would panic.
        Some(f(&mut self.tables.get(&domain.0)?.borrow_mut()))
    }
    fn notify(&self, domain: DomId, notify: Notify) {
        self.notified.borrow_mut().push((domain.0, notify));
    }
    fn frame(&self, gfn: Gfn) -> Option<FrameRef> {
        self.pages.borrow().get(&gfn.0).cloned()
    }
    fn bind_pirq(&self, pirq: u32) -> Result<u32, Errno> {
        if pirq != 3 || !self.privileged() {
            return Err(Errno::EINVAL);
        }
        self.table(self.caller, |table| table.bind_device(0x100))
    }
    fn unbind_device(&self, _: DomId, device: u32) {
        self.unbound.borrow_mut().push(device);
    }
    fn preempt(&self) -> bool {
        self.preempt
    }
}
