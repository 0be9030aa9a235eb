//! Xen's public types and numbers, written by hand from the public headers (`xen/include/public`).
//!
//! One module a header. Names are Xen's: constants in upper case (`XENMEM_populate_physmap` is
//! [`memory::XENMEM_POPULATE_PHYSMAP`]), types in camel case without the `xen_` prefix. Implicit padding of the C
//! structures is a visible `_pad` field here, so that every type that crosses the wire is plain bytes:
//! all of them implement [`zerocopy::FromBytes`] and [`zerocopy::IntoBytes`], and callers need no `unsafe` to copy
//! them in or out. `Default` is all zeroes.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

#[macro_use]
mod macros;

pub mod cpuid;
pub mod domctl;
pub mod elfnote;
pub mod errno;
pub mod event_channel;
pub mod grant_table;
pub mod hvm;
pub mod hypercall;
pub mod io;
pub mod memory;
pub mod microhv;
pub mod physdev;
pub mod sched;
pub mod sysctl;
pub mod vcpu;
pub mod version;
pub mod xen;

pub use errno::Errno;
pub use xen::{DOMID_SELF, DomId};
pub use zerocopy;

#[cfg(test)]
mod layout_tests;
