//! A frontend, its memory, and a disk, for tests.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use domain::ring::FrontRing;
use domain::{PageRange, SharedMemory};
use xen_abi::DomId;
use xen_abi::grant_table::GrantRef;
use xen_abi::io::blkif::*;
use xen_abi::zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::disk::*;
use crate::engine::{ConnectionId, Engine, Notify, Queue};
use crate::extents::{Extent, Extents};
use crate::pages::Grants;
use crate::protocol::{Protocol, Ring};

/// A page that both sides see.
#[derive(Clone)]
pub struct Page(pub Rc<PageRange>);

impl AsRef<SharedMemory> for Page {
    fn as_ref(&self) -> &SharedMemory {
        self.0.memory()
    }
}

impl Page {
    pub fn new() -> Self {
        Self(Rc::new(PageRange::new(1).unwrap()))
    }
    pub fn fill(&self, byte: u8) {
        self.as_ref().fill(0, 4096, byte).unwrap();
    }
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        self.as_ref().read_bytes(0, &mut bytes).unwrap();
        bytes
    }
}

/// What a guest has granted, and what is mapped of it.
#[derive(Default)]
pub struct Guest {
    /// Reference → page, and whether for reading only.
    pub granted: RefCell<HashMap<GrantRef, (Page, bool)>>,
    pub mapped: Cell<usize>,
    pub map_calls: Cell<usize>,
    pub unmap_calls: Cell<usize>,
}

impl Guest {
    pub fn grant(&self, reference: GrantRef, readonly: bool) -> Page {
        let page = Page::new();
        self.granted
            .borrow_mut()
            .insert(reference, (page.clone(), readonly));
        page
    }

    /// The granted page at a DMA address.
    fn at(&self, gpa: u64) -> (Page, usize) {
        let granted = self.granted.borrow();
        let page = granted
            .values()
            .map(|(page, _)| page)
            .find(|page| (page.0.gpa()..page.0.gpa() + 4096).contains(&gpa));
        let page = page.expect("DMA outside granted pages").clone();
        let offset = (gpa - page.0.gpa()) as usize;
        (page, offset)
    }
}

#[derive(Clone)]
pub struct FakeGrants(pub Rc<Guest>);

impl Grants for FakeGrants {
    type Page = Page;

    fn map(
        &mut self,
        dom: DomId,
        references: &[GrantRef],
        readonly: bool,
        out: &mut Vec<Option<Page>>,
    ) {
        assert_eq!(dom, 5);
        assert!(!references.is_empty());
        self.0.map_calls.set(self.0.map_calls.get() + 1);
        for reference in references {
            let page = match self.0.granted.borrow().get(reference) {
                Some((page, false)) => Some(page.clone()),
                Some((page, true)) if readonly => Some(page.clone()),
                _ => None,
            };
            self.0
                .mapped
                .set(self.0.mapped.get() + usize::from(page.is_some()));
            out.push(page);
        }
    }

    fn unmap(&mut self, pages: Vec<Page>) {
        self.0.unmap_calls.set(self.0.unmap_calls.get() + 1);
        self.0.mapped.set(self.0.mapped.get() - pages.len());
    }
}

/// A command as the disk keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    Read(u64, Vec<Segment>),
    Write(u64, Vec<Segment>),
    Flush,
    Discard(u64, u32),
    Zero(u64, u32),
}

/// A disk in memory; commands wait until the test lets them complete.
pub struct FakeDisk {
    pub limits: Limits,
    pub content: Vec<u8>,
    pub guest: Rc<Guest>,
    pub room: usize,
    /// Submitted and not completed, in order.
    pub queue: Vec<(u32, Kept)>,
    /// Everything ever submitted.
    pub log: Vec<Kept>,
    /// Sectors whose commands fail.
    pub broken: HashSet<u64>,
    /// How many the next calls of `completed` may give.
    pub ready: usize,
    /// Which of the queue completes next.
    pub pick: Box<dyn FnMut(usize) -> usize>,
    pub kicks: usize,
}

/// What a disk of the tests' can do.
pub const LIMITS: Limits = Limits {
    sectors: 4096,
    physical_sector_size: 512,
    read_only: false,
    flush: true,
    discard: Some(Discard {
        sectors: 64,
        alignment: 1,
    }),
    zeroes: Some(100),
    segments: 40,
    segment_bytes: 4096,
};

impl FakeDisk {
    /// A disk of zeros that completes commands in their order.
    pub fn new(limits: Limits, guest: Rc<Guest>) -> Self {
        Self {
            limits,
            content: vec![0; limits.sectors as usize * 512],
            guest,
            room: 64,
            queue: vec![],
            log: vec![],
            broken: HashSet::new(),
            ready: 0,
            pick: Box::new(|_| 0),
            kicks: 0,
        }
    }

    fn run(&mut self, command: &Kept) -> bool {
        let (sector, segments, write) = match command {
            Kept::Read(sector, segments) => (*sector, segments, false),
            Kept::Write(sector, segments) => (*sector, segments, true),
            Kept::Flush => return true,
            Kept::Discard(sector, count) => {
                self.content[*sector as usize * 512..][..*count as usize * 512].fill(0xdd);
                return true;
            }
            Kept::Zero(sector, count) => {
                self.content[*sector as usize * 512..][..*count as usize * 512].fill(0);
                return true;
            }
        };
        if self.broken.contains(&sector) {
            return false;
        }
        let mut at = sector as usize * 512;
        for segment in segments {
            for offset in (0..u64::from(segment.len)).step_by(512) {
                let (page, offset) = self.guest.at(segment.gpa + offset);
                let content = &mut self.content[at..at + 512];
                match write {
                    true => page.as_ref().read_bytes(offset, content).unwrap(),
                    false => page.as_ref().write_bytes(offset, content).unwrap(),
                }
                at += 512;
            }
        }
        true
    }
}

impl Disk for FakeDisk {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn submit(&mut self, command: Command<'_>, tag: u32) -> Result<(), Full> {
        if self.queue.len() >= self.room {
            return Err(Full);
        }
        let kept = match command {
            Command::Read { sector, segments } => Kept::Read(sector, segments.to_vec()),
            Command::Write { sector, segments } => Kept::Write(sector, segments.to_vec()),
            Command::Flush => Kept::Flush,
            Command::Discard { sector, count } => Kept::Discard(sector, count),
            Command::Zero { sector, count } => Kept::Zero(sector, count),
        };
        if let Kept::Read(_, segments) | Kept::Write(_, segments) = &kept {
            assert!((1..=self.limits.segments).contains(&segments.len()));
            assert!(
                segments
                    .iter()
                    .all(|segment| segment.len > 0 && segment.len <= self.limits.segment_bytes)
            );
        }
        self.queue.push((tag, kept.clone()));
        self.log.push(kept);
        Ok(())
    }

    fn kick(&mut self) {
        self.kicks += 1;
    }

    fn completed(&mut self) -> Option<Completion> {
        // The backend's own reads are not the test's business.
        if let Some(index) = self.queue.iter().position(|(tag, _)| *tag == u32::MAX) {
            let (tag, command) = self.queue.remove(index);
            let ok = self.run(&command);
            return Some(Completion { tag, ok });
        }
        self.ready = self.ready.checked_sub(1)?;
        if self.queue.is_empty() {
            return None;
        }
        let index = (self.pick)(self.queue.len()) % self.queue.len();
        let (tag, command) = self.queue.remove(index);
        let ok = self.run(&command);
        Some(Completion { tag, ok })
    }
}

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
