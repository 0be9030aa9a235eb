//! A unit's registers (3.4), by name.

use super::entries::Command;
use crate::iommu::ring::Reader;
use crate::mm::Mmio;
use crate::types::Mfn;
use bitflags::bitflags;

/// Bytes of registers that are used here.
const SIZE: u64 = 0x4000;

mod offset {
    pub const DEVICE_TABLE_BASE: usize = 0x00;
    pub const COMMAND_BUFFER_BASE: usize = 0x08;
    pub const EVENT_LOG_BASE: usize = 0x10;
    pub const CONTROL: usize = 0x18;
    pub const EXCLUSION_BASE: usize = 0x20;
    pub const EXTENDED_FEATURE: usize = 0x30;
    pub const COMMAND_HEAD: usize = 0x2000;
    pub const COMMAND_TAIL: usize = 0x2008;
    pub const EVENT_HEAD: usize = 0x2010;
    pub const EVENT_TAIL: usize = 0x2018;
    pub const STATUS: usize = 0x2020;
}

/// The lengths of command buffer and event log, as a register has them: 2^8 entries of 16 bytes, a page.
const ONE_PAGE: u64 = 8 << 56;
/// Device table size: 512 pages.
const ALL_DEVICES: u64 = 511;
/// Extended features: INVALIDATE_IOMMU_ALL (IASup).
const INVALIDATE_ALL: u64 = 1 << 6;

bitflags! {
    /// The control register.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Control: u64 {
        /// The unit works; without it, everything passes.
        const IOMMU_EN = 1 << 0;
        /// HyperTransport tunnel.
        const HT_TUN_EN = 1 << 1;
        /// Events are logged.
        const EVENT_LOG_EN = 1 << 2;
        /// Events are signalled.
        const EVENT_INT_EN = 1 << 3;
        /// Pass posted writes.
        const PASS_PW = 1 << 8;
        /// Pass posted writes of responses.
        const RES_PASS_PW = 1 << 9;
        /// Tables are read through the caches.
        const COHERENT = 1 << 10;
        /// Isochronous reads of tables.
        const ISOC = 1 << 11;
        /// Commands are carried out.
        const CMD_BUF_EN = 1 << 12;
    }
}

impl Control {
    /// What firmware asks for in a unit's IVHD flags (5.2.2.1).
    pub fn wanted(flags: u8) -> Self {
        let wanted = [
            Self::HT_TUN_EN,
            Self::PASS_PW,
            Self::RES_PASS_PW,
            Self::ISOC,
        ];
        let bits = (0..).zip(wanted).filter(|(bit, _)| flags >> bit & 1 != 0);
        bits.map(|(_, control)| control).collect()
    }
}

bitflags! {
    /// The status register.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Status: u64 {
        /// Events were lost (write 1 to clear).
        const EVENT_OVERFLOW = 1 << 0;
        /// An event was signalled (write 1 to clear).
        const EVENT_LOG_INT = 1 << 1;
        /// A completion was signalled (write 1 to clear).
        const COM_WAIT_INT = 1 << 2;
        /// Events are being logged.
        const EVENT_LOG_RUN = 1 << 3;
        /// Commands are being carried out.
        const CMD_BUF_RUN = 1 << 4;
    }
}

/// The registers of one unit.
#[derive(Clone, Copy, Debug)]
pub struct Registers {
    mmio: Mmio,
}

/// Command buffer (2.4).
impl Reader for Registers {
    fn completion(status: Mfn, number: u32) -> Command {
        Command::completion_wait(status, number.into())
    }

    fn hand_over(&self, tail: u64) {
        self.mmio.write_u64(offset::COMMAND_TAIL, tail);
    }

    fn refuses(&self) -> bool {
        !self.status().contains(Status::CMD_BUF_RUN)
    }
}

impl Registers {
    /// Maps the unit's registers; None if they cannot be mapped or nothing answers.
    pub fn map(physical: u64) -> Option<Self> {
        let this = Self {
            mmio: Mmio::map(physical, SIZE)?,
        };
        (this.mmio.read_u64(offset::CONTROL) != u64::MAX).then_some(this)
    }

    /// Registers that are memory.
    #[cfg(test)]
    pub fn fake() -> Self {
        let memory = Box::leak(Box::new([0u64; SIZE as usize / 8]));
        Self {
            mmio: Mmio::fake(memory),
        }
    }

    /// The extended feature register, raw.
    pub fn features(&self) -> u64 {
        self.mmio.read_u64(offset::EXTENDED_FEATURE)
    }

    /// The unit has the command INVALIDATE_IOMMU_ALL.
    pub fn invalidates_all(&self) -> bool {
        self.features() & INVALIDATE_ALL != 0
    }

    /// What is on.
    pub fn control(&self) -> Control {
        Control::from_bits_retain(self.mmio.read_u64(offset::CONTROL))
    }

    /// Turns on exactly this.
    pub fn set_control(&self, control: Control) {
        self.mmio.write_u64(offset::CONTROL, control.bits());
    }

    /// The status.
    pub fn status(&self) -> Status {
        Status::from_bits_retain(self.mmio.read_u64(offset::STATUS))
    }

    /// Clears write-1-to-clear bits of the status.
    pub fn clear_status(&self, bits: Status) {
        self.mmio.write_u64(offset::STATUS, bits.bits());
    }

    /// Sets the tables' addresses, for a unit that does not run: a device table for all 65,536 devices, a page each
    /// for commands and events. No address range is left out of translation.
    pub fn set_tables(&self, devices: Mfn, commands: Mfn, events: Mfn) {
        let mmio = &self.mmio;
        mmio.write_u64(offset::DEVICE_TABLE_BASE, devices.address() | ALL_DEVICES);
        mmio.write_u64(offset::COMMAND_BUFFER_BASE, commands.address() | ONE_PAGE);
        mmio.write_u64(offset::COMMAND_HEAD, 0);
        mmio.write_u64(offset::COMMAND_TAIL, 0);
        mmio.write_u64(offset::EVENT_LOG_BASE, events.address() | ONE_PAGE);
        self.empty_event_log();
        mmio.write_u64(offset::EXCLUSION_BASE, 0);
    }

    /// Starts the event log anew, while it does not run.
    pub fn empty_event_log(&self) {
        self.mmio.write_u64(offset::EVENT_HEAD, 0);
        self.mmio.write_u64(offset::EVENT_TAIL, 0);
    }

    /// All events before byte offset `head` are read.
    pub fn set_event_head(&self, head: u64) {
        self.mmio.write_u64(offset::EVENT_HEAD, head);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firmwares_wishes_become_control_bits() {
        assert_eq!(Control::wanted(0xd1), Control::HT_TUN_EN);
        assert_eq!(Control::wanted(0x0f).bits(), 0xb02);
    }

    #[test]
    fn tables_are_told_with_their_sizes() {
        let registers = Registers::fake();
        registers.set_tables(Mfn(0x200), Mfn(5), Mfn(6));
        let read = |offset| registers.mmio.read_u64(offset);
        assert_eq!(read(0x00), 0x20_01ff);
        assert_eq!(read(0x08), 0x0800_0000_0000_5000);
        assert_eq!(read(0x10), 0x0800_0000_0000_6000);
    }
}
