//! Intel VT-d: DMA and interrupt remapping ("Virtualization Technology for Directed I/O" specification, revision 4.1;
//! section numbers in this folder are its).

mod cache;
mod dids;
mod dmar;
mod domain;
mod entries;
mod fault;
mod format;
mod queue;
mod registers;
mod unit;

pub use domain::DmaDomain;
pub use fault::{drain as drain_faults, enable as enable_fault_events};
pub use unit::UnitError;

use crate::pci::Sbdf;
use dids::Dids;
use dmar::Dmar;
use spin::{Mutex, Once};
use unit::Unit;

/// All units of the machine, running.
struct Vtd {
    dmar: Dmar,
    /// In the order of `dmar.units`.
    units: heapless::Vec<Mutex<Unit>, { dmar::MAX_UNITS }>,
    dids: Mutex<Dids>,
    /// Table levels that every unit supports.
    levels: u32,
    /// The largest leaf that every unit supports, as an order.
    largest_leaf: u32,
    caching_mode: bool,
    write_buffer_flush: bool,
    intremap: bool,
    debug: bool,
}

static VTD: Once<Vtd> = Once::new();

fn instance() -> Option<&'static Vtd> {
    VTD.get()
}

/// What the operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// Remap interrupts where possible.
    pub intremap: bool,
    /// Use large pages.
    pub superpages: bool,
    /// Say more.
    pub verbose: bool,
    /// Say everything: each fault, each device that is attached or detached.
    pub debug: bool,
}

/// Takes over all units that the DMAR table names, with all DMA blocked.
///
/// # Errors
/// A sentence: the table or a unit is unusable.
pub fn init(table: &[u8], wishes: Wishes) -> Result<(), &'static str> {
    let dmar = dmar::parse(table).map_err(dmar::DmarError::sentence)?;
    if dmar.truncated {
        log::warn!(
            "VT-d: the DMAR table is malformed or too long; what it says about some devices is not known"
        );
    }
    let mut vtd = Vtd {
        units: heapless::Vec::new(),
        dids: Mutex::new(Dids::new(0)),
        levels: 0,
        largest_leaf: if wishes.superpages { 18 } else { 0 },
        caching_mode: false,
        write_buffer_flush: false,
        intremap: wishes.intremap && dmar.intr_remap,
        debug: wishes.debug,
        dmar,
    };
    if wishes.verbose {
        let bits = vtd.dmar.host_address_width;
        let scopes = vtd.dmar.scopes.len();
        log::info!("VT-d: the machine decodes {bits} address bits; {scopes} device scopes");
    }
    let mut ids = u32::MAX;
    let mut levels = u8::MAX;
    for described in &vtd.dmar.units {
        let unit = Unit::start(described, vtd.intremap).map_err(UnitError::sentence)?;
        let capabilities = unit.registers().capabilities();
        let (major, minor) = unit.registers().version();
        log::info!(
            "VT-d: unit at {:#x}, version {major}.{minor}, cap {:#x} ecap {:#x}",
            described.register_base,
            capabilities.cap,
            capabilities.ecap
        );
        if wishes.verbose {
            log::info!(
                "VT-d:   {} address bits, {} domain ids, caching mode {}, coherent walks {}, interrupts remapped {}",
                capabilities.address_bits(),
                capabilities.domain_ids(),
                capabilities.caching_mode(),
                capabilities.coherent(),
                unit.remaps_interrupts()
            );
        }
        ids = ids.min(capabilities.domain_ids());
        levels &= capabilities.table_levels();
        vtd.largest_leaf = vtd.largest_leaf.min(capabilities.largest_leaf());
        vtd.caching_mode |= capabilities.caching_mode();
        vtd.write_buffer_flush |= capabilities.write_buffer_flush();
        vtd.intremap &= unit.remaps_interrupts();
        // MAX_UNITS of both lists is the same.
        let _ = vtd.units.push(Mutex::new(unit));
    }
    vtd.levels = match levels {
        _ if levels & 0b100 != 0 => 4,
        _ if levels & 0b010 != 0 => 3,
        _ => return Err("IOMMU: the units have no table format in common"),
    };
    vtd.dids = Mutex::new(Dids::new(ids));
    for sbdf in &vtd.dmar.reserved {
        log::info!("VT-d: firmware reserves memory for {sbdf}; it cannot be assigned");
    }
    VTD.call_once(|| vtd);
    Ok(())
}

/// Interrupts are remapped, so an assigned device cannot raise any but its own.
#[must_use]
pub fn intremap() -> bool {
    instance().is_some_and(|vtd| vtd.intremap)
}

/// Firmware may use the device's DMA for itself (RMRR).
#[must_use]
pub fn is_reserved(sbdf: Sbdf) -> bool {
    instance().is_some_and(|vtd| vtd.dmar.reserved.contains(&sbdf))
}

/// The operator wants to know everything (`iommu=debug`).
fn debug() -> bool {
    instance().is_some_and(|vtd| vtd.debug)
}

/// An interrupt-remapping entry in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemappedInterrupt {
    unit: usize,
    index: u16,
    source_id: u16,
    level: bool,
}

impl RemappedInterrupt {
    fn take(unit: usize, source_id: u16, level: bool) -> Option<Self> {
        let index = instance()?.units.get(unit)?.lock().take_interrupt()?;
        Some(Self {
            unit,
            index,
            source_id,
            level,
        })
    }

    /// An entry for a device's message-signalled interrupts.
    #[must_use]
    pub fn for_device(sbdf: Sbdf, upstream: &[Sbdf]) -> Option<Self> {
        let unit = instance()?.dmar.unit_of(sbdf, upstream)?;
        Self::take(unit, sbdf.source_id(), false)
    }

    /// An entry for a pin of the I/O APIC with ACPI id `id`.
    #[must_use]
    pub fn for_ioapic(id: u8, level: bool) -> Option<Self> {
        let (unit, source_id) = instance()?.dmar.ioapic(id)?;
        Self::take(unit, source_id, level)
    }

    /// Sends the interrupt to `vector` of the CPU with xAPIC id `apic_id`.
    pub fn aim(&self, vector: u8, apic_id: u8) {
        self.write(entries::interrupt(
            self.source_id,
            vector,
            apic_id,
            self.level,
        ));
    }

    fn write(&self, entry: entries::Entry) {
        if let Some(unit) = instance().and_then(|vtd| vtd.units.get(self.unit)) {
            unit.lock().set_interrupt(self.index, entry);
        }
    }

    /// Address and data for the device's message.
    #[must_use]
    pub const fn message(&self) -> (u64, u32) {
        entries::remappable_msi(self.index)
    }

    /// The I/O APIC's redirection entry.
    #[must_use]
    pub const fn redirection(&self, vector: u8, active_low: bool, masked: bool) -> u64 {
        entries::remappable_rte(self.index, vector, self.level, active_low, masked)
    }

    /// Blocks the interrupt; the entry is free again.
    pub fn release(self) {
        if let Some(unit) = instance().and_then(|vtd| vtd.units.get(self.unit)) {
            unit.lock().release_interrupt(self.index);
        }
    }
}
