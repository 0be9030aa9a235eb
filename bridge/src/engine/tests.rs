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

#[test]
fn a_frame_goes_where_its_address_is_with_one_copy_each() {
    let mut world = World::new();
    world.buffers(B, 10);
    world.buffers(UPLINK, 10);
    let frames: Vec<_> = (0..5).map(|n| frame(MAC_B, MAC_A, 60 + n)).collect();
    for frame in &frames {
        world.frame(A, frame);
    }
    world.run();
    assert_eq!(world.got(B), frames);
    assert_eq!(world.got(UPLINK), Vec::<Vec<u8>>::new());
    assert_eq!(world.answers(A), vec![0; 5]);
    assert_eq!(world.host.copies, 2, "headers, then packets");
    assert_eq!(
        (world.counters(A).in_frames, world.counters(B).out_frames),
        (5, 5)
    );
}

#[test]
fn a_broadcast_reaches_everybody_else_and_the_interface() {
    let mut world = World::new();
    for port in [A, B, UPLINK] {
        world.buffers(port, 4);
    }
    let shout = frame(Mac::BROADCAST, WORLD, 100);
    world.frame(UPLINK, &shout);
    world.run();
    assert_eq!(world.got(A), vec![shout.clone()]);
    assert_eq!(world.got(B), vec![shout.clone()]);
    assert!(world.got(UPLINK).is_empty());
    assert_eq!(world.host.local, vec![shout]);
    assert_eq!(world.answers(UPLINK), vec![0]);
    assert_eq!(world.counters(A).out_flooded, 0);
}

#[test]
fn a_large_packet_keeps_its_offloads() {
    let mut world = World::new();
    world.buffers(B, 30);
    let bytes = frame(MAC_B, MAC_A, 60_000);
    let mut parts = vec![66];
    parts.extend([4096; 14]);
    parts.push(60_000 - 66 - 14 * 4096);
    world.send(A, &bytes, &parts, NettxFlags::CSUM_BLANK, Some(1448));
    world.run();
    assert_eq!(world.got(B), vec![bytes]);
    let front = world.fronts[&B].borrow();
    let flags = front.received[0].flags;
    assert!(
        flags.contains(NetrxFlags::CSUM_BLANK | NetrxFlags::EXTRA_INFO | NetrxFlags::MORE_DATA)
    );
    assert_eq!(
        world
            .answers(A)
            .iter()
            .filter(|status| **status == NETIF_RSP_NULL)
            .count(),
        1
    );
    assert_eq!(world.answers(A).len(), 17);
}

#[test]
fn what_a_receiver_cannot_do_is_done_for_it() {
    const C: PortId = PortId(4);
    const MAC_C: Mac = Mac([0, 0x16, 0x3e, 0, 0, 0xc]);
    let mut world = World::new();
    world.add(C, Some(MAC_C), false, Receiver::default());
    world.buffers(C, 40);
    let payload: Vec<u8> = (0..20_000).map(|n| n as u8).collect();
    let mut bytes = packet::test_frames::tcp_frame(&payload, 0x18);
    bytes[..6].copy_from_slice(&MAC_C.0);
    bytes[6..12].copy_from_slice(&MAC_A.0);
    let parts = [54, 4096, 4096, 4096, 4096, 20_000 - 4 * 4096];
    world.send(A, &bytes, &parts, NettxFlags::CSUM_BLANK, Some(1448));
    world.run();
    let got = world.got(C);
    assert_eq!(got.len(), 14);
    assert!(got.iter().all(|frame| packet::test_frames::holds(frame)));
    assert_eq!(
        got.iter()
            .flat_map(|frame| frame[54..].to_vec())
            .collect::<Vec<_>>(),
        payload
    );
    assert_eq!(
        world
            .answers(A)
            .iter()
            .filter(|status| **status == 0)
            .count(),
        6
    );
    // A checksum alone.
    let mut small = packet::test_frames::tcp_frame(&[1, 2, 3], 0x18);
    small[..6].copy_from_slice(&MAC_C.0);
    small[6..12].copy_from_slice(&MAC_A.0);
    world.frame_blank(A, &small);
    world.run();
    assert!(packet::test_frames::holds(world.got(C).last().unwrap()));
}

impl World {
    fn frame_blank(&mut self, from: PortId, bytes: &[u8]) {
        self.send(from, bytes, &[bytes.len()], NettxFlags::CSUM_BLANK, None);
    }
}

