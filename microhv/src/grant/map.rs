//! `GNTTABOP_map_grant_ref` and its undoing.

use xen_abi::Errno;
use xen_abi::grant_table::{
    GNTST_BAD_DOMAIN, GNTST_BAD_GNTREF, GNTST_BAD_HANDLE, GNTST_BAD_VIRT_ADDR, GNTST_GENERAL_ERROR,
    GntmapFlags, GnttabMapGrantRef, GnttabUnmapGrantRef,
};

use super::maptrack::Mapping;
use super::table::{Use, acquire, release};
use super::{Environment, Status};
use crate::guest_args::{GuestArgs, Progress};
use crate::mm::FrameRef;
use crate::types::{DomId, Gfn, PAGE_SIZE};

/// Unmaps that share one flush (Xen's `GNTTAB_UNMAP_BATCH_SIZE`).
const UNMAP_BATCH: usize = 32;
/// Mappings released between two looks at [`Environment::preempt`].
const RELEASE_BATCH: u32 = 64;

/// Maps one entry of the list.
pub fn map_one(env: &impl Environment, op: &mut GnttabMapGrantRef) {
    op.status = Status::of(map(env, op).map(|handle| {
        op.handle = handle;
        // A device of the caller reaches the page where its CPUs do.
        op.dev_bus_addr = op.host_addr;
    }));
}

fn map(env: &impl Environment, op: &GnttabMapGrantRef) -> Result<u32, Status> {
    if !op
        .flags
        .intersects(GntmapFlags::HOST_MAP | GntmapFlags::DEVICE_MAP)
    {
        return Err(Status(GNTST_BAD_GNTREF));
    }
    // A guest with translated memory has neither bus addresses nor page tables of ours to fill.
    let foreign =
        GntmapFlags::DEVICE_MAP | GntmapFlags::APPLICATION_MAP | GntmapFlags::CONTAINS_PTE;
    if op.flags.intersects(foreign) {
        return Err(Status(GNTST_GENERAL_ERROR));
    }
    if !op.host_addr.is_multiple_of(PAGE_SIZE as u64) {
        return Err(Status(GNTST_BAD_VIRT_ADDR));
    }
    let own = |f: &mut dyn FnMut(&mut super::Table) -> Result<u32, Status>| {
        env.with_table(env.caller(), f)
            .unwrap_or(Err(Status(GNTST_BAD_DOMAIN)))
    };
    let gfn = Gfn::containing(op.host_addr);
    let wanted = Use {
        granter: DomId(op.dom),
        reference: op.r#ref,
        grantee: env.caller(),
        write: !op.flags.contains(GntmapFlags::READONLY),
        map: true,
    };
    let handle = own(&mut |table| table.maptrack.reserve())?;
    let mapped = acquire(env, &wanted).and_then(|frame| {
        let mfn = frame.mfn();
        env.map(gfn, frame, wanted.write)
            .map(|()| mfn)
            .map_err(|_| {
                release(env, &wanted, mfn);
                Status(GNTST_GENERAL_ERROR)
            })
    });
    own(&mut |table| {
        match mapped {
            Ok(mfn) => {
                let grant = wanted;
                table.maptrack.set(handle, Mapping { grant, gfn, mfn });
            }
            Err(_) => table.maptrack.release(handle),
        }
        mapped.map(|_| handle)
    })
}

/// A mapping that is out of the caller's address space, but perhaps not out of the TLBs yet.
struct Unmapped {
    mapping: Mapping,
    /// Kept until the TLBs are clean.
    _frame: FrameRef,
}

/// Unmaps entries of the list. An entry's owner sees it as free only when nobody can reach the page any more.
pub fn unmap_list(
    env: &impl Environment,
    args: &mut impl GuestArgs,
    count: u32,
) -> Result<Progress, Errno> {
    let mut from = 0;
    while from < count {
        if from > 0 && env.preempt() {
            return Ok(Progress::Preempted(from));
        }
        let to = count.min(from.saturating_add(UNMAP_BATCH as u32));
        let mut batch = heapless::Vec::<Unmapped, UNMAP_BATCH>::new();
        let unmapped = unmap_batch(env, args, from..to, &mut batch);
        complete(env, batch);
        unmapped?;
        from = to;
    }
    Ok(Progress::Done(0))
}

fn unmap_batch(
    env: &impl Environment,
    args: &mut impl GuestArgs,
    range: core::ops::Range<u32>,
    batch: &mut heapless::Vec<Unmapped, UNMAP_BATCH>,
) -> Result<(), Errno> {
    for index in range {
        let mut op: GnttabUnmapGrantRef = args.get(index as usize)?;
        op.status = Status::of(unmap(env, &op).map(|unmapped| {
            // The range is as long as the batch.
            batch.extend(unmapped);
        }));
        args.put(index as usize, &op)?;
    }
    Ok(())
}

fn unmap(env: &impl Environment, op: &GnttabUnmapGrantRef) -> Result<Option<Unmapped>, Status> {
    let bad_handle = Status(GNTST_BAD_HANDLE);
    let taken = env.with_table(env.caller(), |table| {
        let mapping = table.maptrack.get(op.handle).ok_or(bad_handle)?;
        match op.host_addr {
            // Xen's rule: an address of zero asks for nothing.
            0 => Ok(None),
            at if at == mapping.gfn.address() => Ok(table.maptrack.take(op.handle)),
            _ => Err(Status(GNTST_GENERAL_ERROR)),
        }
    });
    let Some(mapping) = taken.unwrap_or(Err(bad_handle))? else {
        return Ok(None);
    };
    let frame = env.unmap(mapping.gfn, mapping.mfn);
    let _ = env.with_table(env.caller(), |table| match frame {
        Some(_) => table.maptrack.release(op.handle),
        None => table.maptrack.set(op.handle, mapping),
    });
    let frame = frame.ok_or(Status(GNTST_GENERAL_ERROR))?;
    Ok(Some(Unmapped {
        mapping,
        _frame: frame,
    }))
}

fn complete(env: &impl Environment, batch: heapless::Vec<Unmapped, UNMAP_BATCH>) {
    if batch.is_empty() {
        return;
    }
    env.flush();
    for unmapped in &batch {
        release(env, &unmapped.mapping.grant, unmapped.mapping.mfn);
    }
}

/// Releases all grants that the dead domain `mapper` had mapped; false if it was interrupted and must be called again.
/// Its vCPUs and devices no longer run; its address space goes separately.
pub fn release_mappings(env: &impl Environment, mapper: DomId) -> bool {
    let mut from = 0;
    let mut released = 0;
    while let Some(Some((handle, mapping))) =
        env.with_table(mapper, |table| table.maptrack.next(from))
    {
        release(env, &mapping.grant, mapping.mfn);
        let _ = env.with_table(mapper, |table| table.maptrack.release(handle));
        from = handle + 1;
        released += 1;
        if released % RELEASE_BATCH == 0 && env.preempt() {
            return false;
        }
    }
    true
}
