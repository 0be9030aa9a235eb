//! Checks a frontend's request against its virtual disk. Everything in it may be hostile.

use alloc::vec::Vec;

use domain::SharedMemory;
use xen_abi::grant_table::GrantRef;
use xen_abi::io::blkif::*;
use xen_abi::xen::PAGE_SIZE;

use crate::extents::Extents;
use crate::protocol::{Body, Request};

/// Segments that one indirect request may have: what we tell frontends (Linux's own backend says the same).
pub const MAX_INDIRECT_SEGMENTS: u16 = 256;

/// Data of one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The page.
    pub gref: GrantRef,
    /// First byte.
    pub offset: u32,
    /// Bytes, not zero.
    pub len: u32,
}

/// What a request means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Moves data.
    Transfer {
        /// To the disk?
        write: bool,
        /// First sector, of the virtual disk.
        sector: u64,
        /// The data; not empty unless there is a flush.
        pieces: Vec<Piece>,
        /// Flush before.
        before: bool,
        /// Flush after, and let no other request pass by.
        barrier: bool,
    },
    /// Moves data whose pieces are listed in pages: continue with [`list`].
    Listed {
        /// To the disk?
        write: bool,
        /// First sector, of the virtual disk.
        sector: u64,
        /// How many pieces.
        count: u16,
        /// The pages that list them.
        pages: Vec<GrantRef>,
    },
    /// Forgets data.
    Discard {
        /// First sector, of the virtual disk.
        sector: u64,
        /// Sectors.
        count: u64,
    },
}

/// Why a request is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// We never do that (`BLKIF_RSP_EOPNOTSUPP`).
    Unsupported,
    /// The disk may not be written.
    ReadOnly,
    /// It makes no sense; the text is for the log.
    Wrong(&'static str),
}

impl Refused {
    /// The response's status.
    #[must_use]
    pub const fn status(self) -> i16 {
        match self {
            Self::Unsupported => BLKIF_RSP_EOPNOTSUPP,
            Self::ReadOnly | Self::Wrong(_) => BLKIF_RSP_ERROR,
        }
    }
}

/// Does the frontend's disk have these sectors?
fn holds(extents: &Extents, sector: u64, count: u64) -> Result<(), Refused> {
    match extents.holds(sector, count) {
        true => Ok(()),
        false => Err(Refused::Wrong("beyond the end of the disk")),
    }
}

/// Checks a request.
///
/// # Errors
/// Why it is refused.
pub fn check(request: &Request, extents: &Extents, can_discard: bool) -> Result<Job, Refused> {
    match request.body {
        Body::Direct {
            sector,
            count,
            segments,
        } => {
            let (write, before, barrier) = match request.operation {
                BLKIF_OP_READ => (false, false, false),
                BLKIF_OP_WRITE => (true, false, false),
                BLKIF_OP_WRITE_BARRIER => (true, true, true),
                BLKIF_OP_FLUSH_DISKCACHE => (true, true, false),
                _ => return Err(Refused::Unsupported),
            };
            let segments = segments
                .get(..usize::from(count))
                .ok_or(Refused::Wrong("too many segments"))?;
            if segments.is_empty() && !before {
                return Err(Refused::Wrong("no segments"));
            }
            let pieces = pieces(segments)?;
            if write && extents.read_only && !pieces.is_empty() {
                return Err(Refused::ReadOnly);
            }
            let sector = if pieces.is_empty() { 0 } else { sector };
            holds(extents, sector, sectors(&pieces))?;
            Ok(Job::Transfer {
                write,
                sector,
                pieces,
                before,
                barrier,
            })
        }
        Body::Indirect {
            sector,
            count,
            pages,
        } => {
            let write = match request.operation {
                BLKIF_OP_READ => false,
                BLKIF_OP_WRITE => true,
                _ => return Err(Refused::Unsupported),
            };
            if count == 0 {
                return Err(Refused::Wrong("no segments"));
            }
            if count > MAX_INDIRECT_SEGMENTS {
                return Err(Refused::Wrong("too many segments"));
            }
            if write && extents.read_only {
                return Err(Refused::ReadOnly);
            }
            let needed = usize::from(count).div_ceil(SEGMENTS_PER_INDIRECT_PAGE);
            let pages = pages
                .get(..needed)
                .ok_or(Refused::Wrong("too many segments"))?;
            Ok(Job::Listed {
                write,
                sector,
                count,
                pages: pages.to_vec(),
            })
        }
        Body::Discard {
            sector,
            count,
            secure,
        } => {
            if secure || !can_discard || !extents.discard {
                return Err(Refused::Unsupported);
            }
            if extents.read_only {
                return Err(Refused::ReadOnly);
            }
            holds(extents, sector, count)?;
            Ok(Job::Discard { sector, count })
        }
        Body::Unknown => Err(Refused::Unsupported),
    }
}

/// Reads the list of an indirect request from its pages, each entry once, and checks it.
///
/// # Errors
/// Why it is refused.
pub fn list<'m>(
    extents: &Extents,
    write: bool,
    sector: u64,
    count: u16,
    pages: impl Iterator<Item = &'m SharedMemory>,
) -> Result<Job, Refused> {
    let mut segments = Vec::with_capacity(usize::from(count));
    for page in pages {
        for index in 0..SEGMENTS_PER_INDIRECT_PAGE.min(usize::from(count) - segments.len()) {
            let segment =
                page.read::<BlkifRequestSegment>(index * size_of::<BlkifRequestSegment>());
            segments.push(segment.map_err(|_| Refused::Wrong("list outside its page"))?);
        }
    }
    let pieces = pieces(&segments)?;
    holds(extents, sector, sectors(&pieces))?;
    Ok(Job::Transfer {
        write,
        sector,
        pieces,
        before: false,
        barrier: false,
    })
}

fn pieces(segments: &[BlkifRequestSegment]) -> Result<Vec<Piece>, Refused> {
    const LAST: u8 = (PAGE_SIZE / BLKIF_SECTOR_SIZE) as u8 - 1;
    const SECTOR: u32 = BLKIF_SECTOR_SIZE as u32;
    let piece = |segment: &BlkifRequestSegment| {
        let (first, last) = (segment.first_sect, segment.last_sect);
        if first > last || last > LAST {
            return Err(Refused::Wrong("segment outside its page"));
        }
        let offset = u32::from(first) * SECTOR;
        Ok(Piece {
            gref: segment.gref,
            offset,
            len: (u32::from(last) + 1) * SECTOR - offset,
        })
    };
    segments.iter().map(piece).collect()
}

fn sectors(pieces: &[Piece]) -> u64 {
    pieces
        .iter()
        .map(|piece| u64::from(piece.len) / BLKIF_SECTOR_SIZE as u64)
        .sum()
}
