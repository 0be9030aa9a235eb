//! What one domain's devices may reach: a second-level table and the units that use it.

use super::{Vtd, debug, entries, entries::descriptor, format, instance, unit::UnitError};
use crate::paging::{Access, Error as TableError, MemoryType, Table};
use crate::pci::Sbdf;
use crate::types::{Gfn, Mfn};

/// Page-selective invalidations collected before the whole domain is invalidated instead.
const PENDING: usize = 16;
/// Devices of one domain.
const MAX_DEVICES: usize = 16;

/// One domain's DMA address space.
pub struct DmaDomain {
    table: Table,
    did: u16,
    /// Context entry's AW: 1 for 3 levels, 2 for 4.
    address_width: u8,
    /// The devices that use the table, with the index of their unit.
    devices: heapless::Vec<(Sbdf, usize), MAX_DEVICES>,
    pending: heapless::Vec<(Gfn, u32), PENDING>,
    overflow: bool,
}

impl DmaDomain {
    /// An empty address space: every DMA faults.
    ///
    /// # Errors
    /// No memory, or no domain id is free.
    pub fn new() -> Result<Self, UnitError> {
        let vtd = instance().ok_or(UnitError::NoRegisters)?;
        let levels = vtd.levels;
        let table =
            Table::new(format::shape(levels, vtd.largest_leaf)).ok_or(UnitError::NoMemory)?;
        let did = vtd.dids.lock().take().ok_or(UnitError::NoMemory)?;
        Ok(Self {
            table,
            did,
            address_width: (levels - 2) as u8,
            devices: heapless::Vec::new(),
            pending: heapless::Vec::new(),
            overflow: false,
        })
    }

    /// Lets devices reach `2^order` frames at `gfn`; valid when it returns.
    ///
    /// # Errors
    /// See [`TableError`].
    pub fn map(
        &mut self,
        gfn: Gfn,
        mfn: Mfn,
        order: u32,
        access: Access,
    ) -> Result<(), TableError> {
        let old = self
            .table
            .map(gfn, mfn, order, access, MemoryType::WriteBack)?;
        let Some(vtd) = instance() else { return Ok(()) };
        if old.is_some() || vtd.caching_mode {
            // A replaced translation, or one whose absence may be cached.
            self.note(gfn, order);
            self.flush();
        } else if vtd.write_buffer_flush {
            self.for_each_unit(vtd, |unit| unit.flush_write_buffer());
        }
        Ok(())
    }

    /// Takes `2^order` frames at `gfn` away from devices. In force after [`Self::flush`].
    ///
    /// Never fails: where a large page cannot be split for lack of memory, all of it is taken away.
    pub fn unmap(&mut self, gfn: Gfn, order: u32) {
        let end = gfn.0.saturating_add(1 << order);
        let mut at = gfn;
        while at.0 < end {
            match self.table.lookup(at) {
                None => {
                    if at == gfn && self.table.unmap(gfn, order).is_ok() {
                        return; // Nothing in the whole range.
                    }
                    at = Gfn(at.0 + 1);
                }
                Some(leaf) if leaf.order <= order => {
                    let whole = Gfn(at.0 >> leaf.order << leaf.order);
                    let _ = self.table.unmap(whole, leaf.order);
                    self.note(whole, leaf.order);
                    at = Gfn(whole.0 + (1 << leaf.order));
                }
                Some(leaf) => {
                    if self.table.unmap(at, order).is_err() {
                        let whole = Gfn(at.0 >> leaf.order << leaf.order);
                        let _ = self.table.unmap(whole, leaf.order);
                        log::warn!(
                            "IOMMU: no memory to split a large page; devices lose all of it"
                        );
                    }
                    // Splitting changed the shape of the table as well: invalidate the whole leaf.
                    self.note(Gfn(at.0 >> leaf.order << leaf.order), leaf.order);
                    return;
                }
            }
        }
    }

    fn note(&mut self, gfn: Gfn, order: u32) {
        if self.pending.push((gfn, order)).is_err() {
            self.overflow = true;
        }
    }

    /// Makes all unmappings so far effective: no device reaches, or still writes to, what was taken away.
    pub fn flush(&mut self) {
        if self.pending.is_empty() && !self.overflow {
            return;
        }
        let whole_domain = self.overflow;
        let ranges = core::mem::take(&mut self.pending);
        self.overflow = false;
        let did = self.did;
        let Some(vtd) = instance() else { return };
        self.for_each_unit(vtd, |unit| {
            let largest = unit.registers().capabilities().page_selective();
            let mut batch: heapless::Vec<entries::Entry, PENDING> = heapless::Vec::new();
            for (gfn, order) in &ranges {
                let fits = largest.is_some_and(|largest| *order <= largest);
                if whole_domain || !fits {
                    batch.clear();
                    let _ = batch.push(descriptor::iotlb_domain(did));
                    break;
                }
                let _ = batch.push(descriptor::iotlb_pages(did, gfn.address(), *order));
            }
            unit.invalidate(&batch);
        });
    }

    fn for_each_unit(&self, vtd: &Vtd, mut f: impl FnMut(&mut super::unit::Unit)) {
        for (index, unit) in vtd.units.iter().enumerate() {
            if self.devices.iter().any(|(_, of)| *of == index) {
                f(&mut unit.lock());
            }
        }
    }

    /// Points the device at this address space.
    ///
    /// # Errors
    /// No unit serves the device, or no memory.
    pub fn attach(&mut self, sbdf: Sbdf, upstream: &[Sbdf]) -> Result<(), UnitError> {
        let vtd = instance().ok_or(UnitError::NoRegisters)?;
        let index = vtd
            .dmar
            .unit_of(sbdf, upstream)
            .ok_or(UnitError::NoRegisters)?;
        let unit = vtd.units.get(index).ok_or(UnitError::NoRegisters)?;
        // First on the list, so that whatever gets attached is detached too.
        self.devices
            .push((sbdf, index))
            .map_err(|_| UnitError::NoMemory)?;
        let context = entries::context(self.table.root(), self.address_width, self.did);
        let attached = unit.lock().attach(sbdf, context);
        if vtd.debug {
            log::info!(
                "VT-d: {sbdf}: unit {index}, domain id {}, {}-level table at {:#x}: {}",
                self.did,
                vtd.levels,
                self.table.root().0 << 12,
                if attached.is_ok() {
                    "attached"
                } else {
                    "refused"
                }
            );
        }
        if attached.is_err() {
            self.devices.pop();
        }
        attached
    }

    /// Blocks the device's DMA; nothing of it is in flight when this returns.
    pub fn detach(&mut self, sbdf: Sbdf) {
        if let Some(at) = self.devices.iter().position(|(device, _)| *device == sbdf) {
            let (_, index) = self.devices.swap_remove(at);
            if let Some(unit) = instance().and_then(|vtd| vtd.units.get(index)) {
                unit.lock().detach(sbdf, self.did);
                if debug() {
                    log::info!("VT-d: {sbdf}: detached from domain id {}", self.did);
                }
            }
        }
    }
}

impl Drop for DmaDomain {
    fn drop(&mut self) {
        // The last detach leaves nothing cached under this id.
        while let Some((sbdf, _)) = self.devices.last().copied() {
            self.detach(sbdf);
        }
        if let Some(vtd) = instance() {
            vtd.dids.lock().give_back(self.did);
        }
    }
}
