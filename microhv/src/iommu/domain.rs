//! What one domain's devices may reach: a second-level table and the units that use it.

use super::remapper::Remapper;
use super::{chosen, debug};
use crate::paging::{Access, MemoryType, Table};
use crate::pci::Sbdf;
use crate::types::{Gfn, Mfn};
use xen_abi::Errno;

/// Page-selective invalidations collected before the whole domain is invalidated instead.
pub const PENDING: usize = 16;
/// Devices of one domain.
const MAX_DEVICES: usize = 16;

/// What one domain's devices may reach: the second-level table for DMA. Guest-physical addresses are DMA addresses.
/// Dropping it blocks its devices first.
pub struct IoDomain {
    remapper: &'static dyn Remapper,
    table: Table,
    /// What translations of the table are cached under.
    id: u16,
    /// The devices that use the table, with the index of their unit.
    devices: heapless::Vec<(Sbdf, usize), MAX_DEVICES>,
    pending: heapless::Vec<(Gfn, u32), PENDING>,
    overflow: bool,
}

impl IoDomain {
    /// An empty address space: every DMA faults.
    ///
    /// # Errors
    /// `ENODEV` without an IOMMU, `ENOMEM`.
    pub fn new() -> Result<Self, Errno> {
        let remapper = chosen().ok_or(Errno::ENODEV)?;
        let table = Table::new(remapper.format()).ok_or(Errno::ENOMEM)?;
        let id = remapper.ids().lock().take().ok_or(Errno::ENOMEM)?;
        Ok(Self {
            remapper,
            table,
            id,
            devices: heapless::Vec::new(),
            pending: heapless::Vec::new(),
            overflow: false,
        })
    }

    /// Lets devices reach `2^order` frames at `gfn`; in force when it returns.
    ///
    /// # Errors
    /// `ENOMEM`, or `EINVAL` for what devices cannot address. After an error the range may be mapped in part: unmap it.
    pub fn map(&mut self, gfn: Gfn, mfn: Mfn, order: u32, access: Access) -> Result<(), Errno> {
        // A part of a larger leaf splits that, so all of it is to be forgotten, as in `unmap`.
        let whole = self.table.lookup(gfn).map_or(0, |leaf| leaf.order);
        let old = self
            .table
            .map(gfn, mfn, order, access, MemoryType::WriteBack)?;
        if old.is_some() || self.remapper.caches_absent() {
            // A replaced translation, or one whose absence may be cached.
            let order = order.max(whole);
            self.note(Gfn(gfn.0 >> order << order), order);
            self.flush();
        } else {
            self.for_each_unit(|unit| self.remapper.mapped(unit));
        }
        Ok(())
    }

