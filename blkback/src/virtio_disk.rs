//! A virtio block device as a [`Disk`] (virtio 1.2, 5.2).
#![expect(unsafe_code, reason = "hands memory to the device")]

use alloc::vec::Vec;
use core::fmt;

use bitflags::bitflags;
use domain::PageRange;
use virtio::virtio_drivers;
use virtio::virtio_drivers::transport::Transport;
use virtio::{Buffer, PciDevice, Queue, QueueError, feature};
use xen_abi::io::blkif::BLKIF_SECTOR_SIZE;
use xen_abi::xen::PAGE_SIZE;
use zerocopy::{Immutable, IntoBytes};

use crate::disk::{Command, Completion, Discard, Disk, Full, Limits, Segment};

bitflags! {
    /// What we can use of a device (5.2.3 and 6).
    #[derive(Clone, Copy, Debug)]
    struct Features: u64 {
        const SIZE_MAX = 1 << 1;
        const SEG_MAX = 1 << 2;
        const RO = 1 << 5;
        const BLK_SIZE = 1 << 6;
        const FLUSH = 1 << 9;
        const TOPOLOGY = 1 << 10;
        const DISCARD = 1 << 13;
        const WRITE_ZEROES = 1 << 14;
        const INDIRECT_DESC = feature::INDIRECT_DESC;
        const VERSION_1 = feature::VERSION_1;
    }
}

/// Offsets in the device's configuration (5.2.4).
mod config {
    pub const CAPACITY: usize = 0;
    pub const SIZE_MAX: usize = 8;
    pub const SEG_MAX: usize = 12;
    pub const BLK_SIZE: usize = 20;
    pub const PHYSICAL_BLOCK_EXPONENT: usize = 24;
    pub const MAX_DISCARD_SECTORS: usize = 36;
    pub const DISCARD_ALIGNMENT: usize = 44;
    pub const MAX_WRITE_ZEROES_SECTORS: usize = 48;
    pub const WRITE_ZEROES_MAY_UNMAP: usize = 56;
}

/// Request types (5.2.6).
mod request {
    pub const IN: u32 = 0;
    pub const OUT: u32 = 1;
    pub const FLUSH: u32 = 4;
    pub const DISCARD: u32 = 11;
    pub const WRITE_ZEROES: u32 = 13;
}

/// Descriptors of the queue. Every device has as many: QEMU's have 256, the specification's example 128.
const QUEUE_SIZE: usize = 128;
/// Descriptors of one request that are not data: header and status.
const OVERHEAD: usize = 2;

/// A request's own memory for the device: header, then range (of a discard), then status.
const SLOT: usize = 64;
const RANGE: usize = 16;
const STATUS: usize = 32;
/// What is in the status byte before the device writes it: no value of the specification.
const NOT_WRITTEN: u8 = 0xff;
const STATUS_OK: u8 = 0;

/// Why the device cannot be used.
#[derive(Debug)]
pub enum DiskError {
    /// See [`virtio::OpenError`].
    Open(virtio::OpenError),
    /// The driver crate's.
    Driver(virtio_drivers::Error),
    /// No memory for the requests' headers.
    NoMemory,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => fmt::Display::fmt(error, f),
            Self::Driver(error) => write!(f, "virtio: {error}"),
            Self::NoMemory => f.write_str("out of memory"),
        }
    }
}

impl From<virtio_drivers::Error> for DiskError {
    fn from(error: virtio_drivers::Error) -> Self {
        Self::Driver(error)
    }
}

/// `struct virtio_blk_req`'s start.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Header {
    kind: u32,
    reserved: u32,
    sector: u64,
}

/// In [`Range::flags`]: the device need not keep room for the zeros.
const UNMAP: u32 = 1;

/// `struct virtio_blk_discard_write_zeroes`.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Range {
    sector: u64,
    sectors: u32,
    flags: u32,
}

/// A request under way: its memory and its tag.
#[derive(Clone, Copy)]
struct Pending {
    slot: usize,
    tag: u32,
}

