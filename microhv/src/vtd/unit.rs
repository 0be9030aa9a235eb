//! One remapping unit: bringing it up with everything blocked, and the changes to its tables.

#[cfg(target_os = "none")]
use crate::arch::lapic::is_x2apic;
use crate::iommu::fault::BATCH;
use crate::iommu::ids::{self, Ids};
use crate::iommu::patience::wait_until;
use crate::iommu::ring::Ring;
use crate::iommu::{NO_MEMORY, NO_REGISTERS, STUCK};
use crate::mm::{frames, phys};
use crate::pci::Sbdf;
use crate::types::{Mfn, PAGE_SIZE};
use crate::vtd::cache;
use crate::vtd::dmar;
use crate::vtd::entries::{self, Entry, Fault, descriptor};
use crate::vtd::registers::{FaultStatus, Global, Registers};
use core::sync::atomic::Ordering;

/// Interrupt-remapping entries of a unit: one page of them.
pub const INTERRUPTS: usize = PAGE_SIZE / ENTRY;
const _: () = assert!(INTERRUPTS == ids::LIMIT);
/// IRTA.S for [`INTERRUPTS`] entries: 2^(S + 1).
const INTERRUPTS_SIZE: u8 = 7;
/// Bytes of a root, context or interrupt entry.
const ENTRY: usize = 16;
/// A unit that runs.
#[derive(Debug)]
pub struct Unit {
    /// Its registers.
    pub registers: Registers,
    /// The PCI segment it serves.
    pub segment: u16,
    root: Mfn,
    queue: Ring,
    /// Where interrupts are remapped, if they are.
    pub interrupt_table: Option<Mfn>,
    /// Its entries are for CPUs in x2APIC mode.
    pub x2apic: bool,
    /// Interrupt-remapping entries in use.
    used: Ids,
}

#[cfg(test)]
fn is_x2apic() -> bool {
    true
}

fn new_table() -> Option<Mfn> {
    let table = frames::alloc_zeroed(0)?;
    for offset in (0..PAGE_SIZE).step_by(64) {
        cache::written(table, offset);
    }
    Some(table)
}

/// Writes an entry so that hardware never sees half of a present one.
fn write_entry(table: Mfn, index: usize, entry: Entry) {
    let at = index * ENTRY;
    let low = phys::atomic_u64(table, at);
    let high = phys::atomic_u64(table, at + 8);
    low.store(0, Ordering::SeqCst);
    cache::written(table, at);
    high.store(entry.high, Ordering::SeqCst);
    cache::written(table, at);
    low.store(entry.low, Ordering::SeqCst);
    cache::written(table, at);
}

fn read_entry(table: Mfn, index: usize) -> Entry {
    let at = index * ENTRY;
    Entry {
        low: phys::read_u64(table, at),
        high: phys::read_u64(table, at + 8),
    }
}