    /// Takes `2^order` frames at `gfn` away from devices. In force only after [`Self::flush`]: until then the
    /// frames must not get a new owner.
    ///
    /// Never fails: where a large page cannot be split for lack of memory, all of it is taken away.
    pub fn unmap(&mut self, gfn: Gfn, order: u32) {
        let end = gfn.0.saturating_add(1 << order);
        let mut at = gfn.0;
        while let Some((whole, leaf)) = self.table.next(at, end) {
            // A larger leaf is split, so that only what is asked for goes.
            let (from, size) = if leaf.order > order {
                (gfn, order)
            } else {
                (whole, leaf.order)
            };
            if self.table.unmap(from, size).is_err() {
                let _ = self.table.unmap(whole, leaf.order);
                log::warn!("IOMMU: no memory to split a large page; devices lose all of it");
            }
            // Splitting changed the shape of the table as well: invalidate the whole leaf.
            self.note(whole, leaf.order);
            at = whole.0 + (1 << leaf.order);
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
        let ranges = (!self.overflow).then_some(self.pending.as_slice());
        self.for_each_unit(|unit| self.remapper.invalidate(unit, self.id, ranges));
        self.pending.clear();
        self.overflow = false;
    }

    /// Calls `f` once for each unit that serves one of the devices.
    fn for_each_unit(&self, mut f: impl FnMut(usize)) {
        for (at, (_, unit)) in self.devices.iter().enumerate() {
            if !self.devices[..at].iter().any(|(_, before)| before == unit) {
                f(*unit);
            }
        }
    }

    /// Points a device at this address space. `upstream`: the bridges above it, outermost first.
    ///
    /// # Errors
    /// No unit serves the device, or no memory.
    pub fn attach(&mut self, sbdf: Sbdf, upstream: &[Sbdf]) -> Result<(), Errno> {
        let unit = self.remapper.unit_of(sbdf, upstream).ok_or(Errno::ENODEV)?;
        // First on the list, so that whatever gets attached is detached too.
        self.devices.push((sbdf, unit)).map_err(|_| Errno::ENOMEM)?;
        let attached = self.remapper.attach(unit, sbdf, self.table.root(), self.id);
        if debug() {
            let (id, root) = (self.id, self.table.root().address());
            let how = if attached.is_ok() {
                "attached"
            } else {
                "refused"
            };
            log::info!("IOMMU: {sbdf}: unit {unit}, domain id {id}, table at {root:#x}: {how}");
        }
        if attached.is_err() {
            self.devices.pop();
        }
        attached
    }

    /// Blocks the device's DMA; nothing of it is in flight when this returns.
    pub fn detach(&mut self, sbdf: Sbdf) {
        if let Some(at) = self.devices.iter().position(|(device, _)| *device == sbdf) {
            let (_, unit) = self.devices.swap_remove(at);
            self.remapper.detach(unit, sbdf, self.id);
            if debug() {
                log::info!("IOMMU: {sbdf}: detached from domain id {}", self.id);
            }
        }
    }
}

impl Drop for IoDomain {
    fn drop(&mut self) {
        // The last detach leaves nothing cached under this id.
        while let Some((sbdf, _)) = self.devices.last().copied() {
            self.detach(sbdf);
        }
        self.remapper.ids().lock().give_back(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iommu::ids::Ids;
    use crate::iommu::remapper::{Aim, Remapped};
    use crate::npt::NPT;
    use crate::paging::Format;
    use spin::Mutex;
    use std::vec::Vec;

    /// One unit, which remembers what it is told to forget.
    struct Unit {
        ids: Mutex<Ids>,
        forgotten: Mutex<Vec<(Gfn, u32)>>,
    }

    impl Remapper for Unit {
        fn intremap(&self) -> bool {
            true
        }
        fn is_reserved(&self, _: Sbdf) -> bool {
            false
        }
        fn format(&self) -> &dyn Format {
            &NPT
        }
        fn ids(&self) -> &Mutex<Ids> {
            &self.ids
        }
        fn unit_of(&self, _: Sbdf, _: &[Sbdf]) -> Option<usize> {
            Some(0)
        }
        fn attach(&self, _: usize, _: Sbdf, _: Mfn, _: u16) -> Result<(), Errno> {
            Ok(())
        }
        fn detach(&self, _: usize, _: Sbdf, _: u16) {}
        fn invalidate(&self, _: usize, _: u16, ranges: Option<&[(Gfn, u32)]>) {
            self.forgotten.lock().extend(ranges.unwrap());
        }
        fn interrupt(&self, _: Sbdf, _: &[Sbdf], _: Aim) -> Option<Remapped> {
            None
        }
        fn release_interrupt(&self, _: Remapped) {}
        fn ioapic(&self, _: u8, _: Aim, _: bool, _: bool) -> Option<Option<u64>> {
            None
        }
        fn set_fault_event(&self, _: Aim) {}
        fn drain_faults(&self) {}
    }

    #[test]
    fn a_page_in_place_of_a_part_of_a_large_one_has_all_of_that_forgotten() {
        let unit: &Unit = Box::leak(Box::new(Unit {
            ids: Mutex::new(Ids::new(8)),
            forgotten: Mutex::default(),
        }));
        let mut io = IoDomain {
            remapper: unit,
            table: Table::new(&NPT).unwrap(),
            id: unit.ids.lock().take().unwrap(),
            devices: heapless::Vec::new(),
            pending: heapless::Vec::new(),
            overflow: false,
        };
        io.attach(Sbdf::new(0, 3, 0), &[]).unwrap();
        io.map(Gfn(0x200), Mfn(0x400), 9, Access::ALL).unwrap();
        assert_eq!(*unit.forgotten.lock(), []);
        io.map(Gfn(0x234), Mfn(7), 0, Access::ALL).unwrap();
        io.map(Gfn(0x234), Mfn(8), 0, Access::ALL).unwrap();
        assert_eq!(*unit.forgotten.lock(), [(Gfn(0x200), 9), (Gfn(0x234), 0)]);
    }
}
