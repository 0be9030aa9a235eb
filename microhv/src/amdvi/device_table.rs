//! The device table of a PCI segment (2.2.2): one entry for each requester ID. All of them, because a unit need not check
//! the table's length, and what lies behind it must not be taken for entries.

use super::entries::{self, device};
use super::ivrs::Special;
use crate::iommu::remapper::Aim;
use crate::mm::{frames, phys};
use crate::types::{Mfn, PAGE_SIZE};
use core::sync::atomic::Ordering;

/// Bytes of an entry.
const ENTRY: usize = 32;
/// log2 of the table's pages.
const ORDER: u32 = 9;
/// Requester IDs.
const DEVICES: usize = 1 << 16;

/// A segment's table. Entries are independent of each other; an entry is changed under the lock of its device's unit.
#[derive(Clone, Copy, Debug)]
pub struct DeviceTable {
    /// The first of its frames.
    pub first: Mfn,
    /// A page without translations.
    empty: Mfn,
    intremap: bool,
}

impl DeviceTable {
    /// A table that blocks all DMA, and with `intremap` all interrupts except of a kind that firmware wants to pass
    /// from a special device. None: no memory.
    pub fn new<'a>(
        intremap: bool,
        specials: impl IntoIterator<Item = &'a Special>,
    ) -> Option<Self> {
        let this = Self {
            first: frames::alloc_zeroed(ORDER)?,
            empty: frames::alloc_zeroed(0)?,
            intremap,
        };
        for source_id in 0..DEVICES {
            this.block(source_id as u16, 0);
        }
        for special in specials {
            this.block(special.source_id, special.settings);
        }
        Some(this)
    }

    fn place(&self, source_id: u16, quarter: usize) -> (Mfn, usize) {
        let at = usize::from(source_id) * ENTRY + quarter * 8;
        (Mfn(self.first.0 + (at / PAGE_SIZE) as u64), at % PAGE_SIZE)
    }

    fn set(&self, source_id: u16, quarter: usize, value: u64) {
        let (frame, at) = self.place(source_id, quarter);
        phys::atomic_u64(frame, at).store(value, Ordering::SeqCst);
    }

    /// Quarter `quarter` of a device's entry.
    pub fn get(&self, source_id: u16, quarter: usize) -> u64 {
        let (frame, at) = self.place(source_id, quarter);
        phys::read_u64(frame, at)
    }

    fn block(&self, source_id: u16, settings: u8) {
        self.set(source_id, 0, device::blocked(self.empty));
        self.set(source_id, 1, device::domain(0, settings));
        if self.intremap {
            self.set(source_id, 2, device::interrupts_blocked(settings));
        }
    }

    /// Points a blocked device at the page table at `root`.
    pub fn attach(&self, source_id: u16, root: Mfn, domain: u16) {
        // The unit may read the entry at any time: nothing passes before the last write.
        self.set(source_id, 1, device::domain(domain, 0));
        self.set(source_id, 0, device::translated(root));
    }

    /// Blocks the device's DMA again.
    pub fn detach(&self, source_id: u16) {
        self.set(source_id, 0, device::blocked(self.empty));
        self.set(source_id, 1, device::domain(0, 0));
    }

    /// The device's table of interrupts, made at first use and kept. None: no memory, or no interrupt is remapped.
    fn interrupts(&self, source_id: u16) -> Option<Mfn> {
        let now = self.get(source_id, 2);
        if let Some(table) = device::interrupt_table(now) {
            return Some(table);
        }
        let table = self.intremap.then(|| frames::alloc_zeroed(0)).flatten()?;
        self.set(source_id, 2, device::interrupts_remapped(now, table));
        Some(table)
    }

    /// Lets the device raise the interrupt. None: no memory, or no interrupt is remapped.
    pub fn set_interrupt(&self, source_id: u16, aim: Aim) -> Option<()> {
        let table = self.interrupts(source_id)?;
        let entry = entries::interrupt(aim.vector, aim.apic_id);
        phys::atomic_u32(table, usize::from(aim.vector) * 4).store(entry, Ordering::SeqCst);
        Some(())
    }

    /// The device's interrupt `vector` no longer passes.
    pub fn clear_interrupt(&self, source_id: u16, vector: u16) {
        if let Some(table) = device::interrupt_table(self.get(source_id, 2)) {
            phys::atomic_u32(table, usize::from(vector & 0xff) * 4).store(0, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AIM: Aim = Aim {
        vector: 0x41,
        apic_id: 1,
    };

    #[test]
    fn everything_is_blocked_until_it_is_attached() {
        let ioapic = Special {
            unit: 0,
            ioapic: Some(0),
            source_id: 0xa0,
            settings: 0x01,
        };
        let table = DeviceTable::new(true, [&ioapic]).unwrap();
        let entry = |id| [0, 1, 2, 3].map(|quarter| table.get(id, quarter));
        let blocked = [device::blocked(table.empty), 0, 1, 0];
        for id in [0, 1, 0x18, 0x7f, 0x80, 0xffff] {
            assert_eq!(entry(id), blocked, "{id:#x}");
        }
        assert_eq!(entry(0xa0)[2], 1 | 1 << 56);
        table.attach(0x18, Mfn(0x1234), 5);
        assert_eq!(entry(0x18)[..2], [device::translated(Mfn(0x1234)), 5]);
        assert_eq!(entry(0x17), blocked);
        table.detach(0x18);
        assert_eq!(entry(0x18), blocked);
    }

    #[test]
    fn each_device_has_interrupts_of_its_own() {
        let table = DeviceTable::new(true, []).unwrap();
        table.set_interrupt(0x18, AIM).unwrap();
        table
            .set_interrupt(
                0x10,
                Aim {
                    vector: 0x42,
                    ..AIM
                },
            )
            .unwrap();
        let one = device::interrupt_table(table.get(0x18, 2)).unwrap();
        let other = device::interrupt_table(table.get(0x10, 2)).unwrap();
        assert_ne!(one, other);
        assert_eq!(phys::read_u32(one, 0x41 * 4), entries::interrupt(0x41, 1));
        assert_eq!(phys::read_u32(one, 0x42 * 4), 0);
        table.clear_interrupt(0x18, 0x41);
        assert_eq!(phys::read_u32(one, 0x41 * 4), 0);
        table.clear_interrupt(0x20, 0x41);
    }

    #[test]
    fn without_remapping_interrupts_pass() {
        let table = DeviceTable::new(false, []).unwrap();
        assert_eq!(table.get(0x18, 2), 0);
        assert!(table.set_interrupt(0x18, AIM).is_none());
    }
}
