//! `GNTTABOP_copy`: bytes from one page to another, each either the caller's own or granted to it.

use xen_abi::grant_table::{
    GNTST_BAD_COPY_ARG, GNTST_BAD_DOMAIN, GNTST_BAD_PAGE, GNTST_PERMISSION_DENIED, GntcopyFlags,
    GnttabCopy, GnttabCopyPtr,
};
use xen_abi::xen::DOMID_SELF;

use super::table::{Use, acquire, release};
use super::{Environment, Status};
use crate::mm::{FrameRef, phys};
use crate::types::{DomId, Gfn, PAGE_SIZE};

/// One end of a copy, ready for use. It stays so for the next entry of the list if that names the same page: packets
/// are often copied in parts. What is named by a frame number is the caller's own: a page that it has mapped from another
/// domain could be taken back meanwhile.
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

/// Both ends of the last entry of the list.
pub struct Ends<'e, E: Environment> {
    env: &'e E,
    source: Option<End>,
    dest: Option<End>,
}

impl<'e, E: Environment> Ends<'e, E> {
    /// None yet.
    pub fn new(env: &'e E) -> Self {
        Self {
            env,
            source: None,
            dest: None,
        }
    }

    /// Copies one entry of the list.
    pub fn copy(&mut self, op: &GnttabCopy) -> Result<(), Status> {
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
        let end = match slot.take() {
            Some(end) if end.is_for(ptr, by_grant) => end,
            other => {
                other.iter().for_each(|end| Self::let_go(env, end));
                open(env, ptr, by_grant, write)?
            }
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
    let (frame, pin) = if by_grant {
        let wanted = Use {
            granter: DomId::named(domid, env.caller()),
            reference: ptr.r#ref(),
            grantee: env.caller(),
            write,
            map: false,
        };
        (acquire(env, &wanted)?, Some(wanted))
    } else if domid == DOMID_SELF {
        match env.frame(env.caller(), Gfn(page)) {
            Some((frame, writable)) if (writable || !write) && frame.owner() == env.caller() => {
                (frame, None)
            }
            _ => return Err(Status(GNTST_BAD_PAGE)),
        }
    } else if env.with_table(DomId(domid), |_| ()).is_some() {
        return Err(Status(GNTST_PERMISSION_DENIED));
    } else {
        return Err(Status(GNTST_BAD_DOMAIN));
    };
    Ok(End {
        domid,
        page,
        by_grant,
        frame,
        pin,
    })
}
