//! Block device requests (`io/blkif.h`) in the two layouts guests use: that of 64-bit guests (ours, "native" for us) and that of
//! 32-bit ones, where 64-bit fields have 4-byte alignment.

use crate::grant_table::GrantRef;

/// `protocol` in the store: 32-bit layout.
pub const XEN_IO_PROTO_ABI_X86_32: &str = "x86_32-abi";
/// `protocol` in the store: 64-bit layout; also meant when the key is absent.
pub const XEN_IO_PROTO_ABI_X86_64: &str = "x86_64-abi";

abi_numbers! { u8;
    BLKIF_OP_READ = 0;
    BLKIF_OP_WRITE = 1;
    BLKIF_OP_WRITE_BARRIER = 2;
    BLKIF_OP_FLUSH_DISKCACHE = 3;
    BLKIF_OP_RESERVED_1 = 4;
    BLKIF_OP_DISCARD = 5;
    BLKIF_OP_INDIRECT = 6;
}

abi_numbers! { i16;
    BLKIF_RSP_OKAY = 0;
    BLKIF_RSP_ERROR = -1;
    BLKIF_RSP_EOPNOTSUPP = -2;
}

/// Segments in a direct request.
pub const BLKIF_MAX_SEGMENTS_PER_REQUEST: usize = 11;
/// Pages of segments in an indirect request.
pub const BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST: usize = 8;
/// Segments in one indirect page.
pub const SEGMENTS_PER_INDIRECT_PAGE: usize = 512;
/// Sectors of the protocol are 512 bytes, whatever the device's.
pub const BLKIF_SECTOR_SIZE: usize = 512;
/// `flag` of a discard.
pub const BLKIF_DISCARD_SECURE: u8 = 1;

abi_numbers! { u32;
    VDISK_CDROM = 1;
    VDISK_REMOVABLE = 2;
    VDISK_READONLY = 4;
}

abi_struct! {
    /// `struct blkif_request_segment`: sectors `first_sect..=last_sect` (0 to 7) of one granted page.
    pub struct BlkifRequestSegment {
        gref: GrantRef,
        first_sect: u8,
        last_sect: u8,
        _pad: u16,
    }

    /// `struct blkif_request`, 64-bit layout: 112 bytes, the size of a slot.
    pub struct BlkifRequest {
        operation: u8,
        nr_segments: u8,
        handle: u16,
        _pad: u32,
        id: u64,
        sector_number: u64,
        seg: [BlkifRequestSegment; BLKIF_MAX_SEGMENTS_PER_REQUEST],
    }

    /// `struct blkif_request_discard`, 64-bit layout.
    pub struct BlkifRequestDiscard {
        operation: u8,
        flag: u8,
        handle: u16,
        _pad: u32,
        id: u64,
        sector_number: u64,
        nr_sectors: u64,
    }

    /// `struct blkif_request_indirect`, 64-bit layout.
    pub struct BlkifRequestIndirect {
        operation: u8,
        indirect_op: u8,
        nr_segments: u16,
        _pad0: u32,
        id: u64,
        sector_number: u64,
        handle: u16,
        _pad1: u16,
        indirect_grefs: [GrantRef; BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST],
        _pad2: u32,
    }

    /// `struct blkif_response`, 64-bit layout.
    pub struct BlkifResponse {
        id: u64,
        operation: u8,
        _pad0: u8,
        status: i16,
        _pad1: u32,
    }
}

/// A 64-bit number with the 4-byte alignment of 32-bit guests.
#[repr(transparent)]
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::Immutable,
    zerocopy::KnownLayout,
)]
pub struct U64Align4([u32; 2]);

impl U64Align4 {
    /// Splits `value`.
    pub const fn new(value: u64) -> Self {
        U64Align4([value as u32, (value >> 32) as u32])
    }

    /// The value.
    pub const fn get(self) -> u64 {
        self.0[0] as u64 | (self.0[1] as u64) << 32
    }
}

abi_struct! {
    /// `struct blkif_request`, 32-bit layout: 108 bytes, the size of a slot.
    pub struct BlkifX86_32Request {
        operation: u8,
        nr_segments: u8,
        handle: u16,
        id: U64Align4,
        sector_number: U64Align4,
        seg: [BlkifRequestSegment; BLKIF_MAX_SEGMENTS_PER_REQUEST],
    }

    /// `struct blkif_request_discard`, 32-bit layout.
    pub struct BlkifX86_32RequestDiscard {
        operation: u8,
        flag: u8,
        handle: u16,
        id: U64Align4,
        sector_number: U64Align4,
        nr_sectors: U64Align4,
    }

    /// `struct blkif_request_indirect`, 32-bit layout.
    pub struct BlkifX86_32RequestIndirect {
        operation: u8,
        indirect_op: u8,
        nr_segments: u16,
        id: U64Align4,
        sector_number: U64Align4,
        handle: u16,
        _pad0: u16,
        indirect_grefs: [GrantRef; BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST],
        pad: U64Align4,
    }

    /// `struct blkif_response`, 32-bit layout.
    pub struct BlkifX86_32Response {
        id: U64Align4,
        operation: u8,
        _pad: u8,
        status: i16,
    }
}
