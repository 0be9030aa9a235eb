//! What Domain-0's logic needs from outside. `main.rs` implements these traits with hypercalls and shared
//! pages, the tests with a pretended machine.

mod control;
mod disk;
mod store;

pub use control::{Control, Version};
pub use disk::{Disk, DiskError, DiskOffer, Logging, SECTOR};
pub use store::{Permission, Store};

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use xen_abi::{DomId, Errno};

/// Why a guest's console cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsoleError {
    /// The hypervisor refused to map the page or bind the port.
    Refused(Errno),
    /// The guest wrote nonsense into its ring.
    Broken,
    /// There is no such console.
    Absent,
}

impl fmt::Display for ConsoleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(errno) => write!(f, "cannot connect the console: {errno}"),
            Self::Broken => f.write_str("the guest broke the ring's protocol"),
            Self::Absent => f.write_str("no console"),
        }
    }
}

/// The guests' PV consoles, of which Domain-0 is the backend.
pub trait Consoles {
    /// Maps the console page of `domid` (grant reference 0) and binds its `port`.
    ///
    /// # Errors
    /// When the hypervisor refuses.
    fn console_open(&mut self, domid: DomId, port: u32) -> Result<(), ConsoleError>;

    /// Lets go of the page and the port; no error if there is no such console.
    fn console_close(&mut self, domid: DomId);

    /// Takes what the guest has written.
    ///
    /// # Errors
    /// When the ring is broken or there is no such console.
    fn console_take(&mut self, domid: DomId) -> Result<Vec<u8>, ConsoleError>;

    /// Gives the guest as much of `input` as its ring has room for; says how much that was.
    ///
    /// # Errors
    /// When the ring is broken or there is no such console.
    fn console_put(&mut self, domid: DomId, input: &[u8]) -> Result<usize, ConsoleError>;
}

/// Something has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// Bytes wait at the operator's console.
    pub input: bool,
    /// A guest's console has output, or room for input.
    pub consoles: bool,
    /// A domain has shut down or died.
    pub domains: bool,
    /// A watched node has changed.
    pub store: bool,
    /// The line to the host has bytes, or room for some.
    pub channel: bool,
}

/// The operator's console, time, and waiting.
pub trait Machine {
    /// Shows bytes to the operator.
    fn print(&mut self, bytes: &[u8]);

    /// Takes what the operator has typed.
    fn typed(&mut self) -> Vec<u8>;

    /// Nanoseconds since the machine started.
    fn now(&mut self) -> u64;

    /// Waits until something happens or `deadline` (as [`Machine::now`] counts) has come.
    fn wait(&mut self, deadline: Option<u64>) -> Events;

    /// 64 bits that differ from call to call and boot to boot, for UUIDs and MAC addresses.
    fn random(&mut self) -> u64;
}

/// The second serial port, on which the host gives commands.
pub trait Channel {
    /// Takes what came in; if that is not all, [`Events::channel`] says so.
    fn channel_receive(&mut self) -> Vec<u8> {
        Vec::new()
    }

    /// Sends from the front of `output`; [`Events::channel`] says when there is room for what is left. Without such a line
    /// all is lost.
    fn channel_send(&mut self, output: &mut VecDeque<u8>) {
        output.clear();
    }
}

/// Everything outside.
pub trait Host: Control + Store + Consoles + Machine + Logging + Channel {}

impl<T: Control + Store + Consoles + Machine + Logging + Channel> Host for T {}
