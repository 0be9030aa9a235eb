//! What the units of a vendor do for the rest of this folder.

use super::ids::Ids;
use crate::paging::Format;
use crate::pci::Sbdf;
use crate::types::{Gfn, Mfn};
use spin::Mutex;
use xen_abi::Errno;

/// Where an interrupt is to arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aim {
    /// The vector, which no other interrupt has.
    pub vector: u8,
    /// The CPU's xAPIC id.
    pub apic_id: u8,
}

/// An entry of a unit's interrupt-remapping table in a device's hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remapped {
    /// The unit, by its number.
    pub unit: usize,
    /// Requester ID of the device.
    pub source_id: u16,
    /// Number of the entry.
    pub index: u16,
    /// Address and data that the device must write.
    pub message: (u64, u32),
}

/// All units of the machine, running. Units have numbers from 0 on. A call that cannot be carried out for a reason that
/// lies in a unit is a panic: devices could reach memory with a new owner.
pub trait Remapper: Sync {
    /// Interrupts are remapped, so an assigned device cannot raise any but its own.
    fn intremap(&self) -> bool;
    /// The device must not be assigned: firmware may use its DMA for itself, or it is a unit.
    fn is_reserved(&self, sbdf: Sbdf) -> bool;
    /// How the tables for DMA are written.
    fn format(&self) -> &dyn Format;
    /// The domain ids that all units understand.
    fn ids(&self) -> &Mutex<Ids>;
    /// The unit that serves a device. `upstream`: the bridges above it, outermost first.
    fn unit_of(&self, sbdf: Sbdf, upstream: &[Sbdf]) -> Option<usize>;
    /// Lets the device's DMA through the table at `root`, whose translations are cached under `id`.
    ///
    /// # Errors
    /// `ENOMEM`, or `ENODEV` for no such unit.
    fn attach(&self, unit: usize, sbdf: Sbdf, root: Mfn, id: u16) -> Result<(), Errno>;
    /// Blocks the device's DMA; nothing of it is in flight when this returns, nothing cached under `id`.
    fn detach(&self, unit: usize, sbdf: Sbdf, id: u16);
    /// Forgets cached translations under `id`: all, or those of ranges of `2^order` frames.
    fn invalidate(&self, unit: usize, id: u16, ranges: Option<&[(Gfn, u32)]>);
    /// The absence of a translation may be cached too, so that [`Self::invalidate`] is due after mapping.
    fn caches_absent(&self) -> bool {
        false
    }
    /// An absent translation became a valid one.
    fn mapped(&self, unit: usize) {
        let _ = unit;
    }
    /// An entry for a message-signalled interrupt of the device. None: none is free, or no unit serves it.
    fn interrupt(&self, sbdf: Sbdf, upstream: &[Sbdf], aim: Aim) -> Option<Remapped>;
    /// The interrupt no longer arrives; its entry is free.
    fn release_interrupt(&self, interrupt: Remapped);
    /// Remaps a pin of the I/O APIC with ACPI id `id`. None: not possible, it stays as it is. Some: what the pin's
    /// redirection entry must be, or None again for the ordinary format.
    fn ioapic(&self, id: u8, aim: Aim, level: bool, active_low: bool) -> Option<Option<u64>>;
    /// Has faults signalled by an interrupt.
    fn set_fault_event(&self, aim: Aim);
    /// Reports faults recorded so far, by [`super::fault::report`]; bounded work.
    fn drain_faults(&self);
}
