//! AMD-Vi: DMA and interrupt remapping ("AMD I/O Virtualization Technology (IOMMU) Specification", 48882, revision 3.08;
//! section numbers in this folder are its).
//!
//! A device's table of interrupts is its own and indexed by the vector, which no two interrupts share. So a message
//! looks the same whether it is remapped or not, and there is nothing to allocate.

mod device_table;
mod entries;
mod events;
mod format;
mod ivrs;
mod registers;
mod unit;

use crate::iommu::ids::Ids;
use crate::iommu::remapper::{Aim, Remapped, Remapper};
use crate::iommu::{NO_MEMORY, plain_message};
use crate::paging::Format;
use crate::pci::Sbdf;
use crate::types::{Gfn, Mfn};
use config::xen_cmdline::Iommu;
use device_table::DeviceTable;
use format::HostTables;
use ivrs::Ivrs;
use spin::{Mutex, Once};
use unit::Unit;
use xen_abi::Errno;

/// All units of the machine, running.
struct AmdVi {
    ivrs: Ivrs,
    /// In the order of `ivrs.units`.
    units: heapless::Vec<Mutex<Unit>, { ivrs::MAX_UNITS }>,
    ids: Mutex<Ids>,
    format: HostTables,
    intremap: bool,
}

static AMDVI: Once<AmdVi> = Once::new();

/// Takes over all units that the IVRS table names, with all DMA blocked.
///
/// # Errors
/// A sentence: the table or a unit is unusable.
pub fn init(table: &[u8], options: &Iommu) -> Result<&'static dyn Remapper, &'static str> {
    let ivrs = ivrs::parse(table)?;
    if ivrs.truncated {
        log::warn!(
            "AMD-Vi: the IVRS table is malformed or too long; what it says about some devices is not known"
        );
    }
    let ioapics = ivrs.specials.iter().any(|special| special.ioapic.is_some());
    if options.intremap && !ioapics {
        log::warn!("AMD-Vi: the IVRS table names no I/O APIC, so interrupts cannot be remapped");
    }
    let intremap = options.intremap && ioapics;
    let mut units = heapless::Vec::new();
    let mut tables: heapless::Vec<(u16, DeviceTable), { ivrs::MAX_UNITS }> = heapless::Vec::new();
    for described in &ivrs.units {
        let segment = described.sbdf.segment();
        let known = tables.iter().find(|(of, _)| *of == segment);
        let table = match known {
            Some((_, table)) => *table,
            None => {
                let specials = ivrs
                    .specials
                    .iter()
                    .filter(|special| ivrs.units[special.unit].sbdf.segment() == segment);
                DeviceTable::new(intremap, specials).ok_or(NO_MEMORY)?
            }
        };
        let _ = tables.push((segment, table));
        let unit = Unit::start(described, table)?;
        log::info!(
            "AMD-Vi: unit {} at {:#x}, extended features {:#x}",
            described.sbdf,
            described.register_base,
            unit.registers.features()
        );
        // MAX_UNITS of both lists is the same.
        let _ = units.push(Mutex::new(unit));
    }
    if options.verbose {
        let (ranges, specials) = (ivrs.ranges.len(), ivrs.specials.len());
        log::info!("AMD-Vi: {ranges} ranges of devices, {specials} special devices");
    }
    for (first, last) in &ivrs.reserved {
        let (first, last) = (Sbdf((*first).into()), Sbdf((*last).into()));
        log::info!(
            "AMD-Vi: firmware reserves memory for {first} to {last}; they cannot be assigned"
        );
    }
    Ok(AMDVI.call_once(|| AmdVi {
        ivrs,
        units,
        ids: Mutex::new(Ids::new(1 << 16)),
        format: HostTables {
            superpages: options.superpages,
        },
        intremap,
    }))
}

impl AmdVi {
    fn with<T>(&self, unit: usize, f: impl FnOnce(&mut Unit) -> T) -> Option<T> {
        self.units.get(unit).map(|unit| f(&mut unit.lock()))
    }
}

impl Remapper for AmdVi {
    fn intremap(&self) -> bool {
        self.intremap
    }

    fn is_reserved(&self, sbdf: Sbdf) -> bool {
        self.ivrs.is_reserved(sbdf)
    }

    fn format(&self) -> &dyn Format {
        &self.format
    }

    fn ids(&self) -> &Mutex<Ids> {
        &self.ids
    }

    fn unit_of(&self, sbdf: Sbdf, _upstream: &[Sbdf]) -> Option<usize> {
        self.ivrs.unit_of(sbdf)
    }

    fn attach(&self, unit: usize, sbdf: Sbdf, root: Mfn, id: u16) -> Result<(), Errno> {
        self.with(unit, |unit| unit.attach(sbdf.source_id(), root, id))
            .ok_or(Errno::ENODEV)
    }

    fn detach(&self, unit: usize, sbdf: Sbdf, id: u16) {
        self.with(unit, |unit| unit.detach(sbdf.source_id(), id));
    }

    fn invalidate(&self, unit: usize, id: u16, ranges: Option<&[(Gfn, u32)]>) {
        self.with(unit, |unit| unit.invalidate(id, ranges));
    }

    fn interrupt(&self, sbdf: Sbdf, _upstream: &[Sbdf], aim: Aim) -> Option<Remapped> {
        let (unit, source_id) = (self.ivrs.unit_of(sbdf)?, sbdf.source_id());
        self.with(unit, |unit| unit.set_interrupt(source_id, aim))??;
        Some(Remapped {
            unit,
            source_id,
            index: aim.vector.into(),
            message: plain_message(aim),
        })
    }

    fn release_interrupt(&self, interrupt: Remapped) {
        self.with(interrupt.unit, |unit| {
            unit.clear_interrupt(interrupt.source_id, interrupt.index);
        });
    }

    fn ioapic(&self, id: u8, aim: Aim, _level: bool, _active_low: bool) -> Option<Option<u64>> {
        let (unit, source_id) = self.ivrs.ioapic(id)?;
        self.with(unit, |unit| unit.set_interrupt(source_id, aim))??;
        Some(None)
    }

    fn set_fault_event(&self, aim: Aim) {
        for unit in &self.units {
            if !unit.lock().set_fault_event(aim) {
                log::warn!("AMD-Vi: a unit cannot signal faults: they are not told");
            }
        }
    }

    fn drain_faults(&self) {
        self.units.iter().for_each(events::drain);
    }
}
