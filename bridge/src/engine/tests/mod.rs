//! A bridge with an uplink and two guests, all pretended, whose frames are looked at.

mod frames;
mod trouble;

use super::*;
use crate::mac::Mac;
use crate::{deliver, transmit};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use xen_abi::grant_table::{GntcopyFlags, GnttabCopy};
use xen_abi::io::netif::*;
use zerocopy::{FromBytes, IntoBytes};

const UPLINK: PortId = PortId(1);
const A: PortId = PortId(2);
const B: PortId = PortId(3);
const MAC_A: Mac = Mac([0, 0x16, 0x3e, 0, 0, 0xa]);
const MAC_B: Mac = Mac([0, 0x16, 0x3e, 0, 0, 0xb]);
const WORLD: Mac = Mac([0x52, 0x55, 10, 0, 2, 2]);
const ALL: Receiver = Receiver {
    scatter_gather: true,
    segmentation: true,
    blank_checksum: true,
};

/// All domains' pages: by domain and grant reference.
type Pages = Rc<RefCell<BTreeMap<(DomId, u32), Vec<u8>>>>;

/// A frontend: what it has put into its rings, and what came back.
#[derive(Default)]
struct Front {
    transmit: VecDeque<[u8; transmit::SLOT]>,
    answers: Vec<(u16, i16)>,
    buffers: VecDeque<NetifRxRequest>,
    received: Vec<NetifRxResponse>,
    broken: bool,
    wants: Option<u32>,
}

struct FakeRings(Rc<RefCell<Front>>);

impl Rings for FakeRings {
    fn next_transmit(&mut self) -> Result<Option<[u8; transmit::SLOT]>, Broken> {
        let mut front = self.0.borrow_mut();
        if front.broken {
            Err(Broken("test"))
        } else {
            Ok(front.transmit.pop_front())
        }
    }
    fn answer_transmit(&mut self, id: u16, status: i16) {
        self.0.borrow_mut().answers.push((id, status));
    }
    fn receive_buffers(&mut self) -> Result<u32, Broken> {
        Ok(self.0.borrow().buffers.len() as u32)
    }
    fn next_receive(&mut self) -> Option<NetifRxRequest> {
        self.0.borrow_mut().buffers.pop_front()
    }
    fn answer_receive(&mut self, slot: &[u8; deliver::SLOT]) {
        self.0
            .borrow_mut()
            .received
            .push(NetifRxResponse::read_from_bytes(slot).unwrap());
    }
    fn flush(&mut self) {}
    fn more_transmit(&mut self) -> Result<bool, Broken> {
        Ok(!self.0.borrow().transmit.is_empty())
    }
    fn more_receive(&mut self, have: u32) -> Result<bool, Broken> {
        let mut front = self.0.borrow_mut();
        front.wants = Some(have);
        Ok(front.buffers.len() as u32 > have)
    }
}

struct FakeHost {
    pages: Pages,
    scratch: Vec<u8>,
    now: Duration,
    local: Vec<Vec<u8>>,
    copies: usize,
}

