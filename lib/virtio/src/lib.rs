//! Thin virtio PCI drivers for the driver domains.
#![cfg_attr(not(test), no_std)]
