//! `HYPERVISOR_memory_op` (`memory.h`).

use crate::xen::DomId;

abi_numbers! { u32;
    XENMEM_INCREASE_RESERVATION = 0;
    XENMEM_DECREASE_RESERVATION = 1;
    XENMEM_MAXIMUM_RAM_PAGE = 2;
    /// Argument [`MemoryDomain`]; returns pages.
    XENMEM_CURRENT_RESERVATION = 3;
    /// Argument [`MemoryDomain`]; returns pages.
    XENMEM_MAXIMUM_RESERVATION = 4;
    XENMEM_MACHPHYS_MFN_LIST = 5;
    /// Argument [`MemoryReservation`]; returns the number of extents populated.
    XENMEM_POPULATE_PHYSMAP = 6;
    /// Argument [`AddToPhysmap`].
    XENMEM_ADD_TO_PHYSMAP = 7;
    /// Argument [`MemoryMap`]; the buffer receives [`E820Entry`] records.
    XENMEM_MEMORY_MAP = 9;
    XENMEM_MACHINE_MEMORY_MAP = 10;
    XENMEM_EXCHANGE = 11;
    XENMEM_MACHPHYS_MAPPING = 12;
    /// Argument [`ForeignMemoryMap`] (control).
    XENMEM_SET_MEMORY_MAP = 13;
    /// Argument [`MemoryDomain`]; returns the highest guest frame.
    XENMEM_MAXIMUM_GPFN = 14;
    /// Argument [`RemoveFromPhysmap`].
    XENMEM_REMOVE_FROM_PHYSMAP = 15;
    XENMEM_SET_POD_TARGET = 16;
    XENMEM_GET_POD_TARGET = 17;
    /// Argument [`AddToPhysmapBatch`].
    XENMEM_ADD_TO_PHYSMAP_BATCH = 23;
    XENMEM_CLAIM_PAGES = 24;
    XENMEM_GET_VNUMAINFO = 26;
    XENMEM_RESERVED_DEVICE_MEMORY_MAP = 27;
    XENMEM_ACQUIRE_RESOURCE = 28;
}

/// The operation is in the low 6 bits of `cmd`; a preempted operation resumes at the extent in the rest.
pub const MEMOP_EXTENT_SHIFT: u32 = 6;
/// Mask of the operation in `cmd`.
pub const MEMOP_CMD_MASK: u32 = (1 << MEMOP_EXTENT_SHIFT) - 1;

abi_flags! {
    /// `xen_memory_reservation.mem_flags`; bits 0 to 7 are an address width, 8 to 15 a node + 1.
    pub struct MemFlags: u32 {
        const POPULATE_ON_DEMAND = 1 << 16;
        const EXACT_NODE_REQUEST = 1 << 17;
        const VNODE = 1 << 18;
    }
}

abi_numbers! { u32;
    XENMAPSPACE_SHARED_INFO = 0;
    /// `idx` is the grant-table frame, with [`XENMAPIDX_GRANT_TABLE_STATUS`] a status frame.
    XENMAPSPACE_GRANT_TABLE = 1;
    /// `idx` is one of the domain's own frames.
    XENMAPSPACE_GMFN = 2;
    XENMAPSPACE_GMFN_RANGE = 3;
    /// Batch only: `idx` is a frame of the foreign domain.
    XENMAPSPACE_GMFN_FOREIGN = 4;
    XENMAPSPACE_DEV_MMIO = 5;
}

/// Bit of `idx` that selects grant status frames.
pub const XENMAPIDX_GRANT_TABLE_STATUS: u64 = 0x8000_0000;

abi_numbers! { u32;
    /// E820 record types in [`XENMEM_MEMORY_MAP`]'s answer.
    E820_RAM = 1;
    E820_RESERVED = 2;
    E820_ACPI = 3;
    E820_NVS = 4;
    E820_UNUSABLE = 5;
}

abi_struct! {
    /// `struct xen_memory_reservation`.
    pub struct MemoryReservation {
        /// Guest address of `nr_extents` frame numbers.
        extent_start: u64,
        nr_extents: u64,
        /// Each extent is `1 << extent_order` pages.
        extent_order: u32,
        mem_flags: MemFlags,
        domid: DomId,
        _pad: [u16; 3],
    }

    /// `struct xen_memory_domain`.
    pub struct MemoryDomain {
        domid: DomId,
    }

    /// `struct xen_add_to_physmap`.
    pub struct AddToPhysmap {
        domid: DomId,
        /// Pages, for `GMFN_RANGE` only.
        size: u16,
        space: u32,
        idx: u64,
        gpfn: u64,
    }

    /// `struct xen_add_to_physmap_batch`.
    pub struct AddToPhysmapBatch {
        domid: DomId,
        space: u16,
        size: u16,
        /// `u.foreign_domid` with `GMFN_FOREIGN`, else zero.
        foreign_domid: DomId,
        /// Guest addresses of `size` elements each: `u64` indexes, `u64` frames, `i32` errors.
        idxs: u64,
        gpfns: u64,
        errs: u64,
    }

    /// `struct xen_remove_from_physmap`.
    pub struct RemoveFromPhysmap {
        domid: DomId,
        _pad: [u16; 3],
        gpfn: u64,
    }

    /// `struct xen_memory_map`.
    pub struct MemoryMap {
        /// In: room in the buffer; out: records written.
        nr_entries: u32,
        _pad: u32,
        buffer: u64,
    }

    /// `struct xen_foreign_memory_map`.
    pub struct ForeignMemoryMap {
        domid: DomId,
        _pad: [u16; 3],
        map: MemoryMap,
    }

    /// `struct xen_mem_acquire_resource`.
    pub struct MemAcquireResource {
        domid: DomId,
        r#type: u16,
        id: u32,
        nr_frames: u32,
        pad: u32,
        frame: u64,
        frame_list: u64,
    }
}

/// `struct e820entry` (`hvm/e820.h`): 20 bytes, unaligned in arrays, so held as 32-bit halves here.
#[repr(C)]
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
pub struct E820Entry {
    addr: [u32; 2],
    size: [u32; 2],
    /// One of `E820_*`.
    pub r#type: u32,
}

impl E820Entry {
    /// A record for `size` bytes at `addr`.
    pub const fn new(addr: u64, size: u64, r#type: u32) -> Self {
        E820Entry {
            addr: [addr as u32, (addr >> 32) as u32],
            size: [size as u32, (size >> 32) as u32],
            r#type,
        }
    }

    /// First byte.
    pub const fn addr(&self) -> u64 {
        self.addr[0] as u64 | (self.addr[1] as u64) << 32
    }

    /// Bytes.
    pub const fn size(&self) -> u64 {
        self.size[0] as u64 | (self.size[1] as u64) << 32
    }
}
