//! Another domain's address space beyond plain memory: its memory map, and its grant table while it is being built.
#![expect(unsafe_code, reason = "hypercalls with buffers")]

use super::ForeignWindow;
use crate::hypercall;
use alloc::vec::Vec;
use core::mem::offset_of;
use xen_abi::grant_table::{GTF_PERMIT_ACCESS, GrantEntryV1, GrantRef};
use xen_abi::memory::*;
use xen_abi::{DomId, Errno};

/// What `XENMEM_memory_map` tells a domain.
pub fn set_memory_map(domid: DomId, map: &[E820Entry]) -> Result<(), Errno> {
    let mut buffer: Vec<E820Entry> = map.to_vec();
    let nr_entries = u32::try_from(buffer.len()).map_err(|_| Errno::E2BIG)?;
    let map = MemoryMap {
        nr_entries,
        _pad: 0,
        buffer: buffer.as_mut_ptr() as u64,
    };
    let mut op = ForeignMemoryMap {
        domid,
        _pad: [0; 3],
        map,
    };
    // SAFETY: the buffer is borrowed mutably and has as many elements as said.
    unsafe { hypercall::memory_op(XENMEM_SET_MEMORY_MAP, &mut op) }.map(drop)
}

/// Fills in entries of the grant table of a domain that has not run: reference, grantee, frame. The table's first frame is mapped
/// at the domain's frame `scratch`, where nothing may be, and taken away again (as libxc's `xc_dom_gnttab_hvm_seed`).
pub fn seed_grants(
    window: &mut ForeignWindow,
    domain: DomId,
    scratch: u64,
    grants: &[(GrantRef, DomId, u64)],
) -> Result<(), Errno> {
    let mut add = AddToPhysmap {
        domid: domain,
        size: 0,
        space: XENMAPSPACE_GRANT_TABLE,
        idx: 0,
        gpfn: scratch,
    };
    // SAFETY: the page comes to be in another domain's address space, which does not run yet.
    unsafe { hypercall::memory_op(XENMEM_ADD_TO_PHYSMAP, &mut add) }?;
    let written = write_entries(window, domain, scratch, grants);
    window.clear();
    let mut remove = RemoveFromPhysmap {
        domid: domain,
        _pad: [0; 3],
        gpfn: scratch,
    };
    // SAFETY: undoes the above.
    let removed = unsafe { hypercall::memory_op(XENMEM_REMOVE_FROM_PHYSMAP, &mut remove) };
    written.and(removed.map(drop))
}

fn write_entries(
    window: &mut ForeignWindow,
    domain: DomId,
    scratch: u64,
    grants: &[(GrantRef, DomId, u64)],
) -> Result<(), Errno> {
    let table = window.map(domain, &[scratch])?;
    for &(reference, grantee, gfn) in grants {
        let offset = reference as usize * size_of::<GrantEntryV1>();
        let frame = u32::try_from(gfn).map_err(|_| Errno::EINVAL)?;
        // The flags make an entry valid: last.
        table
            .write(offset + offset_of!(GrantEntryV1, domid), &grantee)
            .map_err(|_| Errno::EINVAL)?;
        table
            .write(offset + offset_of!(GrantEntryV1, frame), &frame)
            .map_err(|_| Errno::EINVAL)?;
        let flags: u16 = GTF_PERMIT_ACCESS;
        table
            .write(offset + offset_of!(GrantEntryV1, flags), &flags)
            .map_err(|_| Errno::EINVAL)?;
    }
    Ok(())
}
