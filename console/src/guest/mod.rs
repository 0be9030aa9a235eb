//! Guests: what Domain-0 remembers of them, how they are made, and what xenstore says of them.

mod context;
mod create;
mod entries;
mod kernel;
mod memory;

pub use context::cpu_record;
pub use create::{CreateError, Created, create, page_limit};
pub use entries::{
    Device, DomainEntries, Entry, domain_entries, extent_entries, vbd_entries, vif_entries,
};
pub use kernel::{Content, File, Kernel};
pub use memory::GuestWriter;

use alloc::string::String;
use alloc::vec::Vec;

use crate::pv_console::{Budget, History};
use xl_config::DomainConfig;

/// What Domain-0 remembers of another domain.
#[derive(Debug, Default)]
pub struct Guest {
    /// Its name.
    pub name: String,
    /// UUID.
    pub handle: [u8; 16],
    /// How it was made; `None` for boot-time domains.
    pub config: Option<DomainConfig>,
    /// File that the configuration came from.
    pub source: String,
    /// Its devices.
    pub devices: Vec<Device>,
    /// What it has printed on its console.
    pub history: History,
    /// How much of it was taken lately.
    pub budget: Budget,
    /// Whether its console is connected.
    pub console_open: bool,
    /// When it was made, in nanoseconds since the machine started.
    pub created: u64,
    /// Set once its shutdown was dealt with and it is kept (`preserve`), so that it is not dealt with again.
    pub settled: bool,
    /// Beginning of a line not yet logged.
    pub(crate) partial: Vec<u8>,
    /// Second in which `log_lines` were counted.
    pub(crate) log_second: u64,
    pub(crate) log_lines: u32,
}
