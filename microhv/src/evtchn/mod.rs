//! Event channels: one-bit notifications between domains, from the hypervisor, and from devices.
//!
//! Each domain has a [`Table`] of ports. Delivery sets bits in pages that the domain shares with us, by the 2-level
//! scheme (`shared_info`) or by FIFO queues, as Xen's `public/event_channel.h` says, and answers with a [`Notify`]:
//! what the caller has to do once the table is unlocked.
//!
//! Only one table is ever locked at a time. An operation between two domains is a sequence of steps, and each side
//! names its peer by (domain, port); a step that finds a peer that does not name it in turn does nothing. So a race
//! between two domains' operations can lose a notification to a channel that is being closed, and nothing else.

#![forbid(unsafe_code)]

mod channel;
mod delivery;
mod fifo;
mod op;
mod table;
mod two_level;
mod vcpu_info;

#[cfg(test)]
mod end_tests;
#[cfg(test)]
mod fifo_random_tests;
#[cfg(test)]
mod fifo_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;

pub use channel::State;
pub use delivery::Send;
pub use op::{Environment, close_all, op};
pub use table::{Closed, Table};
pub use vcpu_info::VcpuInfoRef;

/// Ports that a domain can have at most, with either scheme.
pub const MAX_PORTS: u32 = 4096;

/// vCPUs that can receive events.
pub const MAX_VCPUS: usize = xen_abi::xen::XEN_LEGACY_MAX_VCPUS;

/// What the deliverer of an event still has to do, after it has unlocked the table.
#[must_use = "the guest waits for it"]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notify {
    /// This vCPU's `evtchn_upcall_pending` has gone from 0 to 1: wake it, make it look.
    pub upcall: Option<u32>,
    /// This port has gone from clear to pending: wake the vCPUs that wait for it in `SCHEDOP_poll`.
    pub poll: Option<u32>,
}

impl Notify {
    /// Nothing to do.
    pub const NONE: Self = Self::new(None, None);

    /// Tells a vCPU, and those that poll a port.
    pub const fn new(upcall: Option<u32>, poll: Option<u32>) -> Self {
        Self { upcall, poll }
    }
}
