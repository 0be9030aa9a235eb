//! A disk that another domain serves: the frontend's end of Xen's block interface (`io/blkif.h`).
//!
//! One ring page, and a buffer whose pages stay granted: the backend maps them once. Requests go out in batches; each batch is
//! waited for, with other events kept for later.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::iter;
use core::time::Duration;

use console::host::{Disk, DiskError, DiskOffer, Logging, SECTOR};
use domain::grant::GrantedPages;
use domain::ring::FrontRing;
use domain::xen_abi::io::blkif::{
    BLKIF_MAX_SEGMENTS_PER_REQUEST, BLKIF_OP_DISCARD, BLKIF_OP_FLUSH_DISKCACHE, BLKIF_OP_READ,
    BLKIF_OP_WRITE, BLKIF_RSP_EOPNOTSUPP, BLKIF_RSP_OKAY, BlkifRequest, BlkifRequestDiscard,
    BlkifRequestSegment, BlkifResponse,
};
use domain::xen_abi::zerocopy::{Immutable, IntoBytes};
use domain::{DomId, Errno, Instant, Port, SharedMemory, control, event};

use super::Real;

const PAGE: usize = 4096;
/// Pages of the buffer: two requests of the largest size.
const PAGES: usize = 2 * BLKIF_MAX_SEGMENTS_PER_REQUEST;
/// Bytes of the largest request.
const REQUEST_MAX: usize = BLKIF_MAX_SEGMENTS_PER_REQUEST * PAGE;
/// How long the backend may take for a batch.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of the hypervisor's log read at a time.
const LOG_CHUNK: usize = 4 << 10;

/// The frontend.
struct Blkfront {
    ring: FrontRing<BlkifRequest, BlkifResponse, GrantedPages>,
    buffer: GrantedPages,
    references: Vec<u32>,
    port: Port,
    /// Requests of this batch that are not answered, bit by bit; a request's id is its bit's number.
    waiting: u32,
    count: u64,
    /// Pages of the buffer that this batch uses.
    pages: usize,
    failed: bool,
    /// The backend does not do its part; the buffer is its own for ever.
    broken: bool,
}

impl Blkfront {
    fn new(backend: DomId) -> Result<Self, Errno> {
        let ring = FrontRing::init(GrantedPages::new(backend, 1, false)?)?;
        let buffer = GrantedPages::new(backend, PAGES, false)?;
        Ok(Self {
            references: buffer.references().collect(),
            ring,
            buffer,
            port: Port::alloc_unbound(backend)?,
            waiting: 0,
            count: 0,
            pages: 0,
            failed: false,
            broken: false,
        })
    }

    /// Queues a request for `bytes` bytes; gives where in the buffer they are. Room must have been made.
    fn queue(&mut self, operation: u8, sector: u64, bytes: usize) -> Result<usize, DiskError> {
        let references = self.references.get(self.pages..).unwrap_or_default();
        let request = self.transfer(operation, sector, bytes, references.iter());
        self.push(&request)?;
        let offset = self.pages * PAGE;
        self.pages += bytes.div_ceil(PAGE);
        Ok(offset)
    }

    /// A request for `bytes` bytes in the pages with these references.
    fn transfer<'a>(
        &self,
        operation: u8,
        sector: u64,
        bytes: usize,
        references: impl Iterator<Item = &'a u32>,
    ) -> BlkifRequest {
        let pages = bytes.div_ceil(PAGE);
        let mut request = BlkifRequest {
            operation,
            nr_segments: pages as u8,
            id: self.count,
            sector_number: sector,
            ..Default::default()
        };
        let mut left = bytes / SECTOR;
        for (segment, &gref) in request.seg.iter_mut().zip(references).take(pages) {
            let sectors = left.min(PAGE / SECTOR);
            *segment = BlkifRequestSegment {
                gref,
                last_sect: (sectors as u8).saturating_sub(1),
                ..Default::default()
            };
            left -= sectors;
        }
        request
    }

    /// Queues a request whose id is [`Self::count`].
    fn push<Q: IntoBytes + Immutable>(&mut self, request: &Q) -> Result<(), DiskError> {
        self.ring
            .push_request_as(request)
            .map_err(|_| DiskError::Broken)?;
        self.waiting |= 1 << self.count;
        self.count += 1;
        Ok(())
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.pages + bytes.div_ceil(PAGE) <= PAGES
            && self.ring.free_requests() > 0
            && self.count < 32
    }

    /// Waits for the answers to all that is queued.
    fn finish(&mut self) -> Result<(), DiskError> {
        if self.broken {
            return Err(DiskError::Broken);
        }
        let result = self.answers();
        if result.is_err() {
            self.broken = true;
        }
        self.count = 0;
        self.pages = 0;
        let failed = core::mem::take(&mut self.failed);
        result?;
        if failed {
            Err(DiskError::Failed)
        } else {
            Ok(())
        }
    }

    fn answers(&mut self) -> Result<(), DiskError> {
        if self.ring.flush() {
            self.port.notify().map_err(|_| DiskError::Broken)?;
        }
        let deadline = Instant::now() + PATIENCE;
        while self.waiting != 0 {
            while let Some(answer) = self.ring.next_response().map_err(|_| DiskError::Broken)? {
                let bit = u32::try_from(answer.id)
                    .ok()
                    .and_then(|id| 1_u32.checked_shl(id))
                    .filter(|bit| self.waiting & bit != 0)
                    .ok_or(DiskError::Broken)?;
                self.waiting &= !bit;
                // A disk without a write cache has nothing to flush.
                let flushed = answer.operation == BLKIF_OP_FLUSH_DISKCACHE
                    && answer.status == BLKIF_RSP_EOPNOTSUPP;
                self.failed |= answer.status != BLKIF_RSP_OKAY && !flushed;
            }
            let more = self.ring.more_responses().map_err(|_| DiskError::Broken)?;
            if self.waiting != 0 && !more && !event::wait_for(&self.port, Some(deadline)) {
                return Err(DiskError::Broken);
            }
        }
        Ok(())
    }

    fn memory(&self) -> &SharedMemory {
        self.buffer.as_ref()
    }
}