/// The disk.
pub struct VirtioDisk<T: Transport> {
    // Dropped first: the device is reset before the queue's memory goes.
    device: T,
    queue: Queue<QUEUE_SIZE>,
    memory: PageRange,
    free: Vec<usize>,
    /// By the queue's token.
    pending: [Option<Pending>; QUEUE_SIZE],
    limits: Limits,
    /// [`Range::flags`] of zeros.
    zero_flags: u32,
    /// For building requests, so that no request needs the heap.
    buffers: Vec<Buffer>,
}

impl VirtioDisk<PciDevice> {
    /// Has the device accepted its features and vectors?
    ///
    /// # Errors
    /// [`DiskError::Open`].
    pub fn check(&self) -> Result<(), DiskError> {
        self.device.check().map_err(DiskError::Open)
    }
}

impl<T: Transport> VirtioDisk<T> {
    /// Sets the device up.
    ///
    /// # Errors
    /// See [`DiskError`].
    pub fn new(mut device: T) -> Result<Self, DiskError> {
        let features = device.begin_init(Features::all());
        let has = |feature| features.contains(feature);
        let queue = Queue::new(&mut device, 0, has(Features::INDIRECT_DESC))?;
        device.finish_init();

        let number = |offset| device.read_config_space::<u32>(offset).map(u64::from);
        let sectors = number(config::CAPACITY)? | number(config::CAPACITY + 4)? << 32;
        let most = QUEUE_SIZE - OVERHEAD;
        let segments = match has(Features::SEG_MAX) {
            true => (number(config::SEG_MAX)? as usize).clamp(1, most),
            false => most,
        };
        let segment_bytes = match has(Features::SIZE_MAX) {
            true => (number(config::SIZE_MAX)? as u32).max(PAGE_SIZE as u32),
            false => u32::MAX / 2,
        };
        let block = if has(Features::BLK_SIZE) {
            number(config::BLK_SIZE)? as u32
        } else {
            BLKIF_SECTOR_SIZE as u32
        };
        let exponent = match has(Features::TOPOLOGY) {
            true => u32::from(device.read_config_space::<u8>(config::PHYSICAL_BLOCK_EXPONENT)?),
            false => 0,
        };
        let discard = match has(Features::DISCARD) {
            true => Some(Discard {
                sectors: (number(config::MAX_DISCARD_SECTORS)? as u32).max(1),
                alignment: (number(config::DISCARD_ALIGNMENT)? as u32).max(1),
            }),
            false => None,
        };
        let (mut zeroes, mut zero_flags) = (None, 0);
        if has(Features::WRITE_ZEROES) {
            zeroes = Some((number(config::MAX_WRITE_ZEROES_SECTORS)? as u32).max(1));
            if device.read_config_space::<u8>(config::WRITE_ZEROES_MAY_UNMAP)? == 1 {
                zero_flags = UNMAP;
            }
        }
        let limits = Limits {
            sectors,
            physical_sector_size: block.checked_shl(exponent).unwrap_or(block).max(block),
            read_only: has(Features::RO),
            flush: has(Features::FLUSH),
            discard,
            zeroes,
            segments,
            segment_bytes,
        };
        let memory =
            PageRange::new((QUEUE_SIZE * SLOT).div_ceil(PAGE_SIZE)).ok_or(DiskError::NoMemory)?;
        Ok(Self {
            device,
            queue,
            memory,
            free: (0..QUEUE_SIZE).rev().collect(),
            pending: [None; QUEUE_SIZE],
            limits,
            zero_flags,
            buffers: Vec::with_capacity(QUEUE_SIZE),
        })
    }

    /// Switches the device's interrupts. After `true`, look at [`Disk::completed`] once more.
    pub fn set_interrupts(&mut self, wanted: bool) {
        self.queue.set_interrupts(wanted);
    }

    /// Has something completed that [`Disk::completed`] has not given yet?
    #[must_use]
    pub fn has_completed(&self) -> bool {
        self.queue.has_used()
    }

