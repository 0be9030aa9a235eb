//! Intel VT-d: DMA and interrupt remapping ("Virtualization Technology for Directed I/O" specification, revision 4.1;
//! section numbers in this folder are its).

mod cache;
mod dmar;
mod entries;
mod fault;
mod format;
mod registers;
mod unit;

use crate::iommu::PENDING;
use crate::iommu::ids::Ids;
use crate::iommu::remapper::{Aim, Remapped, Remapper};
use crate::paging::Format;
use crate::pci::Sbdf;
use crate::types::{Gfn, Mfn};
use config::xen_cmdline::Iommu;
use dmar::Dmar;
use entries::descriptor;
use format::SecondLevel;
use spin::{Mutex, Once};
use unit::Unit;
use xen_abi::Errno;

/// All units of the machine, running.
struct Vtd {
    dmar: Dmar,
    /// In the order of `dmar.units`.
    units: heapless::Vec<Mutex<Unit>, { dmar::MAX_UNITS }>,
    ids: Mutex<Ids>,
    /// What every unit supports.
    format: SecondLevel,
    caching_mode: bool,
    write_buffer_flush: bool,
    intremap: bool,
}

static VTD: Once<Vtd> = Once::new();

/// Takes over all units that the DMAR table names, with all DMA blocked.
///
/// # Errors
/// A sentence: the table or a unit is unusable.
pub fn init(table: &[u8], options: &Iommu) -> Result<&'static dyn Remapper, &'static str> {
    let dmar = dmar::parse(table)?;
    if dmar.truncated {
        log::warn!(
            "VT-d: the DMAR table is malformed or too long; what it says about some devices is not known"
        );
    }
    let mut vtd = Vtd {
        units: heapless::Vec::new(),
        ids: Mutex::new(Ids::new(0)),
        format: SecondLevel {
            levels: 0,
            leaf_levels: if options.superpages { 3 } else { 1 },
        },
        caching_mode: false,
        write_buffer_flush: false,
        intremap: options.intremap && dmar.intr_remap,
        dmar,
    };
    if options.verbose {
        let bits = vtd.dmar.host_address_width;
        let scopes = vtd.dmar.scopes.len();
        log::info!("VT-d: the machine decodes {bits} address bits; {scopes} device scopes");
    }
    let mut ids = u32::MAX;
    let mut levels = u8::MAX;
    for described in &vtd.dmar.units {
        let unit = Unit::start(described, vtd.intremap)?;
        let capabilities = unit.registers.capabilities;
        let (major, minor) = unit.registers.version();
        log::info!(
            "VT-d: unit at {:#x}, version {major}.{minor}, cap {:#x} ecap {:#x}",
            described.register_base,
            capabilities.cap,
            capabilities.ecap
        );
        if options.verbose {
            log::info!(
                "VT-d:   {} address bits, {} domain ids, caching mode {}, coherent walks {}, interrupts remapped {}, to x2APICs {}",
                capabilities.address_bits(),
                capabilities.domain_ids(),
                capabilities.caching_mode(),
                capabilities.coherent(),
                unit.interrupt_table.is_some(),
                unit.x2apic
            );
        }
        ids = ids.min(capabilities.domain_ids());
        levels &= capabilities.table_levels();
        vtd.format.leaf_levels = vtd.format.leaf_levels.min(capabilities.leaf_levels());
        vtd.caching_mode |= capabilities.caching_mode();
        vtd.write_buffer_flush |= capabilities.write_buffer_flush();
        vtd.intremap &= unit.interrupt_table.is_some();
        // MAX_UNITS of both lists is the same.
        let _ = vtd.units.push(Mutex::new(unit));
    }
    vtd.format.levels = match levels {
        _ if levels & 0b100 != 0 => 4,
        _ if levels & 0b010 != 0 => 3,
        _ => return Err("IOMMU: the units have no table format in common"),
    };
    vtd.ids = Mutex::new(Ids::new(ids));
    for sbdf in &vtd.dmar.reserved {
        log::info!("VT-d: firmware reserves memory for {sbdf}; it cannot be assigned");
    }
    Ok(VTD.call_once(|| vtd))
}

