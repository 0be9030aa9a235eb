//! A QEMU machine: its command line ([`qemu`]), its serial console ([`serial`]) and how it ended ([`qmp`]);
//! its second serial port is the [`channel`] for commands. [`bochs`] is a machine of another emulator.

pub mod bochs;
pub mod channel;
pub mod iommu_options;
pub mod prompt;
pub mod qemu;
pub mod qmp;
pub mod serial;
pub mod terminal;