impl Disk for Blkfront {
    fn read(&mut self, sector: u64, into: &mut [u8]) -> Result<(), DiskError> {
        let mut sector = sector;
        for part in into.chunks_mut(REQUEST_MAX) {
            let offset = self.queue(BLKIF_OP_READ, sector, part.len())?;
            self.finish()?;
            self.memory()
                .read_bytes(offset, part)
                .map_err(|_| DiskError::Broken)?;
            sector += (part.len() / SECTOR) as u64;
        }
        Ok(())
    }

    fn write(&mut self, writes: &[(u64, &[u8])]) -> Result<(), DiskError> {
        for (sector, bytes) in writes {
            let mut sector = *sector;
            for part in bytes.chunks(REQUEST_MAX) {
                if !self.has_room(part.len()) {
                    self.finish()?;
                }
                let offset = self.queue(BLKIF_OP_WRITE, sector, part.len())?;
                self.memory()
                    .write_bytes(offset, part)
                    .map_err(|_| DiskError::Broken)?;
                sector += (part.len() / SECTOR) as u64;
            }
        }
        self.finish()
    }

    /// Each page of each request is the same one.
    fn zero(&mut self, sector: u64, count: u64) -> Result<(), DiskError> {
        const AT_ONCE: u64 = (REQUEST_MAX / SECTOR) as u64;
        self.memory()
            .fill(0, PAGE, 0)
            .map_err(|_| DiskError::Broken)?;
        let zeros = self.references.first().copied().ok_or(DiskError::Broken)?;
        let end = sector.checked_add(count).ok_or(DiskError::Outside)?;
        for first in (sector..end).step_by(AT_ONCE as usize) {
            if !self.has_room(0) {
                self.finish()?;
            }
            let bytes = (end - first).min(AT_ONCE) as usize * SECTOR;
            let request = self.transfer(BLKIF_OP_WRITE, first, bytes, iter::repeat(&zeros));
            self.push(&request)?;
        }
        self.finish()
    }

    fn discard(&mut self, sector: u64, count: u64) -> Result<(), DiskError> {
        self.push(&BlkifRequestDiscard {
            operation: BLKIF_OP_DISCARD,
            id: self.count,
            sector_number: sector,
            nr_sectors: count,
            ..Default::default()
        })?;
        self.finish()
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        self.queue(BLKIF_OP_FLUSH_DISKCACHE, 0, 0)?;
        self.finish()
    }
}

impl Logging for Real {
    fn disk_offer(&mut self, backend: DomId) -> Result<DiskOffer, Errno> {
        let disk = Blkfront::new(backend)?;
        let ring = disk
            .ring
            .memory()
            .references()
            .next()
            .ok_or(Errno::EINVAL)?;
        Ok(DiskOffer {
            ring,
            port: disk.port.number(),
            disk: Box::new(disk),
        })
    }

    fn wall_clock(&mut self) -> u64 {
        domain::time::wall_clock().as_nanos() as u64
    }

    fn log_news(&mut self, position: &mut Option<u32>) -> Result<Vec<u8>, Errno> {
        let mut news = Vec::new();
        let mut buffer = alloc::vec![0; LOG_CHUNK];
        loop {
            let (count, next) = control::read_log(*position, false, &mut buffer)?;
            *position = Some(next);
            news.extend_from_slice(buffer.get(..count).unwrap_or_default());
            if count < LOG_CHUNK {
                return Ok(news);
            }
        }
    }
}
