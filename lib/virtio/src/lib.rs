//! Virtio over PCI for the driver domains: the `virtio-drivers` crate on `lib/domain`, with what it lacks behind an IOMMU.
//!
//! [`PciDevice::open`] finds an assigned device and makes a [`Transport`](virtio_drivers::transport::Transport) of it that negotiates
//! `VIRTIO_F_ACCESS_PLATFORM`, checks that the device accepted the features, and gives queues their MSI-X vectors.
//! [`Queue`] is a virtqueue of DMA addresses: pages that other domains granted are at the same address for the device as for
//! us, and are never touched by Rust code.
//!
//! `VIRTIO_F_EVENT_IDX` must not be negotiated: the crate's comparison of event indexes is wrong across their wrap when
//! several buffers are added before one notification, which is all that we do.
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

mod config;
mod device;
mod hal;
mod queue;

pub use device::{OpenError, PciDevice};
pub use hal::DomainHal;
pub use queue::{Buffer, Queue, QueueError, Used};
pub use virtio_drivers;

/// Feature bits that all devices share (virtio 1.2, chapter 6).
pub mod feature {
    /// `VIRTIO_F_INDIRECT_DESC`: a request's descriptors may lie in a table of their own.
    pub const INDIRECT_DESC: u64 = 1 << 28;
    /// `VIRTIO_F_VERSION_1`: the device speaks virtio 1.
    pub const VERSION_1: u64 = 1 << 32;
    /// `VIRTIO_F_ACCESS_PLATFORM`: the device's memory accesses go through the IOMMU.
    pub const ACCESS_PLATFORM: u64 = 1 << 33;
}
