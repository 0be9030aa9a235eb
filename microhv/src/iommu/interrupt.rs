//! Interrupts of devices, remapped where the machine can.

use super::remapper::{Aim, Remapped};
use super::{accepts_no_intremap, chosen, intremap};
use crate::arch::ioapic::Route;
use crate::pci::Sbdf;

/// A device's message-signalled interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceInterrupt {
    /// Through a unit's table.
    Remapped(Remapped),
    /// The device's message goes to the CPU as it is.
    Plain(Aim),
}

/// Address and data of a message that is not remapped (Intel SDM volume 3, 11.11; AMD64 manual volume 2, 16.11.1).
pub const fn plain_message(aim: Aim) -> (u64, u32) {
    (0xfee0_0000 | (aim.apic_id as u64) << 12, aim.vector as u32)
}

impl DeviceInterrupt {
    /// Gives `sbdf` an interrupt that arrives at `vector` of the CPU with xAPIC id `apic_id`. `upstream`: the bridges
    /// above the device. None: no remapping entry is free, or there is no remapping and the operator insists on it.
    pub fn new(sbdf: Sbdf, upstream: &[Sbdf], vector: u8, apic_id: u8) -> Option<Self> {
        let aim = Aim { vector, apic_id };
        match chosen().filter(|_| intremap()) {
            Some(remapper) => remapper.interrupt(sbdf, upstream, aim).map(Self::Remapped),
            None => accepts_no_intremap().then_some(Self::Plain(aim)),
        }
    }

    /// Address and data for the device's MSI or MSI-X entry.
    pub const fn message(&self) -> (u64, u32) {
        match self {
            Self::Remapped(entry) => entry.message,
            Self::Plain(aim) => plain_message(*aim),
        }
    }

    /// The interrupt no longer arrives.
    pub fn release(self) {
        if let (Self::Remapped(entry), Some(remapper)) = (self, chosen()) {
            remapper.release_interrupt(entry);
        }
    }
}

/// The redirection-table entry for a pin of the I/O APIC with ACPI id `ioapic`, so that its interrupt arrives where
/// `route` says. None: the entry has the ordinary format, because interrupts are not remapped (or
/// this I/O APIC's are not), or because that is what the unit wants.
pub fn remap_ioapic(ioapic: u8, route: &Route) -> Option<u64> {
    let remapper = chosen().filter(|_| intremap())?;
    let aim = Aim {
        vector: route.vector,
        apic_id: route.apic_id,
    };
    let remapped = remapper.ioapic(ioapic, aim, route.level, route.active_low);
    if remapped.is_none() {
        log::warn!(
            "IOMMU: firmware does not say where I/O APIC {ioapic} is; its interrupts may not arrive"
        );
    }
    remapped.flatten()
}