    /// Has the device gone mad? No command ever completes again then.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.queue.is_broken()
    }

    /// Where a part of a slot lies.
    fn part(&self, slot: usize, offset: usize, len: u32) -> Buffer {
        Buffer {
            gpa: self.memory.gpa() + (slot * SLOT + offset) as u64,
            len,
        }
    }

    /// Builds and queues one request. `data` goes to the device if `to_device`.
    fn queue(
        &mut self,
        slot: usize,
        header: &Header,
        data: &[Segment],
        to_device: bool,
    ) -> Result<u16, Full> {
        let base = slot * SLOT;
        let memory = self.memory.memory();
        memory
            .write(base, header)
            .and_then(|()| memory.write(base + STATUS, &NOT_WRITTEN))
            .map_err(|_| Full)?;
        self.buffers.clear();
        self.buffers
            .push(self.part(slot, 0, size_of::<Header>() as u32));
        self.buffers.extend(data.iter().map(|segment| Buffer {
            gpa: segment.gpa,
            len: segment.len,
        }));
        self.buffers.push(self.part(slot, STATUS, 1));
        let last = self.buffers.len() - 1;
        let (read, write) = self.buffers.split_at(if to_device { last } else { 1 });
        // Header and status are in memory that only this driver uses, by `SharedMemory` copies.
        // SAFETY: the slot is taken until the token comes back, and by `Disk::submit`'s contract the data is memory that stays
        // until the command completes: pages that the engine has mapped, never touched by Rust references.
        unsafe { self.queue.add(read, write) }.map_err(|error| {
            if error == QueueError::Senseless {
                log::error!("a request that makes no sense: {read:?} {write:?}");
            }
            Full
        })
    }
}

impl<T: Transport> VirtioDisk<T> {
    /// Queues a request about a range of sectors, with no data.
    fn queue_range(
        &mut self,
        slot: usize,
        kind: u32,
        (sector, sectors): (u64, u32),
        flags: u32,
    ) -> Result<u16, Full> {
        let range = Range {
            sector,
            sectors,
            flags,
        };
        // The slot is inside the memory.
        let _ = self.memory.memory().write(slot * SLOT + RANGE, &range);
        let Buffer { gpa, len } = self.part(slot, RANGE, size_of::<Range>() as u32);
        let header = Header {
            kind,
            reserved: 0,
            sector: 0,
        };
        self.queue(slot, &header, &[Segment { gpa, len }], true)
    }
}

impl<T: Transport> Disk for VirtioDisk<T> {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn submit(&mut self, command: Command<'_>, tag: u32) -> Result<(), Full> {
        let slot = self.free.pop().ok_or(Full)?;
        let header = |kind, sector| Header {
            kind,
            reserved: 0,
            sector,
        };
        let token = match command {
            Command::Read { sector, segments } => {
                self.queue(slot, &header(request::IN, sector), segments, false)
            }
            Command::Write { sector, segments } => {
                self.queue(slot, &header(request::OUT, sector), segments, true)
            }
            Command::Flush => self.queue(slot, &header(request::FLUSH, 0), &[], true),
            Command::Discard { sector, count } => {
                self.queue_range(slot, request::DISCARD, (sector, count), 0)
            }
            Command::Zero { sector, count } => {
                let flags = self.zero_flags;
                self.queue_range(slot, request::WRITE_ZEROES, (sector, count), flags)
            }
        };
        match token {
            Ok(token) => {
                if let Some(pending) = self.pending.get_mut(usize::from(token)) {
                    *pending = Some(Pending { slot, tag });
                }
                Ok(())
            }
            Err(full) => {
                self.free.push(slot);
                Err(full)
            }
        }
    }

    fn kick(&mut self) {
        self.queue.kick(&mut self.device);
    }

    fn completed(&mut self) -> Option<Completion> {
        let used = self.queue.pop()?;
        let Pending { slot, tag } = self.pending.get_mut(usize::from(used.token))?.take()?;
        let status = self.memory.memory().read::<u8>(slot * SLOT + STATUS);
        self.free.push(slot);
        Some(Completion {
            tag,
            ok: status == Ok(STATUS_OK),
        })
    }
}
