//! What the engine needs of its surroundings: rings, copies, scratch memory.

use crate::{deliver, transmit};
use core::time::Duration;
use xen_abi::grant_table::GnttabCopy;
use xen_abi::io::netif::NetifRxRequest;

/// The other end broke the ring's rules, or is gone: close the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken(pub &'static str);

/// Both rings of a port, backend's side.
pub trait Rings {
    /// Takes the next slot of the transmit ring.
    ///
    /// # Errors
    /// The ring's indexes are impossible.
    fn next_transmit(&mut self) -> Result<Option<[u8; transmit::SLOT]>, Broken>;
    /// Answers a transmit slot with a `NETIF_RSP_*` status.
    fn answer_transmit(&mut self, id: u16, status: i16);
    /// How many receive buffers wait.
    ///
    /// # Errors
    /// The ring's indexes are impossible.
    fn receive_buffers(&mut self) -> Result<u32, Broken>;
    /// Takes the next receive buffer.
    fn next_receive(&mut self) -> Option<NetifRxRequest>;
    /// Answers a receive buffer.
    fn answer_receive(&mut self, slot: &[u8; deliver::SLOT]);
    /// Publishes answers and notifies the other end if it wants that.
    fn flush(&mut self);
    /// True if transmit slots wait; else the other end will notify when there are.
    ///
    /// # Errors
    /// The ring's indexes are impossible.
    fn more_transmit(&mut self) -> Result<bool, Broken>;
    /// Asks the other end to notify when there are more than `have` receive buffers; true if there are already.
    ///
    /// # Errors
    /// The ring's indexes are impossible.
    fn more_receive(&mut self, have: u32) -> Result<bool, Broken>;
}

/// What the engine needs of the domain it runs in.
pub trait Host {
    /// Carries copies out; each has its own status afterwards.
    fn copy(&mut self, operations: &mut [GnttabCopy]);
    /// Frames of the scratch memory: [`SCRATCH_PAGES`] of them, in order.
    fn scratch_frame(&self, page: usize) -> u64;
    /// Reads scratch memory.
    fn read(&self, offset: usize, out: &mut [u8]);
    /// Writes scratch memory.
    fn write(&mut self, offset: usize, data: &[u8]);
    /// Monotonic time.
    fn now(&self) -> Duration;
    /// A frame for bridge0's own interface.
    fn local_frame(&mut self, frame: &[u8]);
}

/// Scratch: a page of headers, a whole packet as it came, and frames made of it.
pub const SCRATCH_PAGES: usize = 1 + PACKET_PAGES + FRAMES_PAGES;
const PACKET_PAGES: usize = 17;
const FRAMES_PAGES: usize = 20;
pub(super) const PACKET: usize = 4096;
pub(super) const FRAMES: usize = (1 + PACKET_PAGES) * 4096;
