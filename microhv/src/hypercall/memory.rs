//! `memory_op`: how much memory a domain has, and where.

use core::sync::atomic::Ordering;

use xen_abi::Errno;
use xen_abi::memory::{
    self as abi, E820Entry, ForeignMemoryMap, MEMOP_CMD_MASK, MEMOP_EXTENT_SHIFT, MemoryDomain,
    MemoryMap, MemoryReservation, RemoveFromPhysmap,
};

use super::{Caller, DONE, Outcome, Result, budget, physmap, target};
use crate::domain::{Domain, flush};
use crate::guest_args::GuestArgs;
use crate::mm::{frame_table, frames};
use crate::types::{Gfn, Mfn};

/// The largest extent a domain may ask for: 2 MiB, so that one extent is done in bounded time.
const MAX_ORDER: u32 = 9;
/// Pages that are taken away between two flushes.
const BATCH: usize = 64;
/// E820 entries that a domain may be given.
const MAX_MAP: u32 = 16;

/// `memory_op(cmd, arg)`; the upper bits of `cmd` say where a preempted operation goes on.
pub fn call(caller: &Caller<'_>) -> Result {
    let command = caller.argument(0);
    let argument = caller.argument(1);
    let start = command >> MEMOP_EXTENT_SHIFT;
    match command as u32 & MEMOP_CMD_MASK {
        op @ (abi::XENMEM_POPULATE_PHYSMAP
        | abi::XENMEM_INCREASE_RESERVATION
        | abi::XENMEM_DECREASE_RESERVATION) => reservation(caller, op, argument, start),
        op @ (abi::XENMEM_CURRENT_RESERVATION
        | abi::XENMEM_MAXIMUM_RESERVATION
        | abi::XENMEM_MAXIMUM_GPFN) => {
            let request: MemoryDomain = caller.read(argument)?;
            let domain = target(caller, request.domid)?;
            Ok(Outcome::Value(match op {
                abi::XENMEM_CURRENT_RESERVATION => domain.p2m.lock().ram_pages(),
                abi::XENMEM_MAXIMUM_RESERVATION => domain.max_pages.load(Ordering::Relaxed),
                _ => {
                    let map = domain.memory_map.lock();
                    let ends = map
                        .iter()
                        .map(|range| range.addr().saturating_add(range.size()));
                    (ends.max().unwrap_or(0) >> 12).saturating_sub(1)
                }
            }))
        }
        abi::XENMEM_MAXIMUM_RAM_PAGE => Ok(Outcome::Value(frames::total_frames())),
        abi::XENMEM_MEMORY_MAP => {
            let mut request: MemoryMap = caller.read(argument)?;
            let map = caller.vcpu.domain.memory_map.lock().clone();
            let count = map.len().min(request.nr_entries as usize);
            let mut buffer = caller.memory(request.buffer);
            for (index, range) in map.iter().take(count).enumerate() {
                buffer.put(index, range)?;
            }
            request.nr_entries = count as u32;
            caller.write(argument, &request)?;
            Ok(DONE)
        }
        abi::XENMEM_SET_MEMORY_MAP => set_memory_map(caller, argument),
        abi::XENMEM_ADD_TO_PHYSMAP => physmap::add(caller, argument),
        abi::XENMEM_ADD_TO_PHYSMAP_BATCH => physmap::add_batch(caller, argument, start),
        abi::XENMEM_REMOVE_FROM_PHYSMAP => {
            let request: RemoveFromPhysmap = caller.read(argument)?;
            let domain = target(caller, request.domid)?;
            give_back(&domain, Gfn(request.gpfn), 0)?;
            Ok(DONE)
        }
        _ => Err(Errno::ENOSYS),
    }
}

/// Populates, adds or gives back extents; returns how many were done, as Xen does on a failure half way.
fn reservation(caller: &Caller<'_>, op: u32, argument: u64, start: u64) -> Result {
    let request: MemoryReservation = caller.read(argument)?;
    let domain = target(caller, request.domid)?;
    let order = request.extent_order;
    if order > MAX_ORDER || start > request.nr_extents {
        return Err(Errno::EINVAL);
    }
    let mut extents = caller.memory(request.extent_start);
    for index in start..request.nr_extents {
        if index > start && budget::is_spent() {
            return Ok(Outcome::Again([
                u64::from(op) | index << MEMOP_EXTENT_SHIFT,
                argument,
                0,
            ]));
        }
        let done = extents.get::<u64>(index as usize).and_then(|gfn| match op {
            abi::XENMEM_DECREASE_RESERVATION => give_back(&domain, Gfn(gfn), order),
            _ => populate(&domain, Gfn(gfn), 1 << order),
        });
        if let Err(errno) = done {
            // Running out is the domain's own trouble; the count says how far it came.
            if index == 0 && errno != Errno::ENOMEM {
                return Err(errno);
            }
            return Ok(Outcome::Value(index));
        }
    }
    Ok(Outcome::Value(request.nr_extents))
}

