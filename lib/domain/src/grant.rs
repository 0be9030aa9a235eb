//! Grants: giving others access to our pages ([`GrantedPages`], [`Grant`]), and using pages that others gave us
//! ([`map_batch`], [`map_range`], [`copy_batch`]).

mod copy;
mod give;
mod map;

pub use copy::{copy_batch, copy_status, own_page};
#[cfg(target_os = "none")]
pub(crate) use give::map_own;
pub use give::{Grant, GrantedPages};
pub use map::{MapRequest, MappedPage, MappedRange, map_batch, map_page, map_range, unmap_batch};

use core::fmt;
use xen_abi::Errno;
use xen_abi::grant_table::*;

/// A `GNTST_*` status other than okay.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct GrantError(pub i16);

impl fmt::Debug for GrantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", status_text(self.0), self.0)
    }
}

impl fmt::Display for GrantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl From<GrantError> for Errno {
    fn from(error: GrantError) -> Errno {
        match error.0 {
            GNTST_BAD_DOMAIN => Errno::ESRCH,
            GNTST_PERMISSION_DENIED => Errno::EPERM,
            GNTST_NO_SPACE | GNTST_NO_DEVICE_SPACE => Errno::ENOSPC,
            GNTST_EAGAIN => Errno::EAGAIN,
            _ => Errno::EINVAL,
        }
    }
}

fn checked(status: i16) -> Result<(), GrantError> {
    if status == GNTST_OKAY {
        Ok(())
    } else {
        Err(GrantError(status))
    }
}
