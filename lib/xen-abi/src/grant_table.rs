//! `HYPERVISOR_grant_table_op` and grant entries (`grant_table.h`).

use crate::xen::DomId;

/// An index into the granting domain's table.
pub type GrantRef = u32;
/// What a mapping is unmapped by.
pub type GrantHandle = u32;

abi_numbers! { u32;
    GNTTABOP_MAP_GRANT_REF = 0;
    GNTTABOP_UNMAP_GRANT_REF = 1;
    GNTTABOP_SETUP_TABLE = 2;
    GNTTABOP_DUMP_TABLE = 3;
    GNTTABOP_TRANSFER = 4;
    GNTTABOP_COPY = 5;
    GNTTABOP_QUERY_SIZE = 6;
    GNTTABOP_UNMAP_AND_REPLACE = 7;
    GNTTABOP_SET_VERSION = 8;
    GNTTABOP_GET_STATUS_FRAMES = 9;
    GNTTABOP_GET_VERSION = 10;
    GNTTABOP_SWAP_GRANT_REF = 11;
    GNTTABOP_CACHE_FLUSH = 12;
}

/// References below this are for the toolstack.
pub const GNTTAB_NR_RESERVED_ENTRIES: GrantRef = 8;
/// The console ring's reference.
pub const GNTTAB_RESERVED_CONSOLE: GrantRef = 0;
/// The store ring's reference.
pub const GNTTAB_RESERVED_XENSTORE: GrantRef = 1;

/// Version-1 entries in one grant-table frame.
pub const GRANT_ENTRIES_PER_FRAME: usize = 512;

abi_flags! {
    /// `grant_entry_v1.flags`. The type is in [`GTF_TYPE_MASK`].
    pub struct GrantFlags: u16 {
        const PERMIT_ACCESS = 1;
        const ACCEPT_TRANSFER = 2;
        const READONLY = 1 << 2;
        /// Set by the hypervisor while the page is mapped or read.
        const READING = 1 << 3;
        /// Set by the hypervisor while the page is mapped writable or written.
        const WRITING = 1 << 4;
        const PWT = 1 << 5;
        const PCD = 1 << 6;
        const PAT = 1 << 7;
        const SUB_PAGE = 1 << 8;
    }

    /// `gnttab_map_grant_ref.flags`.
    pub struct GntmapFlags: u32 {
        const DEVICE_MAP = 1 << 0;
        const HOST_MAP = 1 << 1;
        const READONLY = 1 << 2;
        const APPLICATION_MAP = 1 << 3;
        const CONTAINS_PTE = 1 << 4;
    }

    /// `gnttab_copy.flags`.
    pub struct GntcopyFlags: u16 {
        const SOURCE_GREF = 1 << 0;
        const DEST_GREF = 1 << 1;
    }
}

/// Mask of the entry's type in its flags.
pub const GTF_TYPE_MASK: u16 = 3;
/// Type: unused entry.
pub const GTF_INVALID: u16 = 0;
/// Type: access permitted.
pub const GTF_PERMIT_ACCESS: u16 = 1;
/// Type: page transfer accepted.
pub const GTF_ACCEPT_TRANSFER: u16 = 2;
/// Type: version 2's transitive grant.
pub const GTF_TRANSITIVE: u16 = 3;

abi_numbers! { i16;
    GNTST_OKAY = 0;
    GNTST_GENERAL_ERROR = -1;
    GNTST_BAD_DOMAIN = -2;
    GNTST_BAD_GNTREF = -3;
    GNTST_BAD_HANDLE = -4;
    GNTST_BAD_VIRT_ADDR = -5;
    GNTST_BAD_DEV_ADDR = -6;
    GNTST_NO_DEVICE_SPACE = -7;
    GNTST_PERMISSION_DENIED = -8;
    GNTST_BAD_PAGE = -9;
    GNTST_BAD_COPY_ARG = -10;
    GNTST_ADDRESS_TOO_BIG = -11;
    GNTST_EAGAIN = -12;
    GNTST_NO_SPACE = -13;
}

/// Xen's text for a `GNTST_*` status.
pub const fn status_text(status: i16) -> &'static str {
    match status {
        GNTST_OKAY => "okay",
        GNTST_BAD_DOMAIN => "unrecognised domain id",
        GNTST_BAD_GNTREF => "invalid grant reference",
        GNTST_BAD_HANDLE => "invalid mapping handle",
        GNTST_BAD_VIRT_ADDR => "invalid virtual address",
        GNTST_BAD_DEV_ADDR => "invalid device address",
        GNTST_NO_DEVICE_SPACE => "no spare translation slot in the I/O MMU",
        GNTST_PERMISSION_DENIED => "permission denied",
        GNTST_BAD_PAGE => "bad page",
        GNTST_BAD_COPY_ARG => "copy arguments cross page boundary",
        GNTST_ADDRESS_TOO_BIG => "page address size too large",
        GNTST_EAGAIN => "operation not done; try again",
        GNTST_NO_SPACE => "out of space",
        _ => "undefined error",
    }
}

