//! The memory of a domain while it is built.

use pvh::{GuestMemory, Layout, Module, ModuleSource, Range};
use xen_abi::Errno;

use crate::boot::Archive;
use crate::domain::Domain;
use crate::hypercall::populate;
use crate::mm::{frame_table, phys};
use crate::paging::Access;
use crate::types::{DomId, Gfn, Mfn, PAGE_SIZE};

/// Where a domain's RAM below 4 GiB ends at the latest.
const LOW_END: u64 = 0xf000_0000;
/// Frames that belong to the machine (Xen: `DOMID_XEN`).
const MACHINE: DomId = DomId(xen_abi::xen::DOMID_XEN);

/// Populates `range` with the largest pages that fit.
///
/// # Errors
/// As [`populate`].
pub fn populate_range(domain: &Domain, range: Range) -> Result<(), Errno> {
    let mut gfn = range.first_gfn();
    let end = gfn + range.frames();
    while gfn < end {
        let order = [18, 9, 0]
            .into_iter()
            .find(|&order| gfn.is_multiple_of(1 << order) && end - gfn >= 1 << order)
            .unwrap_or(0);
        populate(domain, Gfn(gfn), order)?;
        gfn += 1 << order;
    }
    Ok(())
}

/// Lets Domain-0 read the whole boot archive, behind its RAM, without a copy.
///
/// # Errors
/// `ENOMEM`, or `EINVAL` if there is no room in the address space.
pub fn map_archive(
    domain: &Domain,
    layout: &mut Layout,
    archive: &Archive,
) -> Result<Module<'static>, Errno> {
    let range = archive.range();
    let (first, size) = (range.start, range.end - range.start);
    let frames = (size + first % PAGE_SIZE as u64).div_ceil(PAGE_SIZE as u64);
    // Below 4 GiB if there is room: the runtime of our domains looks no further.
    let low = layout.low_ram().end().next_multiple_of(2 << 20);
    let base = if low + frames * PAGE_SIZE as u64 <= LOW_END {
        low
    } else {
        layout.after_ram()
    };
    layout
        .reserve(Range {
            start: base,
            size: frames * PAGE_SIZE as u64,
        })
        .map_err(|_| Errno::EINVAL)?;
    let start = Mfn::containing(first);
    for page in 0..frames {
        let mfn = Mfn(start.0 + page);
        // The hold that this makes is never given up: the archive stays.
        frame_table::assign(mfn, 0, MACHINE);
        let frame = frame_table::get(mfn).ok_or(Errno::EINVAL)?;
        domain
            .p2m
            .lock()
            .add_frame(
                Gfn::containing(base + page * PAGE_SIZE as u64),
                frame,
                Access::READ,
            )
            .map_err(|_| Errno::ENOMEM)?;
    }
    Ok(Module {
        source: ModuleSource::Present {
            gpa: base + first % PAGE_SIZE as u64,
            size,
        },
        cmdline: "",
    })
}

/// A domain's memory while it is built.
pub struct Memory<'a>(pub &'a Domain);

impl GuestMemory for Memory<'_> {
    type Error = Errno;

    fn write(&mut self, gpa: u64, bytes: &[u8]) -> Result<(), Errno> {
        let mut gpa = gpa;
        let mut rest = bytes;
        let p2m = self.0.p2m.lock();
        while !rest.is_empty() {
            let offset = gpa as usize % PAGE_SIZE;
            let (piece, after) = rest.split_at(rest.len().min(PAGE_SIZE - offset));
            let mapping = p2m.lookup(Gfn::containing(gpa)).ok_or(Errno::EFAULT)?;
            phys::write(mapping.mfn, offset, piece);
            gpa += piece.len() as u64;
            rest = after;
        }
        Ok(())
    }
}
