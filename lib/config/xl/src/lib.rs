//! xl.cfg(5): what an operator writes about a guest.
//!
//! Needs a heap, unlike its neighbour `config`: a crate that names `alloc` cannot be linked into the hypervisor,
//! which is why it is a crate of its own. Source: Xen's docs/man/xl.cfg.5, xl-disk-configuration.5,
//! xl-network-configuration.5, xen-vbd-interface.7.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod action;
pub mod disk;
pub mod domain_config;
pub mod error;
pub mod keys;
pub mod mac;
pub mod rate;
pub mod settings;
pub mod syntax;
pub mod uuid;
pub mod value;
pub mod vdev;
pub mod vif;

pub use action::Action;
pub use disk::Disk;
pub use domain_config::{Affinity, DomainConfig, DomainType, is_name};
pub use error::Error;
pub use mac::Mac;
pub use uuid::Uuid;
pub use value::{Position, Value};
pub use vdev::Vdev;
pub use vif::Vif;

#[cfg(test)]
mod tests;