/// Gives `domain` so many zeroed pages at `gfn`, in pieces as large as fit and are free.
///
/// # Errors
/// `ENOMEM` beyond the domain's limit or the machine's memory; `EINVAL` if pages are mapped there.
pub fn populate(domain: &Domain, gfn: Gfn, frames: u64) -> core::result::Result<(), Errno> {
    if !has_room(domain, domain.p2m.lock().ram_pages(), frames) {
        return Err(Errno::ENOMEM);
    }
    let end = gfn.0.checked_add(frames).ok_or(Errno::EINVAL)?;
    let (mut at, mut largest) = (gfn.0, 18);
    while at < end {
        let fits = |order: &u32| {
            *order <= largest && at.is_multiple_of(1 << order) && end - at >= 1 << order
        };
        let order = [18, 9].into_iter().find(fits).unwrap_or(0);
        match frames::alloc_zeroed(order) {
            Some(mfn) => {
                add(domain, Gfn(at), mfn, order)?;
                at += 1 << order;
            }
            None if order == 0 => return Err(Errno::ENOMEM),
            // No such piece is free any more.
            None => largest = order - 9,
        }
    }
    Ok(())
}

/// May `domain`, which has `held` pages, have so many more?
fn has_room(domain: &Domain, held: u64, more: u64) -> bool {
    held.saturating_add(more) <= domain.max_pages.load(Ordering::Relaxed)
}

fn add(domain: &Domain, gfn: Gfn, mfn: Mfn, order: u32) -> core::result::Result<(), Errno> {
    frame_table::assign(mfn, order, domain.id);
    let added = {
        let mut p2m = domain.p2m.lock();
        // Again, now that nobody can add any: its vCPUs may ask at the same time.
        if has_room(domain, p2m.ram_pages(), 1 << order) {
            p2m.add_ram(gfn, mfn, order)
        } else {
            Err(Errno::ENOMEM)
        }
    };
    added.inspect_err(|_| {
        for page in 0..1u64 << order {
            drop(frame_table::FrameRef::from_raw(Mfn(mfn.0 + page)));
        }
    })
}

/// Takes 2^`order` pages at `gfn` from `domain`. Each is free once nobody else maps it, and not before all
/// translations to it are forgotten. Only memory of its own: a page that was granted to it stays where that mapping is
/// recorded. What Domain-0 has mapped of others is recorded nowhere.
fn give_back(domain: &Domain, gfn: Gfn, order: u32) -> core::result::Result<(), Errno> {
    let end = gfn.0.checked_add(1 << order).ok_or(Errno::EINVAL)?;
    let mut next = gfn.0;
    while next < end {
        let mut frames = heapless::Vec::<_, BATCH>::new();
        let mut result = Ok(());
        {
            let mut p2m = domain.p2m.lock();
            while next < end && !frames.is_full() {
                let removed = if domain.privileged {
                    p2m.remove(Gfn(next))
                } else {
                    p2m.remove_own(Gfn(next))
                };
                match removed {
                    // Not full, as just looked.
                    Ok(frame) => drop(frames.push(frame)),
                    Err(error) => {
                        result = Err(error);
                        break;
                    }
                }
                next += 1;
            }
        }
        flush::flush(domain);
        drop(frames);
        result?;
    }
    Ok(())
}

/// `XENMEM_set_memory_map`: the creator says what the domain is to see.
fn set_memory_map(caller: &Caller<'_>, argument: u64) -> Result {
    caller.check_privilege()?;
    let request: ForeignMemoryMap = caller.read(argument)?;
    let domain = target(caller, request.domid)?;
    if request.map.nr_entries > MAX_MAP {
        return Err(Errno::EINVAL);
    }
    let mut buffer = caller.memory(request.map.buffer);
    let mut map = crate::domain::MemoryMap::new();
    for index in 0..request.map.nr_entries as usize {
        let entry: E820Entry = buffer.get(index)?;
        // MAX_MAP is the vector's capacity.
        map.push(entry).map_err(|_| Errno::EINVAL)?;
    }
    *domain.memory_map.lock() = map;
    Ok(DONE)
}
