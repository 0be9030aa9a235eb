//! Requests and responses as frontends lay them out.
//!
//! A slot's layout depends on how the frontend's compiler aligns 64-bit numbers; it says which it is by the store key
//! `protocol`. What is read here is a copy of the slot: the frontend cannot change it any more.

use domain::SharedMemory;
use domain::ring::{BackRing, RingError};
use xen_abi::grant_table::GrantRef;
use xen_abi::io::blkif::*;
use xen_abi::zerocopy::FromBytes;

/// The layout of a ring's slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// 64-bit numbers aligned to eight bytes: ours, too.
    X86_64,
    /// 64-bit numbers aligned to four bytes.
    X86_32,
}

impl Protocol {
    /// What the frontend's `protocol` key means; an absent one (or the word `native`) means our own layout.
    #[must_use]
    pub fn parse(key: Option<&str>) -> Option<Self> {
        match key {
            None | Some("native" | "" | XEN_IO_PROTO_ABI_X86_64) => Some(Self::X86_64),
            Some(XEN_IO_PROTO_ABI_X86_32) => Some(Self::X86_32),
            Some(_) => None,
        }
    }
}

/// A request, not checked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// To be repeated in the response.
    pub id: u64,
    /// `BLKIF_OP_*`; of an indirect request, the operation inside.
    pub operation: u8,
    /// What to do.
    pub body: Body,
}

/// The part of a request that depends on its operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Read, write, barrier or flush.
    Direct {
        /// First sector, counted from the start of the virtual disk.
        sector: u64,
        /// How many of `segments` count: any number.
        count: u8,
        /// Where the data is.
        segments: [BlkifRequestSegment; BLKIF_MAX_SEGMENTS_PER_REQUEST],
    },
    /// Read or write whose segments are listed in pages of their own.
    Indirect {
        /// As in `Direct`.
        sector: u64,
        /// How many segments: any number.
        count: u16,
        /// The pages that list them.
        pages: [GrantRef; BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST],
    },
    /// The sectors' contents are not needed any more.
    Discard {
        /// As in `Direct`.
        sector: u64,
        /// How many sectors: any number.
        count: u64,
        /// They must not be readable afterwards by any means.
        secure: bool,
    },
    /// An operation that we do not know.
    Unknown,
}

/// Reads the value at the start of a slot, which is large enough for each of them.
fn start<T: FromBytes>(slot: &[u8]) -> Option<T> {
    T::read_from_prefix(slot).ok().map(|(value, _)| value)
}

macro_rules! decoder {
    ($name:ident, $direct:ty, $indirect:ty, $discard:ty, $get:path) => {
        fn $name(slot: &[u8]) -> Option<Request> {
            let direct: $direct = start(slot)?;
            let get = $get;
            let (id, operation) = (get(direct.id), direct.operation);
            let body = match operation {
                BLKIF_OP_READ
                | BLKIF_OP_WRITE
                | BLKIF_OP_WRITE_BARRIER
                | BLKIF_OP_FLUSH_DISKCACHE => Body::Direct {
                    sector: get(direct.sector_number),
                    count: direct.nr_segments,
                    segments: direct.seg,
                },
                BLKIF_OP_INDIRECT => {
                    let indirect: $indirect = start(slot)?;
                    let body = Body::Indirect {
                        sector: get(indirect.sector_number),
                        count: indirect.nr_segments,
                        pages: indirect.indirect_grefs,
                    };
                    return Some(Request {
                        id: get(indirect.id),
                        operation: indirect.indirect_op,
                        body,
                    });
                }
                BLKIF_OP_DISCARD => {
                    let discard: $discard = start(slot)?;
                    Body::Discard {
                        sector: get(discard.sector_number),
                        count: get(discard.nr_sectors),
                        secure: discard.flag & BLKIF_DISCARD_SECURE != 0,
                    }
                }
                _ => Body::Unknown,
            };
            Some(Request {
                id,
                operation,
                body,
            })
        }
    };
}

decoder!(
    decode_64,
    BlkifRequest,
    BlkifRequestIndirect,
    BlkifRequestDiscard,
    u64::from
);
decoder!(
    decode_32,
    BlkifX86_32Request,
    BlkifX86_32RequestIndirect,
    BlkifX86_32RequestDiscard,
    U64Align4::get
);

const SLOT_64: usize = size_of::<BlkifRequest>();
const SLOT_32: usize = size_of::<BlkifX86_32Request>();

/// Our end of a ring in either layout.
pub enum Ring<M> {
    /// [`Protocol::X86_64`].
    Bits64(BackRing<[u8; SLOT_64], BlkifResponse, M>),
    /// [`Protocol::X86_32`].
    Bits32(BackRing<[u8; SLOT_32], BlkifX86_32Response, M>),
}

impl<M: AsRef<SharedMemory>> Ring<M> {
    /// Takes over the ring in `memory`.
    ///
    /// # Errors
    /// [`RingError::TooSmall`].
    pub fn attach(protocol: Protocol, memory: M) -> Result<Self, RingError> {
        Ok(match protocol {
            Protocol::X86_64 => Self::Bits64(BackRing::attach(memory)?),
            Protocol::X86_32 => Self::Bits32(BackRing::attach(memory)?),
        })
    }

    /// How many requests fit.
    #[must_use]
    pub fn size(&self) -> u32 {
        match self {
            Self::Bits64(ring) => ring.size(),
            Self::Bits32(ring) => ring.size(),
        }
    }

    /// Takes the next request.
    ///
    /// # Errors
    /// [`RingError::Overrun`] if the frontend's indexes make no sense.
    pub fn take(&mut self) -> Result<Option<Request>, RingError> {
        match self {
            Self::Bits64(ring) => ring
                .next_request()
                .map(|slot| slot.and_then(|slot| decode_64(&slot))),
            Self::Bits32(ring) => ring
                .next_request()
                .map(|slot| slot.and_then(|slot| decode_32(&slot))),
        }
    }

    /// Queues a response.
    ///
    /// # Errors
    /// [`RingError::Full`] if there is no request without one.
    pub fn respond(&mut self, id: u64, operation: u8, status: i16) -> Result<(), RingError> {
        match self {
            Self::Bits64(ring) => ring.push_response(&BlkifResponse {
                id,
                operation,
                status,
                ..Default::default()
            }),
            Self::Bits32(ring) => {
                let id = U64Align4::new(id);
                ring.push_response(&BlkifX86_32Response {
                    id,
                    operation,
                    status,
                    ..Default::default()
                })
            }
        }
    }

    /// Publishes the responses; true if the frontend wants to be notified of them.
    pub fn flush(&mut self) -> bool {
        match self {
            Self::Bits64(ring) => ring.flush(),
            Self::Bits32(ring) => ring.flush(),
        }
    }

    /// Are there more requests? If not, the frontend notifies us of the next one.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn more(&mut self) -> Result<bool, RingError> {
        match self {
            Self::Bits64(ring) => ring.more_requests(),
            Self::Bits32(ring) => ring.more_requests(),
        }
    }
}
