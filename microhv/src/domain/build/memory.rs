//! The memory of a domain while it is built.

use pvh::{GuestMemory, Layout, MAX_MODULES, Module, ModuleSource, Range};
use xen_abi::Errno;

use super::images::{self, Image};
use crate::boot::Archive;
use crate::domain::Domain;
use crate::mm::{frame_table, phys};
use crate::paging::Access;
use crate::types::{DomId, Gfn, Mfn, PAGE_SIZE};

/// Where a domain's RAM below 4 GiB ends at the latest.
const LOW_END: u64 = 0xf000_0000;
/// Frames that belong to the machine (Xen: `DOMID_XEN`).
const MACHINE: DomId = DomId(xen_abi::xen::DOMID_XEN);

/// Reserves `size` bytes of addresses behind the domain's RAM.
///
/// # Errors
/// `EINVAL` if there is no room.
pub fn place(layout: &mut Layout, size: u64) -> Result<u64, Errno> {
    // Below 4 GiB if there is room: the runtime of our domains looks no further.
    let low = layout.low_ram().end().next_multiple_of(2 << 20);
    let start = if low + size <= LOW_END {
        low
    } else {
        layout.after_ram()
    };
    layout
        .reserve(Range { start, size })
        .map_err(|_| Errno::EINVAL)?;
    Ok(start)
}

/// Lets Domain-0 read the whole boot archive, behind its RAM, without a copy: each of the loader's modules is one of
/// Domain-0's, with the same command line. The memory of `disks` is left out.
///
/// # Errors
/// `ENOMEM`, or `EINVAL` if there is no room in the address space.
pub fn map_archive(
    domain: &Domain,
    layout: &mut Layout,
    archive: &Archive,
    disks: &[Image],
) -> Result<heapless::Vec<Module<'static>, MAX_MODULES>, Errno> {
    let pages = |range: crate::mm::ranges::Range| range.touched_pages().len();
    let size = archive.modules().map(|module| pages(module.range)).sum();
    let start = place(layout, size)?;
    let mut modules = heapless::Vec::new();
    let mut next = start;
    for module in archive.modules() {
        let (first, size) = (module.range.start, module.range.len());
        let source = ModuleSource::Present {
            gpa: next + first % PAGE_SIZE as u64,
            size,
        };
        let cmdline = module.path;
        modules
            .push(Module { source, cmdline })
            .map_err(|_| Errno::E2BIG)?;
        let end = next + pages(module.range);
        map_frames(domain, Mfn::containing(first), next, end, disks)?;
        next = end;
    }
    Ok(modules)
}

/// Lets `domain` read the frames from `mfn` on at addresses from `start` to `end`.
fn map_frames(
    domain: &Domain,
    mfn: Mfn,
    start: u64,
    end: u64,
    disks: &[Image],
) -> Result<(), Errno> {
    for (mfn, address) in (mfn.0..).map(Mfn).zip((start..end).step_by(PAGE_SIZE)) {
        if images::holds(disks, mfn.0 * PAGE_SIZE as u64) {
            continue;
        }
        // The hold that this makes is never given up: the archive stays.
        frame_table::assign(mfn, 0, MACHINE);
        let frame = frame_table::get(mfn).ok_or(Errno::EINVAL)?;
        let gfn = Gfn::containing(address);
        domain
            .p2m
            .lock()
            .excuse_tables(|p2m| p2m.add_frame(gfn, frame, Access::READ))
            .map_err(|_| Errno::ENOMEM)?;
    }
    Ok(())
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