abi_struct! {
    /// `struct grant_entry_v1`. Both sides change it concurrently: write `frame` and `domid` first, then `flags` with
    /// a release store; revoke by compare-and-exchange on `flags`.
    pub struct GrantEntryV1 {
        flags: GrantFlags,
        domid: DomId,
        frame: u32,
    }

    /// `struct gnttab_map_grant_ref`: `status`, `handle`, `dev_bus_addr` out.
    pub struct GnttabMapGrantRef {
        host_addr: u64,
        flags: GntmapFlags,
        r#ref: GrantRef,
        dom: DomId,
        status: i16,
        handle: GrantHandle,
        dev_bus_addr: u64,
    }

    /// `struct gnttab_unmap_grant_ref`: `status` out.
    pub struct GnttabUnmapGrantRef {
        host_addr: u64,
        dev_bus_addr: u64,
        handle: GrantHandle,
        status: i16,
        _pad: u16,
    }

    /// `struct gnttab_setup_table`: `status` and the frames out.
    pub struct GnttabSetupTable {
        dom: DomId,
        _pad0: u16,
        nr_frames: u32,
        status: i16,
        _pad1: [u16; 3],
        frame_list: u64,
    }

    /// `struct gnttab_transfer`.
    pub struct GnttabTransfer {
        mfn: u64,
        domid: DomId,
        _pad0: u16,
        r#ref: GrantRef,
        status: i16,
        _pad1: [u16; 3],
    }

    /// `struct gnttab_copy_ptr`: one end of a copy.
    pub struct GnttabCopyPtr {
        /// The union `u`: a grant reference (low 32 bits) if the flag for this end is set, else a frame of `domid`.
        u: u64,
        domid: DomId,
        offset: u16,
        _pad: u32,
    }

    /// `struct gnttab_copy`: `status` out.
    pub struct GnttabCopy {
        source: GnttabCopyPtr,
        dest: GnttabCopyPtr,
        /// Bytes; neither end may cross its page.
        len: u16,
        flags: GntcopyFlags,
        status: i16,
        _pad: u16,
    }

    /// `struct gnttab_query_size`: all but `dom` out.
    pub struct GnttabQuerySize {
        dom: DomId,
        _pad0: u16,
        nr_frames: u32,
        max_nr_frames: u32,
        status: i16,
        _pad1: u16,
    }

    /// `struct gnttab_unmap_and_replace`.
    pub struct GnttabUnmapAndReplace {
        host_addr: u64,
        new_addr: u64,
        handle: GrantHandle,
        status: i16,
        _pad: u16,
    }

    /// `struct gnttab_set_version`.
    pub struct GnttabSetVersion {
        version: u32,
    }

    /// `struct gnttab_get_status_frames`.
    pub struct GnttabGetStatusFrames {
        nr_frames: u32,
        dom: DomId,
        status: i16,
        frame_list: u64,
    }

    /// `struct gnttab_get_version`: `version` out.
    pub struct GnttabGetVersion {
        dom: DomId,
        pad: u16,
        version: u32,
    }

    /// `struct gnttab_swap_grant_ref`.
    pub struct GnttabSwapGrantRef {
        ref_a: GrantRef,
        ref_b: GrantRef,
        status: i16,
        _pad: u16,
    }

    /// `struct gnttab_cache_flush`.
    pub struct GnttabCacheFlush {
        a: u64,
        offset: u16,
        length: u16,
        op: u32,
    }
}

impl GnttabCopyPtr {
    /// An end named by a grant reference of `domid`.
    pub const fn gref(domid: DomId, r#ref: GrantRef, offset: u16) -> Self {
        GnttabCopyPtr {
            u: r#ref as u64,
            domid,
            offset,
            _pad: 0,
        }
    }

    /// An end named by a frame of `domid` (`DOMID_SELF` for one's own).
    pub const fn gmfn(domid: DomId, gmfn: u64, offset: u16) -> Self {
        GnttabCopyPtr {
            u: gmfn,
            domid,
            offset,
            _pad: 0,
        }
    }

    /// The union read as a reference.
    pub const fn r#ref(&self) -> GrantRef {
        self.u as u32
    }

    /// The union read as a frame.
    pub const fn gmfn_value(&self) -> u64 {
        self.u
    }
}
