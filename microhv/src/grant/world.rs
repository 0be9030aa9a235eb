//! Domains for the tests: address spaces as maps, and calls as guests make them.

use core::sync::atomic::Ordering::SeqCst;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use xen_abi::Errno;
use xen_abi::grant_table::*;
use xen_abi::zerocopy::{FromBytes, Immutable, IntoBytes};

use super::*;
use crate::guest_args::{Progress, TestArgs};
use crate::mm::{frame_table, frames};

/// Domains 0 (privileged), 1 and 2; the calls come from `caller`.
pub struct World {
    pub caller: Cell<u16>,
    pub tables: RefCell<HashMap<u16, RefCell<Table>>>,
    /// Address spaces: (domain, gfn) → (page, writable).
    pub pages: RefCell<HashMap<(u16, u64), (FrameRef, bool)>>,
    /// Called at each flush.
    pub at_flush: RefCell<Box<dyn FnMut()>>,
    /// Called at each look-up of a page.
    pub at_lookup: RefCell<Box<dyn FnMut()>>,
    /// Another vCPU's unmapping (handle, gfn) in the middle of the next one, and what became of it.
    pub meanwhile: Cell<Option<(u32, u64)>>,
    pub meanwhile_status: Cell<i16>,
    pub map_fails: Cell<bool>,
    pub preempt: Cell<bool>,
}

/// A zeroed frame of `owner`.
pub fn frame(owner: u16) -> FrameRef {
    let mfn = frames::alloc_zeroed(0).unwrap();
    frame_table::assign(mfn, 0, DomId(owner));
    FrameRef::from_raw(mfn)
}

impl World {
    pub fn new() -> Self {
        let table = |id| (id, RefCell::new(Table::new(DomId(id)).unwrap()));
        Self {
            caller: Cell::new(1),
            tables: RefCell::new((0..3).map(table).collect()),
            pages: RefCell::default(),
            at_flush: RefCell::new(Box::new(|| ())),
            at_lookup: RefCell::new(Box::new(|| ())),
            meanwhile: Cell::new(None),
            meanwhile_status: Cell::new(GNTST_OKAY),
            map_fails: Cell::new(false),
            preempt: Cell::new(false),
        }
    }

    /// Calls `cmd` with a list of structures; they come back.
    pub fn call<T, const N: usize>(
        &self,
        caller: u16,
        cmd: u32,
        list: [T; N],
    ) -> Result<[T; N], Errno>
    where
        T: FromBytes + IntoBytes + Immutable,
        [T; N]: FromBytes,
    {
        self.caller.set(caller);
        let mut args = TestArgs::of(&list);
        assert_eq!(op(self, cmd, &mut args, N as u32)?, Progress::Done(0));
        Ok(FromBytes::read_from_bytes(&args.0).unwrap())
    }

    pub fn table<R>(&self, domain: u16, f: impl FnOnce(&mut Table) -> R) -> R {
        f(&mut self.tables.borrow()[&domain].borrow_mut())
    }

    /// Gives `domain` a page of its own at `gfn`.
    pub fn page(&self, domain: u16, gfn: u64) -> FrameRef {
        let page = frame(domain);
        self.pages
            .borrow_mut()
            .insert((domain, gfn), (page.clone(), true));
        page
    }

    /// The frame of the entries of `domain` and the byte offset of entry `reference`.
    fn entry(&self, domain: u16, reference: u32) -> (FrameRef, usize) {
        (
            self.table(domain, |table| table.frame(reference / 512).unwrap()),
            reference as usize % 512 * 8,
        )
    }

    /// As a guest does it: page first, flags last.
    pub fn grant(&self, domain: u16, reference: u32, to: u16, gfn: u32, flags: u16) {
        let (frame, offset) = self.entry(domain, reference);
        frame.atomic_u32(offset + 4).store(gfn, SeqCst);
        frame
            .atomic_u32(offset)
            .store(u32::from(to) << 16 | u32::from(flags), SeqCst);
    }

    /// The flags of an entry.
    pub fn flags(&self, domain: u16, reference: u32) -> u16 {
        let (frame, offset) = self.entry(domain, reference);
        frame.atomic_u32(offset).load(SeqCst) as u16
    }

    /// Maps one reference of `granter` at `gfn` of `caller`: the status and the handle.
    pub fn map(
        &self,
        caller: u16,
        granter: u16,
        reference: u32,
        gfn: u64,
        readonly: bool,
    ) -> (i16, u32) {
        let mut flags = GntmapFlags::HOST_MAP;
        flags.set(GntmapFlags::READONLY, readonly);
        let arg = GnttabMapGrantRef {
            host_addr: gfn << 12,
            flags,
            r#ref: reference,
            dom: granter,
            ..Default::default()
        };
        let [done] = self.call(caller, GNTTABOP_MAP_GRANT_REF, [arg]).unwrap();
        if done.status == GNTST_OKAY {
            assert_eq!(done.dev_bus_addr, gfn << 12);
        }
        (done.status, done.handle)
    }

    pub fn unmap(&self, caller: u16, handle: u32, gfn: u64) -> i16 {
        let arg = GnttabUnmapGrantRef {
            host_addr: gfn << 12,
            handle,
            ..Default::default()
        };
        self.call(caller, GNTTABOP_UNMAP_GRANT_REF, [arg]).unwrap()[0].status
    }

    /// What `domain` has at `gfn`.
    pub fn at(&self, domain: u16, gfn: u64) -> Option<(Mfn, bool)> {
        self.pages
            .borrow()
            .get(&(domain, gfn))
            .map(|(frame, write)| (frame.mfn(), *write))
    }
}

impl Environment for World {
    fn caller(&self) -> DomId {
        DomId(self.caller.get())
    }
    fn privileged(&self) -> bool {
        self.caller.get() == 0
    }
    fn with_table<R>(&self, domain: DomId, f: impl FnOnce(&mut Table) -> R) -> Option<R> {
        // Borrowed mutably: a second table locked inside `f` of the same domain would panic.
        Some(f(&mut self.tables.borrow().get(&domain.0)?.borrow_mut()))
    }
    fn frame(&self, domain: DomId, gfn: Gfn) -> Option<(FrameRef, bool)> {
        let page = self.pages.borrow().get(&(domain.0, gfn.0)).cloned();
        self.at_lookup.borrow_mut()();
        page
    }
    fn map(&self, gfn: Gfn, frame: FrameRef, write: bool) -> Result<(), CannotMap> {
        if self.map_fails.get() {
            return Err(CannotMap);
        }
        self.pages
            .borrow_mut()
            .insert((self.caller.get(), gfn.0), (frame, write));
        Ok(())
    }
    fn unmap(&self, gfn: Gfn, mfn: Mfn) -> Option<FrameRef> {
        if let Some((handle, gfn)) = self.meanwhile.take() {
            let status = World::unmap(self, self.caller.get(), handle, gfn);
            self.meanwhile_status.set(status);
        }
        let key = (self.caller.get(), gfn.0);
        let mut pages = self.pages.borrow_mut();
        if pages.get(&key)?.0.mfn() != mfn {
            return None;
        }
        pages.remove(&key).map(|(frame, _)| frame)
    }
    fn flush(&self) {
        self.at_flush.borrow_mut()();
    }
    fn preempt(&self) -> bool {
        self.preempt.get()
    }
}
