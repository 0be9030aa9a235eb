//! One port's state, and the pages that hold them.

use xen_abi::event_channel::EVTCHN_FIFO_PRIORITY_DEFAULT;

use super::MAX_PORTS;
use crate::mm::Paged;
use crate::types::DomId;

/// What a port is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not in use.
    Free,
    /// Never used: port 0, so that 0 can mean "none".
    Reserved,
    /// Waits until `remote` binds to it.
    Unbound {
        /// The only domain that may.
        remote: DomId,
    },
    /// Connected, or (while the other side does not name us too) about to be.
    Interdomain {
        /// The domain at the other end.
        remote: DomId,
        /// Its port.
        port: u32,
    },
    /// Raised by the hypervisor.
    Virq(u32),
    /// Raised by another vCPU of the same domain.
    Ipi,
    /// Raised by a device: the number is the one that the device's owner in the hypervisor gave.
    Device(u32),
}

/// One port.
#[derive(Clone, Copy, Debug)]
pub struct Channel {
    pub state: State,
    /// The vCPU that is told.
    pub vcpu: u8,
    /// FIFO queue for the next event.
    pub priority: u8,
    /// FIFO queue on which it was linked last: vCPU and priority.
    pub last_vcpu: u8,
    pub last_priority: u8,
    /// Pending from before its FIFO event word existed.
    pub pending: bool,
}

impl Channel {
    /// A port that was never used.
    pub const FREE: Self = Self {
        state: State::Free,
        vcpu: 0,
        priority: EVTCHN_FIFO_PRIORITY_DEFAULT as u8,
        last_vcpu: 0,
        last_priority: 0,
        pending: false,
    };

    /// Frees the port; its FIFO queue is remembered, for it may still be linked there.
    pub fn free(&mut self) {
        self.state = State::Free;
        self.vcpu = 0;
        self.pending = false;
    }
}

/// All ports of a domain; pages come when the first port on them is used. One is valid if it lies on a page that exists
/// (Xen: `port_is_valid`).
pub type Channels = Paged<Channel, PER_PAGE, { MAX_PORTS as usize / PER_PAGE }>;
/// Channels in one page.
const PER_PAGE: usize = 256;
