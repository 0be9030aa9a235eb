//! Logic of the xenstore domain: nodes, permissions, transactions, watches, quotas and the wire protocol.
//!
//! Nothing here makes a hypercall: the rings and event channels are behind two traits, so that all of it runs under
//! `cargo test`. Everything that comes from a client is hostile: messages are bounded before they are stored, every
//! byte that a client makes the store keep is on an account, and a connection that breaks the protocol is closed without
//! harm to the others.
//!
//! Sources: Xen's docs/misc/xenstore.txt, docs/misc/xenstore-ring.txt, xen/include/public/io/xs_wire.h; the order of events,
//! permissions in corner cases and the quotas' defaults are those of Xen's own daemon.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod account;
pub mod client;
pub mod error;
pub mod link;
pub mod message;
pub mod output;
pub mod path;
pub mod perms;
pub mod quota;
pub mod store;
pub mod tree;
pub mod watch;

pub use error::Error;
pub use link::{Platform, Ring, Server};
pub use store::Store;

#[cfg(test)]
mod tests;
