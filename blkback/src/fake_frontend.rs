//! A frontend with its ring, connected to the engine, for tests.

use std::cell::Cell;
use std::rc::Rc;

use domain::ring::FrontRing;
use xen_abi::grant_table::GrantRef;
use xen_abi::io::blkif::*;
use xen_abi::zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::disk::*;
use crate::engine::{ConnectionId, Engine, Notify, Queue};
use crate::extents::{Extent, Extents};
use crate::fake::*;
use crate::protocol::{Protocol, Ring};

/// Counts notifications.
#[derive(Clone, Default)]
pub struct Bell(pub Rc<Cell<usize>>);

impl Notify for Bell {
    fn notify(&self) {
        self.0.set(self.0.get() + 1);
    }
}

type Front64 = FrontRing<BlkifRequest, BlkifResponse, Page>;
type Front32 = FrontRing<BlkifX86_32Request, BlkifX86_32Response, Page>;

/// The frontend's end of a ring in either layout.
pub enum Front {
    Bits64(Front64),
    Bits32(Front32),
}

/// An answer: id, operation, status.
pub type Answer = (u64, u8, i16);

/// Everything: one frontend of domain 5, whose disk is sectors 100 to 1123.
pub struct World {
    pub guest: Rc<Guest>,
    pub engine: Engine<FakeDisk, FakeGrants, Page, Bell>,
    pub front: Front,
    pub bell: Bell,
    pub id: ConnectionId,
    pub ring_page: Page,
}

pub const START: u64 = 100;
pub const SECTORS: u64 = 1024;

#[derive(Clone, Copy)]
pub struct Options {
    pub protocol: Protocol,
    pub persistent: bool,
    pub read_only: bool,
    /// What is discarded becomes zeros.
    pub zeroes: bool,
    pub room: usize,
}

pub const DEFAULT: Options = Options {
    protocol: Protocol::X86_64,
    persistent: false,
    read_only: false,
    zeroes: false,
    room: 64,
};

impl World {
    pub fn new(options: Options) -> Self {
        let guest = Rc::new(Guest::default());
        let limits = Limits {
            sectors: 2048,
            segment_bytes: 1 << 20,
            ..LIMITS
        };
        let mut disk = FakeDisk::new(limits, guest.clone());
        disk.room = options.room;
        for (sector, bytes) in disk.content.chunks_mut(512).enumerate() {
            bytes.fill((sector % 251) as u8);
        }
        let mut engine = Engine::new(disk, FakeGrants(guest.clone()));
        let ring_page = Page::new();
        let front = match options.protocol {
            Protocol::X86_64 => Front::Bits64(FrontRing::init(ring_page.clone()).unwrap()),
            Protocol::X86_32 => Front::Bits32(FrontRing::init(ring_page.clone()).unwrap()),
        };
        let bell = Bell::default();
        let ring = Ring::attach(options.protocol, ring_page.clone()).unwrap();
        let extent = Extent {
            start: START,
            sectors: SECTORS,
        };
        let mut extents = Extents::from(extent);
        extents.read_only = options.read_only;
        extents.zeroes = options.zeroes;
        let queues = vec![Queue {
            ring,
            port: bell.clone(),
        }];
        let id = engine.connect(5, extents, options.persistent, queues);
        Self {
            guest,
            engine,
            front,
            bell,
            id,
            ring_page,
        }
    }

    /// Puts a direct request on the ring.
    pub fn direct(
        &mut self,
        id: u64,
        operation: u8,
        sector_number: u64,
        seg: &[BlkifRequestSegment],
    ) {
        let mut all = [BlkifRequestSegment::default(); BLKIF_MAX_SEGMENTS_PER_REQUEST];
        all[..seg.len()].copy_from_slice(seg);
        let nr_segments = seg.len() as u8;
        match &mut self.front {
            Front::Bits64(_) => self.raw(&BlkifRequest {
                operation,
                nr_segments,
                id,
                sector_number,
                seg: all,
                ..Default::default()
            }),
            Front::Bits32(_) => self.raw(&BlkifX86_32Request {
                operation,
                nr_segments,
                id: U64Align4::new(id),
                sector_number: U64Align4::new(sector_number),
                seg: all,
                ..Default::default()
            }),
        }
    }

    /// Puts anything on the ring.
    pub fn raw<T: IntoBytes + Immutable>(&mut self, request: &T) {
        let _ = match &mut self.front {
            Front::Bits64(front) => front
                .push_request_as(request)
                .map(|_| front.flush())
                .unwrap(),
            Front::Bits32(front) => front
                .push_request_as(request)
                .map(|_| front.flush())
                .unwrap(),
        };
    }

    /// As on the event: the engine looks at the ring.
    pub fn serve(&mut self) {
        self.engine.serve(self.id).unwrap();
    }

    /// Lets the disk complete `count` commands.
    pub fn complete(&mut self, count: usize) {
        self.engine.disk().ready = count;
        self.engine.complete();
    }

    /// Lets everything come to its end.
    pub fn finish(&mut self) {
        self.serve();
        while !self.engine.disk().queue.is_empty() || self.engine.has_more() {
            self.complete(usize::MAX);
        }
    }

    pub fn answers(&mut self) -> Vec<Answer> {
        let mut answers = vec![];
        loop {
            let answer = match &mut self.front {
                Front::Bits64(front) => front
                    .next_response()
                    .unwrap()
                    .map(|answer| (answer.id, answer.operation, answer.status)),
                Front::Bits32(front) => front
                    .next_response()
                    .unwrap()
                    .map(|answer| (answer.id.get(), answer.operation, answer.status)),
            };
            match answer {
                Some(answer) => answers.push(answer),
                None => break,
            }
        }
        match &mut self.front {
            Front::Bits64(front) => front.more_responses().unwrap(),
            Front::Bits32(front) => front.more_responses().unwrap(),
        };
        answers
    }

    pub fn content(&mut self, sector: u64, count: u64) -> Vec<u8> {
        self.engine.disk().content[sector as usize * 512..][..count as usize * 512].to_vec()
    }
}

/// A whole page.
pub fn page(gref: GrantRef) -> BlkifRequestSegment {
    part(gref, 0, 7)
}

/// Sectors `first_sect..=last_sect` of a page.
pub fn part(gref: GrantRef, first_sect: u8, last_sect: u8) -> BlkifRequestSegment {
    BlkifRequestSegment {
        gref,
        first_sect,
        last_sect,
        ..Default::default()
    }
}

/// A slot of any bytes.
pub fn slot(bytes: &[u8]) -> BlkifRequest {
    let mut slot = [0; 112];
    let len = bytes.len().min(112);
    slot[..len].copy_from_slice(&bytes[..len]);
    BlkifRequest::read_from_bytes(&slot).unwrap()
}
