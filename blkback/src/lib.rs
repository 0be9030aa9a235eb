//! The logic of blkback: disks for other domains, by Xen's blkif protocol.
//!
//! A frontend's ring is [`protocol`]; its requests are checked ([`check`]), their pages mapped ([`pages`]) and turned
//! into commands ([`task`]) for a [`disk`]; [`engine`] drives it all. No hypercall is made there: mapping pages,
//! notifying and the disk itself are traits, so that hostile frontends can be played on the host. [`virtio_disk`] is the
//! machine's disk, [`memory_disk`] one made of a boot module.
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

pub mod any_disk;
pub mod backend;
pub mod check;
pub mod disk;
pub mod engine;
pub mod extents;
pub mod gpt;
pub mod memory_disk;
pub mod pages;
pub mod protocol;
pub mod task;
pub mod virtio_disk;

#[cfg(test)]
mod backend_tests;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod fake_frontend;
#[cfg(test)]
mod fake_store;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod tests;