impl FakeHost {
    fn bytes(
        &self,
        end: &xen_abi::grant_table::GnttabCopyPtr,
        granted: bool,
        len: usize,
    ) -> Option<Vec<u8>> {
        let offset = usize::from(end.offset);
        if granted {
            self.pages
                .borrow()
                .get(&(end.domid, end.r#ref()))?
                .get(offset..offset + len)
                .map(<[u8]>::to_vec)
        } else {
            let at = (end.gmfn_value() as usize - 1000) * 4096 + offset;
            self.scratch.get(at..at + len).map(<[u8]>::to_vec)
        }
    }
}

impl Host for FakeHost {
    fn copy(&mut self, operations: &mut [GnttabCopy]) {
        self.copies += 1;
        for operation in operations {
            let len = usize::from(operation.len);
            assert!(usize::from(operation.source.offset) + len <= 4096);
            assert!(usize::from(operation.dest.offset) + len <= 4096);
            let from = self.bytes(
                &operation.source,
                operation.flags.contains(GntcopyFlags::SOURCE_GREF),
                len,
            );
            let offset = usize::from(operation.dest.offset);
            let done = from.and_then(|bytes| {
                if operation.flags.contains(GntcopyFlags::DEST_GREF) {
                    let mut pages = self.pages.borrow_mut();
                    let page = pages.get_mut(&(operation.dest.domid, operation.dest.r#ref()))?;
                    page[offset..offset + len].copy_from_slice(&bytes);
                } else {
                    let at = (operation.dest.gmfn_value() as usize - 1000) * 4096 + offset;
                    self.scratch[at..at + len].copy_from_slice(&bytes);
                }
                Some(())
            });
            operation.status = if done.is_some() { 0 } else { -3 };
        }
    }
    fn scratch_frame(&self, page: usize) -> u64 {
        assert!(page < SCRATCH_PAGES);
        1000 + page as u64
    }
    fn read(&self, offset: usize, out: &mut [u8]) {
        out.copy_from_slice(&self.scratch[offset..offset + out.len()]);
    }
    fn write(&mut self, offset: usize, data: &[u8]) {
        self.scratch[offset..offset + data.len()].copy_from_slice(data);
    }
    fn now(&self) -> Duration {
        self.now
    }
    fn local_frame(&mut self, frame: &[u8]) {
        self.local.push(frame.to_vec());
    }
}

struct World {
    engine: Engine,
    host: FakeHost,
    fronts: BTreeMap<PortId, Rc<RefCell<Front>>>,
    pages: Pages,
}

impl World {
    fn new() -> Self {
        let pages = Pages::default();
        let host = FakeHost {
            pages: pages.clone(),
            scratch: vec![0; SCRATCH_PAGES * 4096],
            now: Duration::from_secs(1),
            local: Vec::new(),
            copies: 0,
        };
        let mut world = Self {
            engine: Engine::default(),
            host,
            fronts: BTreeMap::new(),
            pages,
        };
        world.add(UPLINK, None, true, ALL);
        world.add(A, Some(MAC_A), false, ALL);
        world.add(B, Some(MAC_B), false, ALL);
        world
    }

    fn add(&mut self, id: PortId, mac: Option<Mac>, uplink: bool, receiver: Receiver) {
        let front = Rc::new(RefCell::new(Front::default()));
        self.fronts.insert(id, front.clone());
        self.engine.add(
            id,
            domain(id),
            mac,
            uplink,
            receiver,
            Box::new(FakeRings(front)),
        );
    }

    /// Puts a packet into a port's ring, its bytes in parts of the given lengths.
    fn send(
        &mut self,
        from: PortId,
        bytes: &[u8],
        parts: &[usize],
        flags: NettxFlags,
        gso: Option<u16>,
    ) {
        let mut front = self.fronts[&from].borrow_mut();
        let mut at = 0;
        for (index, len) in parts.iter().enumerate() {
            let gref = 1000 + front.transmit.len() as u32;
            let mut page = vec![0xee; 4096];
            page[..*len].copy_from_slice(&bytes[at..at + len]);
            at += len;
            self.pages.borrow_mut().insert((domain(from), gref), page);
            let mut flags = if index == 0 {
                flags
            } else {
                NettxFlags::empty()
            };
            flags.set(NettxFlags::MORE_DATA, index + 1 < parts.len());
            flags.set(NettxFlags::EXTRA_INFO, index == 0 && gso.is_some());
            let size = if index == 0 { bytes.len() } else { *len } as u16;
            let request = NetifTxRequest {
                gref,
                offset: 0,
                flags,
                id: gref as u16,
                size,
            };
            front
                .transmit
                .push_back(request.as_bytes().try_into().unwrap());
            if let Some(size) = gso.filter(|_| index == 0) {
                let mut slot = [0; transmit::SLOT];
                slot[..8].copy_from_slice(
                    NetifExtraInfo::gso(XEN_NETIF_GSO_TYPE_TCPV4, size).as_bytes(),
                );
                front.transmit.push_back(slot);
            }
        }
        drop(front);
        self.engine.notified(from);
    }

    fn frame(&mut self, from: PortId, bytes: &[u8]) {
        self.send(from, bytes, &[bytes.len()], NettxFlags::empty(), None);
    }

    fn buffers(&mut self, to: PortId, count: u16) {
        let mut front = self.fronts[&to].borrow_mut();
        let first = front.received.len() as u16 + front.buffers.len() as u16;
        for id in first..first + count {
            self.pages
                .borrow_mut()
                .insert((domain(to), u32::from(id)), vec![0; 4096]);
            front.buffers.push_back(NetifRxRequest {
                id,
                pad: 0,
                gref: id.into(),
            });
        }
    }

    fn run(&mut self) {
        for port in self.fronts.keys() {
            self.engine.notified(*port);
        }
        for _ in 0..100 {
            if !self.engine.pass(&mut self.host) {
                return;
            }
        }
        panic!("it never rests");
    }

    /// The packets a port got, put together.
    fn got(&self, port: PortId) -> Vec<Vec<u8>> {
        let front = self.fronts[&port].borrow();
        let pages = self.pages.borrow();
        let mut packets = Vec::new();
        let mut packet = Vec::new();
        let mut skip = false;
        for response in &front.received {
            if core::mem::take(&mut skip) {
                continue;
            }
            assert!(response.status >= 0, "error response");
            packet.extend_from_slice(
                &pages[&(domain(port), response.id.into())][..response.status as usize],
            );
            skip = response.flags.contains(NetrxFlags::EXTRA_INFO);
            if !response.flags.contains(NetrxFlags::MORE_DATA) {
                packets.push(core::mem::take(&mut packet));
            }
        }
        packets
    }

    fn counters(&self, port: PortId) -> Counters {
        *self
            .engine
            .counters()
            .find(|(id, _)| *id == port)
            .unwrap()
            .1
    }

    fn answers(&self, port: PortId) -> Vec<i16> {
        self.fronts[&port]
            .borrow()
            .answers
            .iter()
            .map(|(_, status)| *status)
            .collect()
    }
}

fn domain(port: PortId) -> DomId {
    port.0 + 10
}

fn frame(to: Mac, from: Mac, len: usize) -> Vec<u8> {
    let mut frame = [to.0, from.0].concat();
    frame.extend([0x88, 0xb5]);
    frame.extend((frame.len()..len).map(|n| n as u8));
    frame
}

impl World {
    fn frame_blank(&mut self, from: PortId, bytes: &[u8]) {
        self.send(from, bytes, &[bytes.len()], NettxFlags::CSUM_BLANK, None);
    }
}
