//! The entries that a domain shares with us: it writes them, we set and clear two flags.

use core::sync::atomic::{AtomicU32, Ordering};

use xen_abi::Errno;
use xen_abi::grant_table::{
    GNTST_GENERAL_ERROR, GRANT_ENTRIES_PER_FRAME, GTF_PERMIT_ACCESS, GTF_TYPE_MASK, GrantEntryV1,
    GrantFlags,
};

use super::table::Use;
use super::{MAX_FRAMES, Status};
use crate::mm::{FrameRef, frame_table};
use crate::types::{DomId, Gfn};

/// Times we try to change an entry that its owner keeps changing (Xen's bound).
const RETRIES: usize = 5;

const READONLY: u16 = GrantFlags::READONLY.bits();
const READING: u16 = GrantFlags::READING.bits();
const WRITING: u16 = GrantFlags::WRITING.bits();
const SUB_PAGE: u16 = GrantFlags::SUB_PAGE.bits();

/// All frames of entries; they come one by one as the guest asks.
pub struct Shared {
    owner: DomId,
    frames: heapless::Vec<FrameRef, { MAX_FRAMES as usize }>,
}

/// `flags` and `domid` of an entry as they were at one moment.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Header(u32);

impl Header {
    const fn flags(self) -> u16 {
        self.0 as u16
    }

    const fn grantee(self) -> DomId {
        DomId((self.0 >> 16) as u16)
    }

    /// Does the entry let `grantee` use a page, to map it or else to copy?
    fn permits(self, wanted: &Use) -> bool {
        let mask = GTF_TYPE_MASK | if wanted.map { SUB_PAGE } else { 0 };
        self.flags() & mask == GTF_PERMIT_ACCESS && self.grantee() == wanted.grantee
    }
}

impl Shared {
    /// One zeroed frame.
    pub fn new(owner: DomId) -> Option<Self> {
        let mut shared = Self {
            owner,
            frames: heapless::Vec::new(),
        };
        shared.grow(1).ok()?;
        Some(shared)
    }

    /// How many frames there are.
    pub fn count(&self) -> u32 {
        self.frames.len() as u32
    }

    /// How many entries there are.
    pub fn entries(&self) -> u32 {
        self.count() * GRANT_ENTRIES_PER_FRAME as u32
    }

    /// Makes sure that there are at least `count` frames.
    pub fn grow(&mut self, count: u32) -> Result<(), Errno> {
        if count > MAX_FRAMES {
            return Err(Errno::EINVAL);
        }
        while self.count() < count {
            let frame = FrameRef::new_zeroed(self.owner).ok_or(Errno::ENOMEM)?;
            self.frames.push(frame).map_err(|_| Errno::EINVAL)?;
        }
        Ok(())
    }

    /// The frame number `index`, which comes into being if it may.
    pub fn frame(&mut self, index: u32) -> Result<FrameRef, Errno> {
        self.grow(index.checked_add(1).ok_or(Errno::EINVAL)?)?;
        let frame = self.frames.get(index as usize).ok_or(Errno::EINVAL)?;
        // Not a clone: guests decide how often this happens, and this one refuses before the count is full.
        frame_table::get(frame.mfn()).ok_or(Errno::ENOMEM)
    }

    /// The entry's header and frame words.
    fn words(&self, reference: u32) -> Option<(&AtomicU32, &AtomicU32)> {
        let per_frame = GRANT_ENTRIES_PER_FRAME as u32;
        let frame = self.frames.get((reference / per_frame) as usize)?;
        let offset = (reference % per_frame) as usize * size_of::<GrantEntryV1>();
        Some((frame.atomic_u32(offset), frame.atomic_u32(offset + 4)))
    }

    /// The page that the entry grants to `grantee`, if it does now.
    pub fn granted(&self, wanted: &Use) -> Option<Gfn> {
        let (header, frame) = self.words(wanted.reference)?;
        Header(header.load(Ordering::SeqCst))
            .permits(wanted)
            .then(|| Gfn(u64::from(frame.load(Ordering::SeqCst))))
    }

    /// Marks the entry as in use: read, and written if `write`. `pinned` means that it is in use by `grantee` already,
    /// so that it need not say so any more. Then tells which page it grants.
    pub fn set_in_use(&self, wanted: &Use, pinned: bool) -> Result<Gfn, Status> {
        let refused = Status(GNTST_GENERAL_ERROR);
        let (word, frame) = self.words(wanted.reference).ok_or(refused)?;
        let mut old = Header(word.load(Ordering::SeqCst));
        for _ in 0..RETRIES {
            if !pinned && !old.permits(wanted) || wanted.write && old.flags() & READONLY != 0 {
                return Err(refused);
            }
            let new = old.0 | u32::from(READING | if wanted.write { WRITING } else { 0 });
            match word.compare_exchange(old.0, new, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return Ok(Gfn(u64::from(frame.load(Ordering::SeqCst)))),
                Err(now) => old = Header(now),
            }
        }
        Err(refused)
    }

    /// Says that the entry is no longer written, and if not `read`, that it is not in use at all.
    pub fn clear_in_use(&self, reference: u32, written: bool, read: bool) {
        if let Some((word, _)) = self.words(reference) {
            let keep =
                if written { WRITING } else { 0 } | if read || written { READING } else { 0 };
            word.fetch_and(!u32::from((READING | WRITING) & !keep), Ordering::SeqCst);
        }
    }

    /// Writes an entry on the owner's behalf, before it runs.
    pub fn grant(&self, reference: u32, grantee: DomId, gfn: Gfn) -> Result<(), Errno> {
        let (header, frame) = self.words(reference).ok_or(Errno::EINVAL)?;
        frame.store(
            u32::try_from(gfn.0).map_err(|_| Errno::EINVAL)?,
            Ordering::SeqCst,
        );
        header.store(
            u32::from(grantee.0) << 16 | u32::from(GTF_PERMIT_ACCESS),
            Ordering::SeqCst,
        );
        Ok(())
    }

    /// Exchanges two entries, which are not in use.
    pub fn swap(&self, a: u32, b: u32) -> Option<()> {
        let (header_a, frame_a) = self.words(a)?;
        let (header_b, frame_b) = self.words(b)?;
        let old = (
            header_a.swap(0, Ordering::SeqCst),
            frame_a.load(Ordering::SeqCst),
        );
        let new_a = (
            header_b.swap(0, Ordering::SeqCst),
            frame_b.load(Ordering::SeqCst),
        );
        frame_a.store(new_a.1, Ordering::SeqCst);
        header_a.store(new_a.0, Ordering::SeqCst);
        frame_b.store(old.1, Ordering::SeqCst);
        header_b.store(old.0, Ordering::SeqCst);
        Some(())
    }
}
