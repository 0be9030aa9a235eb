//! One unit: bringing it up with everything blocked, and the changes to its tables.

use super::device_table::DeviceTable;
use super::entries::Command;
use super::events::{Event, EventLog};
use super::ivrs;
use super::registers::{Control, Registers, Status};
use crate::iommu::fault::BATCH;
use crate::iommu::patience::wait_until;
use crate::iommu::remapper::Aim;
use crate::iommu::ring::Ring;
use crate::iommu::{NO_MEMORY, NO_REGISTERS, STUCK, plain_message};
use crate::pci::{self, Sbdf};
use crate::types::{Gfn, Mfn};

/// A unit that runs.
#[derive(Debug)]
pub struct Unit {
    /// Its registers.
    pub registers: Registers,
    /// Its PCI function, whose segment is that of its devices.
    pub sbdf: Sbdf,
    table: DeviceTable,
    commands: Ring,
    events: EventLog,
}

impl Unit {
    /// Takes the unit over from firmware, with what `table` says.
    ///
    /// # Errors
    /// The unit is left as it was or with everything blocked.
    pub fn start(described: &ivrs::Unit, table: DeviceTable) -> Result<Self, &'static str> {
        let registers = Registers::map(described.register_base).ok_or(NO_REGISTERS)?;
        let commands = Ring::new().ok_or(NO_MEMORY)?;
        let events = EventLog::new().ok_or(NO_MEMORY)?;
        let running = Status::CMD_BUF_RUN | Status::EVENT_LOG_RUN;
        registers.set_control(Control::empty());
        if !wait_until(|| !registers.status().intersects(running)) {
            return Err(STUCK);
        }
        registers.set_tables(table.first, commands.frame, events.frame);
        registers.clear_status(Status::all() - running);
        let control = Control::wanted(described.flags)
            | Control::COHERENT
            | Control::EVENT_LOG_EN
            | Control::CMD_BUF_EN;
        registers.set_control(control);
        registers.set_control(control | Control::IOMMU_EN);
        if !wait_until(|| registers.status().contains(running)) {
            return Err(STUCK);
        }
        let mut this = Self {
            registers,
            sbdf: described.sbdf,
            table,
            commands,
            events,
        };
        let forgotten = if registers.invalidates_all() {
            this.commands.run(&registers, [Command::ALL])
        } else {
            let each = |id| [Command::device(id), Command::interrupts(id)];
            this.commands.run(&registers, (0..=u16::MAX).flat_map(each))
        };
        forgotten.map_err(|_| STUCK)?;
        Ok(this)
    }

    /// Carries out commands and waits for them.
    ///
    /// # Panics
    /// If the unit does not: from then on devices could reach memory that has a new owner.
    fn run(&mut self, batch: impl IntoIterator<Item = Command>) {
        if let Err(error) = self.commands.run(&self.registers, batch) {
            panic!("IOMMU: invalidation failed ({error})");
        }
    }

    /// Lets the device's DMA through the table at `root`, until [`Self::detach`].
    pub fn attach(&mut self, source_id: u16, root: Mfn, domain: u16) {
        self.table.attach(source_id, root, domain);
        self.run([Command::device(source_id), Command::domain(domain)]);
    }

    /// Blocks the device's DMA; nothing of it is in flight when this returns.
    pub fn detach(&mut self, source_id: u16, domain: u16) {
        self.table.detach(source_id);
        self.run([Command::device(source_id), Command::domain(domain)]);
    }

    /// Forgets translations of a domain: all, or those of ranges of `2^order` frames.
    pub fn invalidate(&mut self, domain: u16, ranges: Option<&[(Gfn, u32)]>) {
        match ranges {
            Some(ranges) => {
                let pages =
                    |(gfn, order): &(Gfn, u32)| Command::pages(domain, gfn.address(), *order);
                self.run(ranges.iter().map(pages));
            }
            None => self.run([Command::domain(domain)]),
        }
    }

    /// Lets a device raise an interrupt. None: no memory, or no interrupt is remapped.
    pub fn set_interrupt(&mut self, source_id: u16, aim: Aim) -> Option<()> {
        self.table.set_interrupt(source_id, aim)?;
        self.run([Command::device(source_id), Command::interrupts(source_id)]);
        Some(())
    }

    /// A device's interrupt `vector` no longer passes.
    pub fn clear_interrupt(&mut self, source_id: u16, vector: u16) {
        self.table.clear_interrupt(source_id, vector);
        self.run([Command::interrupts(source_id)]);
    }

    /// Has events signalled; false if the unit cannot.
    pub fn set_fault_event(&mut self, aim: Aim) -> bool {
        // Some units remap their own interrupts. With the vector as the index, it is the same message.
        let _ = self.set_interrupt(self.sbdf.source_id(), aim);
        let (address, data) = plain_message(aim);
        if !pci::set_message(self.sbdf, address, data) {
            return false;
        }
        let control = self.registers.control();
        self.registers.set_control(control | Control::EVENT_INT_EN);
        true
    }

    /// Takes events, oldest first, as many as fit; true if some were lost.
    pub fn take_events(&mut self, events: &mut heapless::Vec<Event, BATCH>) -> bool {
        self.events.take(&self.registers, events)
    }
}