impl Vtd {
    fn with<T>(&self, unit: usize, f: impl FnOnce(&mut Unit) -> T) -> Option<T> {
        self.units.get(unit).map(|unit| f(&mut unit.lock()))
    }
}

impl Remapper for Vtd {
    fn intremap(&self) -> bool {
        self.intremap
    }

    fn is_reserved(&self, sbdf: Sbdf) -> bool {
        self.dmar.reserved.contains(&sbdf)
    }

    fn format(&self) -> &dyn Format {
        &self.format
    }

    fn ids(&self) -> &Mutex<Ids> {
        &self.ids
    }

    fn unit_of(&self, sbdf: Sbdf, upstream: &[Sbdf]) -> Option<usize> {
        self.dmar.unit_of(sbdf, upstream)
    }

    fn attach(&self, unit: usize, sbdf: Sbdf, root: Mfn, id: u16) -> Result<(), Errno> {
        // AW: 1 for 3 levels, 2 for 4.
        let context = entries::context(root, (self.format.levels - 2) as u8, id);
        self.with(unit, |unit| unit.attach(sbdf, context))
            .ok_or(Errno::ENODEV)?
            .ok_or(Errno::ENOMEM)
    }

    fn detach(&self, unit: usize, sbdf: Sbdf, id: u16) {
        self.with(unit, |unit| unit.detach(sbdf, id));
    }

    fn invalidate(&self, unit: usize, id: u16, ranges: Option<&[(Gfn, u32)]>) {
        self.with(unit, |unit| {
            let largest = unit.registers.capabilities.page_selective();
            let mut batch: heapless::Vec<entries::Entry, PENDING> = heapless::Vec::new();
            let pages = ranges.is_some_and(|ranges| {
                ranges.iter().all(|(gfn, order)| {
                    let pages = descriptor::iotlb_pages(id, gfn.address(), *order);
                    largest.is_some_and(|largest| *order <= largest) && batch.push(pages).is_ok()
                })
            });
            if !pages {
                batch.clear();
                let _ = batch.push(descriptor::iotlb_domain(id));
            }
            unit.invalidate(&batch);
        });
    }

    fn caches_absent(&self) -> bool {
        self.caching_mode
    }

    fn mapped(&self, unit: usize) {
        if self.write_buffer_flush {
            self.with(unit, |unit| unit.flush_write_buffer());
        }
    }

    fn interrupt(&self, sbdf: Sbdf, upstream: &[Sbdf], aim: Aim) -> Option<Remapped> {
        let unit = self.unit_of(sbdf, upstream)?;
        let index = self.entry(unit, sbdf.source_id(), aim, false)?;
        Some(Remapped {
            unit,
            source_id: sbdf.source_id(),
            index,
            message: entries::remappable_msi(index),
        })
    }

    fn release_interrupt(&self, interrupt: Remapped) {
        self.with(interrupt.unit, |unit| {
            unit.release_interrupt(interrupt.index)
        });
    }

    fn ioapic(&self, id: u8, aim: Aim, level: bool, active_low: bool) -> Option<Option<u64>> {
        let (unit, source_id) = self.dmar.ioapic(id)?;
        let index = self.entry(unit, source_id, aim, level)?;
        Some(Some(entries::remappable_rte(
            index, aim.vector, level, active_low,
        )))
    }

    fn set_fault_event(&self, aim: Aim) {
        for unit in &self.units {
            let registers = unit.lock().registers;
            registers.set_fault_event(aim.vector, aim.apic_id);
        }
    }

    fn drain_faults(&self) {
        self.units.iter().for_each(fault::drain);
    }
}

impl Vtd {
    /// A new interrupt-remapping entry.
    fn entry(&self, unit: usize, source_id: u16, aim: Aim, level: bool) -> Option<u16> {
        self.with(unit, |unit| {
            let (Aim { vector, apic_id }, x2apic) = (aim, unit.x2apic);
            let entry = entries::interrupt(source_id, vector, apic_id, level, x2apic);
            let index = unit.take_interrupt()?;
            unit.set_interrupt(index, entry);
            Some(index)
        })
        .flatten()
    }
}
