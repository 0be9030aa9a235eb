//! Memory as a [`Disk`], as FreeBSD's md(4): commands are done when they are submitted, with one copy between the disk's memory and the
//! frontend's pages.
#![expect(unsafe_code, reason = "reaches the segments' memory")]

use alloc::collections::VecDeque;
use core::ptr::NonNull;

use domain::SharedMemory;
use xen_abi::io::blkif::BLKIF_SECTOR_SIZE;
use xen_abi::xen::PAGE_SIZE;

use crate::disk::{Command, Completion, Disk, Full, Limits, Segment};

/// Completions that may wait to be taken.
const QUEUE: usize = 128;

/// The disk.
pub struct MemoryDisk {
    memory: SharedMemory,
    completed: VecDeque<Completion>,
}

impl MemoryDisk {
    /// The whole sectors of `memory` as a disk.
    #[must_use]
    pub fn new(memory: SharedMemory) -> Self {
        Self {
            memory,
            completed: VecDeque::with_capacity(QUEUE),
        }
    }

    /// blkback's module as a disk; none at address 0, where no module is.
    #[must_use]
    pub fn of_module(module: &domain::Module) -> Option<Self> {
        let start = NonNull::new(module.gpa as *mut u8)?;
        // SAFETY: microhv gives blkback the images of loader.conf as modules, each in pages of blkback's own that it may write
        // (microhv/src/domain/build/images.rs) and that are mapped so below 4 GiB. They start at a sector, so are aligned. Nobody in this domain
        // looks at the module's data in another way.
        Some(Self::new(unsafe {
            SharedMemory::new(start, module.data.len())
        }))
    }

    /// Copies between the segments and the disk from `sector` on; false if the disk does not have all of it.
    fn transfer(&self, sector: u64, segments: &[Segment], write: bool) -> bool {
        let mut at = usize::try_from(sector)
            .ok()
            .and_then(|sector| sector.checked_mul(BLKIF_SECTOR_SIZE));
        segments.iter().all(|segment| {
            let (Some(offset), Some(start)) = (at, NonNull::new(segment.gpa as *mut u8)) else {
                return false;
            };
            let len = segment.len as usize;
            at = offset.checked_add(len);
            // SAFETY: by the contract of `Disk::submit` the segment's memory is there: pages of ours or a frontend's, mapped at their
            // guest-physical address, whole sectors of them and so aligned. It is written only for a read, for which they are mapped
            // writable.
            let there = unsafe { SharedMemory::new(start, len) };
            match write {
                true => self.memory.copy_from(offset, &there, 0, len),
                false => there.copy_from(0, &self.memory, offset, len),
            }
            .is_ok()
        })
    }
}

impl Disk for MemoryDisk {
    fn limits(&self) -> Limits {
        Limits {
            sectors: (self.memory.len() / BLKIF_SECTOR_SIZE) as u64,
            physical_sector_size: PAGE_SIZE as u32,
            read_only: false,
            flush: false,
            discard: None,
            zeroes: None,
            segments: usize::MAX,
            segment_bytes: 1 << 20,
        }
    }

    fn submit(&mut self, command: Command<'_>, tag: u32) -> Result<(), Full> {
        if self.completed.len() >= QUEUE {
            return Err(Full);
        }
        let ok = match command {
            Command::Read { sector, segments } => self.transfer(sector, segments, false),
            Command::Write { sector, segments } => self.transfer(sector, segments, true),
            Command::Flush => true,
            Command::Discard { .. } | Command::Zero { .. } => false,
        };
        self.completed.push_back(Completion { tag, ok });
        Ok(())
    }

    fn kick(&mut self) {}

    fn completed(&mut self) -> Option<Completion> {
        self.completed.pop_front()
    }
}

impl MemoryDisk {
    /// Are there completions to be taken?
    #[must_use]
    pub fn has_completed(&self) -> bool {
        !self.completed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::PageRange;
    use proptest::prelude::*;

    /// A disk of `bytes` bytes, and the same memory to look at.
    fn disk(bytes: usize) -> (MemoryDisk, PageRange) {
        let pages = PageRange::new(bytes.div_ceil(4096)).unwrap();
        let start = NonNull::new(pages.gpa() as *mut u8).unwrap();
        // SAFETY: the pages outlive the disk in every test.
        let memory = unsafe { SharedMemory::new(start, bytes) };
        (MemoryDisk::new(memory), pages)
    }

    fn run(disk: &mut MemoryDisk, command: Command<'_>) -> bool {
        disk.submit(command, 7).unwrap();
        let Completion { tag, ok } = disk.completed().unwrap();
        assert_eq!(tag, 7);
        ok
    }

    #[test]
    fn a_tail_that_is_no_sector_is_not_there() {
        let (disk, _pages) = disk(4096 + 700);
        assert_eq!(disk.limits().sectors, 9);
    }

    #[test]
    fn more_than_is_taken_waits() {
        let (mut disk, _pages) = disk(4096);
        for tag in 0..QUEUE as u32 {
            disk.submit(Command::Flush, tag).unwrap();
        }
        assert_eq!(disk.submit(Command::Flush, 0), Err(Full));
        assert!(disk.has_completed());
        assert_eq!(disk.completed().map(|done| done.tag), Some(0));
        disk.submit(Command::Flush, 999).unwrap();
        let last = core::iter::from_fn(|| disk.completed()).last();
        assert_eq!(last, Some(Completion { tag: 999, ok: true }));
        assert!(!run(
            &mut disk,
            Command::Discard {
                sector: 0,
                count: 1
            }
        ));
    }

    proptest! {
        /// Whatever is written is read again, elsewhere nothing changes, and nothing beyond the end is touched.
        #[test]
        fn it_is_a_disk(commands in prop::collection::vec(
            (any::<bool>(), prop_oneof![0..20u64, any::<u64>()], prop::collection::vec((0..8u32, 1..9u32), 0..4)), 1..20),
        ) {
            const BYTES: usize = 16 * 512;
            let (mut disk, pages) = disk(BYTES + 100);
            let mut content = vec![0_u8; BYTES];
            let buffer = PageRange::new(2).unwrap();
            for (round, (write, sector, pieces)) in commands.into_iter().enumerate() {
                buffer.memory().fill(0, 8192, round as u8 + 1).unwrap();
                let segments: Vec<_> = pieces.iter().map(|(first, count)| {
                    Segment { gpa: buffer.gpa() + u64::from(*first) * 512, len: count * 512 }
                }).collect();
                let sectors: u64 = pieces.iter().map(|(_, count)| u64::from(*count)).sum();
                let fits = sector.checked_add(sectors).is_some_and(|end| end <= 16)
                    || segments.is_empty();
                let command = match write {
                    true => Command::Write { sector, segments: &segments },
                    false => Command::Read { sector, segments: &segments },
                };
                prop_assert_eq!(run(&mut disk, command) , fits);
                let mut at = sector.saturating_mul(512) as usize;
                for segment in &segments {
                    let len = segment.len as usize;
                    if at.saturating_add(len) > BYTES + 100 {
                        break;
                    }
                    if write && at + len <= BYTES {
                        content[at..at + len].fill(round as u8 + 1);
                    }
                    at += len;
                }
                let mut now = vec![0; BYTES];
                pages.memory().read_bytes(0, &mut now).unwrap();
                prop_assert!(now == content);
            }
        }
    }
}
