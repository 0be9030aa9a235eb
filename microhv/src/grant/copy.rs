//! `GNTTABOP_copy`: bytes from one page to another, each either the caller's own or granted to it.

use xen_abi::Errno;
use xen_abi::grant_table::{
    GNTST_BAD_COPY_ARG, GNTST_BAD_DOMAIN, GNTST_BAD_PAGE, GNTST_OKAY, GNTST_PERMISSION_DENIED,
    GntcopyFlags, GnttabCopy, GnttabCopyPtr,
};
use xen_abi::xen::DOMID_SELF;

use super::table::{Use, acquire, release};
use super::{Environment, Status};
use crate::guest_args::{GuestArgs, Progress};
use crate::mm::{FrameRef, phys};
use crate::types::{DomId, Gfn, PAGE_SIZE};

/// One end of a copy, ready for use. It stays so for the next entry of the list if that names the same page: packets
/// are often copied in parts. Not so a page that the caller has mapped from another domain, which may be taken back.
struct End {
    domid: u16,
    page: u64,
    by_grant: bool,
    frame: FrameRef,
    pin: Option<Use>,
}

impl End {
    fn is_for(&self, ptr: &GnttabCopyPtr, by_grant: bool) -> bool {
        self.domid == ptr.domid && self.page == page_of(ptr, by_grant) && self.by_grant == by_grant
    }
}

/// What names the page: a reference or a frame number.
fn page_of(ptr: &GnttabCopyPtr, by_grant: bool) -> u64 {
    if by_grant {
        u64::from(ptr.r#ref())
    } else {
        ptr.gmfn_value()
    }
}

/// Both ends of the last entry.
struct Ends<'e, E: Environment> {
    env: &'e E,
    source: Option<End>,
    dest: Option<End>,
}

/// Copies entries of the list.
pub fn copy_list(
    env: &impl Environment,
    args: &mut impl GuestArgs,
    count: u32,
) -> Result<Progress, Errno> {
    let mut ends = Ends {
        env,
        source: None,
        dest: None,
    };
    for index in 0..count {
        if index > 0 && env.preempt() {
            return Ok(Progress::Preempted(index));
        }
        let mut op: GnttabCopy = args.get(index as usize)?;
        op.status = match ends.copy(&op) {
            Ok(()) => GNTST_OKAY,
            Err(Status(status)) => status,
        };
        args.put(index as usize, &op)?;
    }
    Ok(Progress::Done(0))
}

impl<E: Environment> Ends<'_, E> {
    fn copy(&mut self, op: &GnttabCopy) -> Result<(), Status> {
        let len = usize::from(op.len);
        if len == 0 {
            return Ok(());
        }
        let (from, to) = (usize::from(op.source.offset), usize::from(op.dest.offset));
        if from + len > PAGE_SIZE || to + len > PAGE_SIZE {
            return Err(Status(GNTST_BAD_COPY_ARG));
        }
        let source = Self::claim(
            self.env,
            &mut self.source,
            &op.source,
            op.flags.contains(GntcopyFlags::SOURCE_GREF),
            false,
        )?;
        let dest = Self::claim(
            self.env,
            &mut self.dest,
            &op.dest,
            op.flags.contains(GntcopyFlags::DEST_GREF),
            true,
        )?;
        phys::copy(dest.mfn(), to, source.mfn(), from, len);
        Ok(())
    }

    /// The page of one end, from the last entry or anew.
    fn claim<'s>(
        env: &E,
        slot: &'s mut Option<End>,
        ptr: &GnttabCopyPtr,
        by_grant: bool,
        write: bool,
    ) -> Result<&'s FrameRef, Status> {
        let old = match slot.take() {
            Some(end)
                if end.is_for(ptr, by_grant) && (by_grant || end.frame.owner() == env.caller()) =>
            {
                Some(end)
            }
            Some(end) => {
                Self::let_go(env, &end);
                None
            }
            None => None,
        };
        let end = match old {
            Some(end) => end,
            None => open(env, ptr, by_grant, write)?,
        };
        Ok(&slot.insert(end).frame)
    }

    fn let_go(env: &E, end: &End) {
        if let Some(pin) = &end.pin {
            release(env, pin, end.frame.mfn());
        }
    }
}

impl<E: Environment> Drop for Ends<'_, E> {
    /// However the list ended, no grant stays pinned.
    fn drop(&mut self) {
        for end in [&self.source, &self.dest].into_iter().flatten() {
            Self::let_go(self.env, end);
        }
    }
}

fn open(
    env: &impl Environment,
    ptr: &GnttabCopyPtr,
    by_grant: bool,
    write: bool,
) -> Result<End, Status> {
    let (domid, page) = (ptr.domid, page_of(ptr, by_grant));
    if by_grant {
        let granter = if domid == DOMID_SELF {
            env.caller()
        } else {
            DomId(domid)
        };
        let wanted = Use {
            granter,
            reference: ptr.r#ref(),
            grantee: env.caller(),
            write,
            map: false,
        };
        let frame = acquire(env, &wanted)?;
        return Ok(End {
            domid,
            page,
            by_grant,
            frame,
            pin: Some(wanted),
        });
    }
    if domid != DOMID_SELF {
        let known = env.with_table(DomId(domid), |_| ()).is_some();
        return Err(Status(if known {
            GNTST_PERMISSION_DENIED
        } else {
            GNTST_BAD_DOMAIN
        }));
    }
    let (frame, writable) = env
        .frame(env.caller(), Gfn(page))
        .ok_or(Status(GNTST_BAD_PAGE))?;
    if write && !writable {
        return Err(Status(GNTST_BAD_PAGE));
    }
    Ok(End {
        domid,
        page,
        by_grant,
        frame,
        pin: None,
    })
}