#[test]
fn a_guest_without_buffers_loses_frames_and_holds_nobody_up() {
    let mut world = World::new();
    world.buffers(A, 1);
    world.frame(UPLINK, &frame(MAC_A, WORLD, 60));
    world.run();
    world.buffers(B, 1);
    world.buffers(UPLINK, 10);
    world.frame(A, &frame(MAC_B, MAC_A, 60));
    world.frame(A, &frame(MAC_B, MAC_A, 61));
    world.frame(A, &frame(WORLD, MAC_A, 62));
    world.run();
    assert_eq!(world.got(B).len(), 1);
    assert_eq!(world.got(UPLINK).len(), 1);
    assert_eq!(world.counters(B).out_dropped, 1);
    assert_eq!(world.answers(A), vec![NETIF_RSP_DROPPED, 0, 0]);
}

#[test]
fn packets_wait_for_the_uplink_in_order_and_not_for_ever() {
    let mut world = World::new();
    // The uplink is known to lead to the world.
    world.buffers(A, 10);
    world.frame(UPLINK, &frame(MAC_A, WORLD, 60));
    world.run();
    let frames: Vec<_> = (0..6).map(|n| frame(WORLD, MAC_A, 100 + n)).collect();
    world.buffers(UPLINK, 2);
    for frame in &frames {
        world.frame(A, frame);
    }
    world.run();
    assert_eq!(world.got(UPLINK), frames[..2]);
    assert_eq!(
        world.fronts[&UPLINK].borrow().wants,
        Some(0),
        "it is asked to notify"
    );
    world.buffers(UPLINK, 3);
    world.run();
    assert_eq!(world.got(UPLINK), frames[..5]);
    assert_eq!(world.answers(A), vec![0; 5]);
    assert_eq!(world.engine.deadline(), Some(world.host.now + PATIENCE));
    world.host.now += PATIENCE;
    assert!(!world.engine.pass(&mut world.host));
    assert_eq!(world.answers(A).last(), Some(&NETIF_RSP_DROPPED));
    assert_eq!(world.engine.deadline(), None);
}

#[test]
fn a_grant_that_is_none_costs_its_packet_only() {
    let mut world = World::new();
    world.buffers(B, 4);
    world.frame(A, &frame(MAC_B, MAC_A, 60));
    world.send(
        A,
        &frame(MAC_B, MAC_A, 3000),
        &[100, 2900],
        NettxFlags::empty(),
        None,
    );
    world.frame(A, &frame(MAC_B, MAC_A, 61));
    // The header's page is gone, then that of the second part of another packet.
    world.pages.borrow_mut().remove(&(domain(A), 1000));
    world.pages.borrow_mut().remove(&(domain(A), 1002));
    world.run();
    let statuses: Vec<i16> = world.fronts[&B]
        .borrow()
        .received
        .iter()
        .map(|r| r.status)
        .collect();
    assert_eq!(statuses, vec![NETIF_RSP_ERROR, 61]);
    let mut answers = world.fronts[&A].borrow().answers.clone();
    answers.sort();
    assert_eq!(answers, vec![(1000, -1), (1001, -1), (1002, -1), (1003, 0)]);
    assert_eq!(world.counters(A).in_errors, 2);
}

#[test]
fn a_header_in_many_parts_is_read() {
    let mut world = World::new();
    world.buffers(B, 4);
    let bytes = frame(MAC_B, MAC_A, 80);
    world.send(A, &bytes, &[1, 5, 7, 67], NettxFlags::empty(), None);
    world.run();
    assert_eq!(world.got(B), vec![bytes]);
}

#[test]
fn a_broken_ring_ends_its_port_alone() {
    let mut world = World::new();
    world.buffers(B, 4);
    world.fronts[&A].borrow_mut().broken = true;
    world.frame(UPLINK, &frame(MAC_B, WORLD, 60));
    world.run();
    assert_eq!(world.got(B).len(), 1);
    assert_eq!(world.engine.take_broken(), Some((A, Broken("test"))));
    assert_eq!(world.engine.take_broken(), None);
    world.engine.remove(A).unwrap();
    world.run();
}

#[test]
fn the_interface_sends_and_is_reached_by_its_address() {
    let mut world = World::new();
    world.buffers(UPLINK, 4);
    world.buffers(A, 4);
    let own = Mac([2, 0x62, 0x72, 0, 0, 1]);
    world
        .engine
        .send_local(&frame(Mac::BROADCAST, own, 80), &mut world.host);
    assert_eq!((world.got(UPLINK).len(), world.got(A).len()), (1, 1));
    world.frame(UPLINK, &frame(own, WORLD, 70));
    world.run();
    assert_eq!(world.host.local, vec![frame(own, WORLD, 70)]);
    assert_eq!(world.answers(UPLINK), vec![0]);
    assert_eq!(
        world.got(A).len(),
        1,
        "unicast to the interface is not flooded"
    );
    world
        .engine
        .send_local(&frame(WORLD, own, 90), &mut world.host);
    assert_eq!((world.got(UPLINK).len(), world.got(A).len()), (2, 1));
}
