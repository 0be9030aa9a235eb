//! Interrupts of devices, remapped where the machine can.

use super::{accepts_no_intremap, intremap};
use crate::pci::Sbdf;
use crate::vtd::RemappedInterrupt;

/// A device's message-signalled interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceInterrupt {
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Remapped(RemappedInterrupt),
    /// The device's message goes to the CPU as it is.
    Plain {
        vector: u8,
        apic_id: u8,
    },
}

impl DeviceInterrupt {
    /// Gives `sbdf` an interrupt that arrives at `vector` of the CPU with xAPIC id `apic_id`. `upstream`: the bridges
    /// above the device. None: no remapping entry is free, or there is no remapping and the operator insists on it.
    #[must_use]
    pub fn new(sbdf: Sbdf, upstream: &[Sbdf], vector: u8, apic_id: u8) -> Option<Self> {
        if intremap() {
            let entry = RemappedInterrupt::for_device(sbdf, upstream)?;
            entry.aim(vector, apic_id);
            return Some(Self {
                kind: Kind::Remapped(entry),
            });
        }
        accepts_no_intremap().then_some(Self {
            kind: Kind::Plain { vector, apic_id },
        })
    }

    /// Address and data for the device's MSI or MSI-X entry (Intel SDM volume 3, 11.11).
    #[must_use]
    pub const fn message(&self) -> (u64, u32) {
        match self.kind {
            Kind::Remapped(entry) => entry.message(),
            Kind::Plain { vector, apic_id } => {
                (0xfee0_0000 | (apic_id as u64) << 12, vector as u32)
            }
        }
    }

    /// The interrupt no longer arrives.
    pub fn release(self) {
        if let Kind::Remapped(entry) = self.kind {
            entry.release();
        }
    }
}

/// The redirection-table entry for a pin of the I/O APIC with ACPI id `ioapic`, so that its interrupt arrives at `vector`
/// of the CPU with xAPIC id `apic_id`. None: interrupts are not remapped (or this I/O APIC's are not); the entry keeps
/// the ordinary format.
#[must_use]
pub fn remap_ioapic(
    ioapic: u8,
    vector: u8,
    apic_id: u8,
    level: bool,
    active_low: bool,
) -> Option<u64> {
    if !intremap() {
        return None;
    }
    let entry = RemappedInterrupt::for_ioapic(ioapic, level)?;
    entry.aim(vector, apic_id);
    Some(entry.redirection(vector, active_low, false))
}
