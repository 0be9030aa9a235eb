//! A guest's memory and a disk, for tests.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use domain::{PageRange, SharedMemory};
use xen_abi::DomId;
use xen_abi::grant_table::GrantRef;

use crate::disk::*;
use crate::pages::Grants;

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
