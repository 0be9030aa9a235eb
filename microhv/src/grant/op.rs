//! `HYPERVISOR_grant_table_op`: decoding and the small operations.

use xen_abi::Errno;
use xen_abi::grant_table::*;
use xen_abi::xen::DOMID_SELF;

use super::copy::Ends;
use super::map::{map_one, unmap_list};
use super::{Environment, MAX_FRAMES, Status, Table};
use crate::guest_args::{GuestArgs, Progress};
use crate::types::DomId;

/// Carries out operation `cmd` on the list of `count` structures at `args`. After [`Progress::Preempted`] the hypercall
/// goes on with `args` and `count` advanced by that many structures of [`entry_size`] bytes.
///
/// # Errors
/// Xen's error number; what goes wrong with one entry is in its status.
pub fn op(
    env: &impl Environment,
    cmd: u32,
    args: &mut impl GuestArgs,
    count: u32,
) -> Result<Progress, Errno> {
    // Xen's own bound: the count is an int there.
    if i32::try_from(count).is_err() {
        return Err(Errno::EINVAL);
    }
    match cmd {
        GNTTABOP_MAP_GRANT_REF => each(env, args, count, |op| map_one(env, op)),
        GNTTABOP_UNMAP_GRANT_REF => unmap_list(env, args, count),
        GNTTABOP_COPY => {
            let mut ends = Ends::new(env);
            each(env, args, count, |op: &mut GnttabCopy| {
                op.status = Status::of(ends.copy(op));
            })
        }
        // Not for guests with translated memory.
        GNTTABOP_UNMAP_AND_REPLACE => each(env, args, count, |op: &mut GnttabUnmapAndReplace| {
            op.status = GNTST_GENERAL_ERROR;
        }),
        GNTTABOP_SWAP_GRANT_REF => each(env, args, count, |op: &mut GnttabSwapGrantRef| {
            op.status = status(env, DOMID_SELF, |table| table.swap(op.ref_a, op.ref_b));
        }),
        GNTTABOP_SETUP_TABLE => one(args, count, |op: &mut GnttabSetupTable| {
            let frames = op.nr_frames;
            // The list of frames is of no use to a guest with translated memory, which maps them where it likes.
            op.status = status(env, op.dom, |table| {
                table.grow(frames).map_err(|_| Status(GNTST_GENERAL_ERROR))
            });
            Ok(())
        }),
        GNTTABOP_QUERY_SIZE => one(args, count, |op: &mut GnttabQuerySize| {
            let mut frames = 0;
            op.status = status(env, op.dom, |table| {
                frames = table.frame_count();
                Ok(())
            });
            if op.status == GNTST_OKAY {
                (op.nr_frames, op.max_nr_frames) = (frames, MAX_FRAMES);
            }
            Ok(())
        }),
        GNTTABOP_SET_VERSION => one(args, count, |op: &mut GnttabSetVersion| match op.version {
            1 => Ok(()),
            // As Xen with `gnttab=max-ver:1`.
            2 => Err(Errno::ENOSYS),
            _ => Err(Errno::EINVAL),
        }),
        GNTTABOP_GET_VERSION => one(args, count, |op: &mut GnttabGetVersion| {
            match status(env, op.dom, |_| Ok(())) {
                GNTST_OKAY => {}
                GNTST_PERMISSION_DENIED => return Err(Errno::EPERM),
                _ => return Err(Errno::ESRCH),
            }
            op.version = 1;
            Ok(())
        }),
        GNTTABOP_GET_STATUS_FRAMES => one(args, count, |op: &mut GnttabGetStatusFrames| {
            let none_wanted = op.nr_frames == 0;
            // Version 1 has none.
            op.status = status(env, op.dom, |_| {
                none_wanted.then_some(()).ok_or(Status(GNTST_GENERAL_ERROR))
            });
            Ok(())
        }),
        _ => Err(Errno::ENOSYS),
    }
}

/// The size in bytes of one structure of the list of operation `cmd`, for those that can be interrupted.
pub const fn entry_size(cmd: u32) -> usize {
    match cmd {
        GNTTABOP_MAP_GRANT_REF => size_of::<GnttabMapGrantRef>(),
        GNTTABOP_UNMAP_GRANT_REF => size_of::<GnttabUnmapGrantRef>(),
        GNTTABOP_COPY => size_of::<GnttabCopy>(),
        GNTTABOP_UNMAP_AND_REPLACE => size_of::<GnttabUnmapAndReplace>(),
        GNTTABOP_SWAP_GRANT_REF => size_of::<GnttabSwapGrantRef>(),
        _ => 0,
    }
}

use xen_abi::zerocopy::{FromBytes, Immutable, IntoBytes};

/// An operation that takes one structure, which comes back.
fn one<T: FromBytes + IntoBytes + Immutable>(
    args: &mut impl GuestArgs,
    count: u32,
    f: impl FnOnce(&mut T) -> Result<(), Errno>,
) -> Result<Progress, Errno> {
    if count != 1 {
        return Err(Errno::EINVAL);
    }
    let mut op = args.get(0)?;
    f(&mut op)?;
    args.put(0, &op)?;
    Ok(Progress::Done(0))
}

/// An operation on each structure of a list.
fn each<T: FromBytes + IntoBytes + Immutable>(
    env: &impl Environment,
    args: &mut impl GuestArgs,
    count: u32,
    mut f: impl FnMut(&mut T),
) -> Result<Progress, Errno> {
    for index in 0..count {
        if index > 0 && env.preempt() {
            return Ok(Progress::Preempted(index));
        }
        let mut op = args.get(index as usize)?;
        f(&mut op);
        args.put(index as usize, &op)?;
    }
    Ok(Progress::Done(0))
}

/// Calls `f` with the table of `domain`, which is the caller's own unless it is privileged.
fn status(
    env: &impl Environment,
    domain: u16,
    f: impl FnOnce(&mut Table) -> Result<(), Status>,
) -> i16 {
    let caller = env.caller();
    let domain = DomId::named(domain, caller);
    let allowed = domain == caller || env.privileged();
    let result = env.with_table(domain, |table| {
        if allowed {
            f(table)
        } else {
            Err(Status(GNTST_PERMISSION_DENIED))
        }
    });
    result.map_or(GNTST_BAD_DOMAIN, Status::of)
}
