//! The 2-level scheme: a pending and a mask bit for each port in `shared_info`, and a selector of words in `vcpu_info`.
//!
//! The order of the steps is what makes the guest's lock-free side work (Xen: `event_2l.c`): pending, then look at the
//! mask, then the selector, then the upcall flag; each an atomic operation and a full barrier.

use super::Notify;
use super::vcpu_info::{VcpuInfoRef, Width, clear_bit, set_bit, test_bit};
use crate::mm::FrameRef;

/// A domain's `shared_info`.
pub struct TwoLevel {
    pub shared_info: FrameRef,
    pub width: Width,
}

impl TwoLevel {
    /// Raises `port` for the vCPU with number `vcpu` and `vcpu_info` `info`.
    pub fn set_pending(&self, port: u32, vcpu: u32, info: &VcpuInfoRef) -> Notify {
        if port >= self.width.ports() || !set_bit(&self.shared_info, self.width.pending(), port) {
            return Notify::NONE;
        }
        let upcall = !self.is_masked(port) && self.select(port, info);
        Notify {
            upcall: upcall.then_some(vcpu),
            poll: Some(port),
        }
    }

    /// Clears the mask and delivers what waited for that.
    pub fn unmask(&self, port: u32, vcpu: u32, info: &VcpuInfoRef) -> Notify {
        let upcall = port < self.width.ports()
            && clear_bit(&self.shared_info, self.width.mask(), port)
            && self.is_pending(port)
            && self.select(port, info);
        Notify {
            upcall: upcall.then_some(vcpu),
            poll: None,
        }
    }

    /// Tells the vCPU to look at the word of `port`; true if its upcall flag was clear.
    fn select(&self, port: u32, info: &VcpuInfoRef) -> bool {
        info.select(self.width, port / self.width.word_bits()) && info.mark_pending()
    }

    pub fn clear_pending(&self, port: u32) {
        if port < self.width.ports() {
            clear_bit(&self.shared_info, self.width.pending(), port);
        }
    }

    pub fn is_pending(&self, port: u32) -> bool {
        port < self.width.ports() && test_bit(&self.shared_info, self.width.pending(), port)
    }

    pub fn is_masked(&self, port: u32) -> bool {
        port >= self.width.ports() || test_bit(&self.shared_info, self.width.mask(), port)
    }
}
