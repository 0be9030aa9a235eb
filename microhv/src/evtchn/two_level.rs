//! The 2-level scheme: a pending and a mask bit for each port in `shared_info`, and a selector of words in `vcpu_info`.
//!
//! The order of the steps is what makes the guest's lock-free side work (Xen: `event_2l.c`): pending, then look at the
//! mask, then the selector, then the upcall flag; each an atomic operation and a full barrier.

use super::vcpu_info::{VCPU_INFO_SIZE, VcpuInfoRef, clear_bit, set_bit, test_bit};
use super::{MAX_PORTS, MAX_VCPUS, Notify};
use crate::mm::FrameRef;

/// Byte offset of `evtchn_pending` in `shared_info`: after the legacy `vcpu_info`s.
const PENDING: usize = VCPU_INFO_SIZE * MAX_VCPUS;
/// Byte offset of `evtchn_mask`.
const MASK: usize = PENDING + MAX_PORTS as usize / 8;

/// A domain's `shared_info`.
pub struct TwoLevel(pub FrameRef);

impl TwoLevel {
    /// Raises `port` for the vCPU with number `vcpu` and `vcpu_info` `info`.
    pub fn set_pending(&self, port: u32, vcpu: u32, info: &VcpuInfoRef) -> Notify {
        if port >= MAX_PORTS || !set_bit(&self.0, PENDING, port) {
            return Notify::NONE;
        }
        let upcall = !test_bit(&self.0, MASK, port) && info.select(port);
        Notify::new(upcall.then_some(vcpu), Some(port))
    }

    /// Clears the mask and delivers what waited for that.
    pub fn unmask(&self, port: u32, vcpu: u32, info: &VcpuInfoRef) -> Notify {
        let upcall = port < MAX_PORTS
            && clear_bit(&self.0, MASK, port)
            && self.is_pending(port)
            && info.select(port);
        Notify::new(upcall.then_some(vcpu), None)
    }

    pub fn clear_pending(&self, port: u32) {
        if port < MAX_PORTS {
            clear_bit(&self.0, PENDING, port);
        }
    }

    pub fn is_pending(&self, port: u32) -> bool {
        port < MAX_PORTS && test_bit(&self.0, PENDING, port)
    }
}