impl Unit {
    /// Takes the unit over from firmware: all DMA blocked, and all interrupts if `intremap` and it can remap them.
    ///
    /// # Errors
    /// The unit is left as it was or with everything blocked.
    pub fn start(unit: &dmar::Unit, intremap: bool) -> Result<Self, &'static str> {
        let registers = Registers::map(unit.register_base).ok_or(NO_REGISTERS)?;
        let capabilities = registers.capabilities;
        if !capabilities.queued_invalidation() {
            return Err("IOMMU: the unit has no queued invalidation");
        }
        if capabilities.table_levels() & 0b110 == 0 {
            return Err("IOMMU: the unit knows neither 3- nor 4-level tables");
        }
        if !capabilities.coherent() {
            cache::needed();
        }
        registers.mask_fault_event();
        let root = new_table().ok_or(NO_MEMORY)?;
        let queue = Ring::new().ok_or(NO_MEMORY)?;
        let mut this = Self {
            registers,
            segment: unit.segment,
            root,
            queue,
            interrupt_table: None,
            x2apic: is_x2apic() && capabilities.extended_interrupt_mode(),
            used: Ids::ALL,
        };
        if registers.status().contains(Global::QIE) {
            // Firmware left a queue running; it belongs to nobody now.
            registers.turn_off(Global::QIE);
            let off = wait_until(|| !registers.status().contains(Global::QIE));
            off.then_some(()).ok_or(STUCK)?;
        }
        registers.set_queue(this.queue.frame.address());
        this.command(Global::QIE)?;
        registers.set_root_table(root.address());
        this.command(Global::SRTP)?;
        let all = [descriptor::CONTEXT_GLOBAL, descriptor::IOTLB_GLOBAL];
        this.queue.run(&registers, all).map_err(|_| STUCK)?;
        if intremap && capabilities.interrupt_remapping() {
            let table = new_table().ok_or(NO_MEMORY)?;
            registers.set_interrupt_table(table.address(), INTERRUPTS_SIZE, this.x2apic);
            this.command(Global::SIRTP)?;
            let all = [descriptor::INTERRUPT_GLOBAL];
            this.queue.run(&registers, all).map_err(|_| STUCK)?;
            this.command(Global::IRE)?;
            if registers.status().contains(Global::CFI) {
                registers.turn_off(Global::CFI);
            }
            this.interrupt_table = Some(table);
        }
        this.flush_write_buffer();
        this.command(Global::TE)?;
        if registers.protected_memory_off() {
            log::info!("IOMMU: firmware's protected memory regions are off now");
        }
        // What was recorded before is the firmware's affair.
        let mut old = heapless::Vec::new();
        this.take_faults(&mut old);
        Ok(this)
    }

    fn command(&self, bit: Global) -> Result<(), &'static str> {
        self.registers.command(bit);
        let done = wait_until(|| self.registers.status().contains(bit));
        done.then_some(()).ok_or(STUCK)
    }

    /// Makes changes of tables in memory visible to a unit with a write buffer (RWBF; old hardware).
    pub fn flush_write_buffer(&self) {
        if self.registers.capabilities.write_buffer_flush() {
            self.registers.command(Global::WBF);
            if !wait_until(|| !self.registers.status().contains(Global::WBF)) {
                panic!("IOMMU: the write buffer is never flushed");
            }
        }
    }

    /// Carries out invalidations and waits for them.
    ///
    /// # Panics
    /// If the unit does not: from then on devices could reach memory that has a new owner.
    pub fn invalidate(&mut self, batch: &[Entry]) {
        self.flush_write_buffer();
        if let Err(error) = self.queue.run(&self.registers, batch.iter().copied()) {
            panic!("IOMMU: invalidation failed ({error})");
        }
    }

    /// Lets the device's DMA through `context`, until [`Self::detach`]. None: no memory for the bus's table.
    pub fn attach(&mut self, sbdf: Sbdf, context: Entry) -> Option<()> {
        let bus = usize::from(sbdf.bus());
        let table = match entries::context_table_of(read_entry(self.root, bus)) {
            Some(table) => table,
            None => {
                let table = new_table()?;
                write_entry(self.root, bus, entries::root(table));
                table
            }
        };
        write_entry(table, usize::from(sbdf.devfn()), context);
        let did = (context.high >> 8) as u16;
        // Also for units that cache entries which are not present.
        self.invalidate(&[
            descriptor::context_device(0, sbdf.source_id()),
            descriptor::context_device(did, sbdf.source_id()),
            descriptor::iotlb_domain(did),
        ]);
        Some(())
    }

    /// Blocks the device's DMA; nothing of it is in flight when this returns.
    pub fn detach(&mut self, sbdf: Sbdf, did: u16) {
        let root = read_entry(self.root, usize::from(sbdf.bus()));
        if let Some(table) = entries::context_table_of(root) {
            write_entry(table, usize::from(sbdf.devfn()), Entry::default());
        }
        self.invalidate(&[
            descriptor::context_device(did, sbdf.source_id()),
            descriptor::iotlb_domain(did),
        ]);
    }

    /// Takes a free interrupt-remapping entry.
    #[must_use]
    pub fn take_interrupt(&mut self) -> Option<u16> {
        self.used.take()
    }

    /// Writes interrupt-remapping entry `index`.
    pub fn set_interrupt(&mut self, index: u16, entry: Entry) {
        if let Some(table) = self.interrupt_table
            && usize::from(index) < INTERRUPTS
        {
            write_entry(table, usize::from(index), entry);
            self.invalidate(&[descriptor::interrupt_index(index)]);
        }
    }

    /// Blocks interrupts through entry `index` and makes it free again.
    pub fn release_interrupt(&mut self, index: u16) {
        self.set_interrupt(index, Entry::default());
        self.used.give_back(index);
    }

    /// Takes recorded faults, oldest first, at most one batch; true if the unit lost some for lack of records.
    pub fn take_faults(&mut self, faults: &mut heapless::Vec<Fault, BATCH>) -> bool {
        let (_, count) = self.registers.capabilities.fault_records();
        let first = self.registers.first_fault();
        for step in 0..count {
            if faults.is_full() {
                return false;
            }
            let index = (first + step) % count;
            let Some(fault) = Fault::decode(self.registers.fault_record(index)) else {
                break;
            };
            self.registers.clear_fault_record(index);
            let _ = faults.push(fault);
        }
        let lost = self.registers.fault_status().contains(FaultStatus::PFO);
        self.registers
            .clear_fault_status(FaultStatus::PFO | FaultStatus::ICE | FaultStatus::ITE);
        lost
    }
}
