//! The ACPI IVRS table: which units exist, which devices are behind each, and where the I/O APICs are.
//!
//! AMD IOMMU specification, chapter 5. A block that does not fit ends the walk.

use crate::iommu::table::{self, u16_at, u64_at};
use crate::pci::Sbdf;
use heapless::Vec;

/// Units this build can drive; of more, the devices stay unassignable.
pub const MAX_UNITS: usize = 8;
/// Device ranges kept over all units.
pub const MAX_RANGES: usize = 256;
/// Special devices kept.
pub const MAX_SPECIALS: usize = 32;
/// Ranges of devices with reserved memory kept.
pub const MAX_RESERVED: usize = 16;

/// I/O virtualization memory definitions: for all devices, one, a range.
const IVMD: core::ops::RangeInclusive<u8> = 0x20..=0x22;

/// One unit (IVHD).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The unit's own PCI function.
    pub sbdf: Sbdf,
    /// Physical address of its registers.
    pub register_base: u64,
    /// What firmware wants in the control register: HtTunEn, PassPW, ResPassPW, Isoc.
    pub flags: u8,
}

/// Devices behind a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Index of the unit in [`Ivrs::units`].
    pub unit: usize,
    /// PCI segment.
    pub segment: u16,
    /// First requester ID.
    pub first: u16,
    /// Last requester ID.
    pub last: u16,
    /// Their requests carry another ID.
    pub alias: Option<u16>,
}

/// A device whose requests carry an ID that belongs to no PCI function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Special {
    /// Index of the unit.
    pub unit: usize,
    /// Its ACPI id, if it is an I/O APIC and not an HPET or something else.
    pub ioapic: Option<u8>,
    /// The ID of its requests.
    pub source_id: u16,
    /// Which interrupts that are no ordinary ones firmware wants to pass (DTE settings).
    pub settings: u8,
}

/// What the IVRS table says.
#[derive(Debug, Default)]
pub struct Ivrs {
    /// Units.
    pub units: Vec<Unit, MAX_UNITS>,
    /// Devices behind them; a later range counts for more than an earlier one.
    pub ranges: Vec<Range, MAX_RANGES>,
    /// I/O APICs and the like.
    pub specials: Vec<Special, MAX_SPECIALS>,
    /// Requester IDs with reserved memory: firmware may own their DMA, so they are never assigned. A definition names
    /// no segment: it counts on all.
    pub reserved: Vec<(u16, u16), MAX_RESERVED>,
    /// Something was cut short: a bad length, or more entries than are kept.
    pub truncated: bool,
}

/// Where the device entries of a unit's block of this type start; None: no block of a unit.
const fn entries_at(kind: u8) -> Option<usize> {
    match kind {
        0x10 => Some(24),
        0x11 | 0x40 => Some(40),
        _ => None,
    }
}

/// Reads an IVRS table.
///
/// # Errors
/// The table is not an IVRS table or describes nothing usable.
pub fn parse(table: &[u8]) -> Result<Ivrs, &'static str> {
    let table = table::check(table, b"IVRS")?;
    // Newer blocks repeat what older ones say, in more detail: the newest kind is the one to read.
    let mut newest = 0;
    table::for_each_structure(table, |block| {
        if entries_at(block[0]).is_some() {
            newest = newest.max(block[0]);
        }
    });
    let mut ivrs = Ivrs::default();
    let mut understood = true;
    let whole = table::for_each_structure(table, |block| {
        if block[0] == newest {
            understood &= ivhd(&mut ivrs, block).is_some();
        } else if IVMD.contains(&block[0]) {
            understood &= ivmd(&mut ivrs, block).is_some();
        }
    });
    ivrs.truncated = !whole || !understood;
    if ivrs.units.is_empty() {
        return Err(table::NO_UNIT);
    }
    Ok(ivrs)
}

fn ivhd(ivrs: &mut Ivrs, block: &[u8]) -> Option<()> {
    let segment = u16_at(block, 16)?;
    let unit = Unit {
        sbdf: Sbdf::on(segment, u16_at(block, 4)?),
        register_base: u64_at(block, 8)?,
        flags: *block.get(1)?,
    };
    if unit.register_base == 0 || !unit.register_base.is_multiple_of(4096) {
        return None;
    }
    let index = ivrs.units.len();
    ivrs.units.push(unit).ok()?;
    let mut rest = block.get(entries_at(block[0])?..)?;
    // A range that has begun.
    let mut open: Option<Range> = None;
    while let Some(kind) = rest.first().copied() {
        let length = match kind {
            0..0x40 => 4,
            0x40..0x80 => 8,
            0x80..0xc0 => 16,
            // A device named by ACPI, with a name of any length at the end.
            0xf0 => 22 + usize::from(*rest.get(21)?),
            _ => 32,
        };
        let entry = rest.get(..length)?;
        rest = &rest[length..];
        let id = u16_at(entry, 1)?;
        let range = |first, last, alias| Range {
            unit: index,
            segment,
            first,
            last,
            alias,
        };
        let alias = |entry| u16_at(entry, 5);
        let found = match kind {
            // All devices.
            1 => range(0, u16::MAX, None),
            // One device: plain, or with extended settings, or named by ACPI.
            2 | 0x46 | 0xf0 => range(id, id, None),
            0x42 => range(id, id, alias(entry)),
            3 | 0x47 => {
                open = Some(range(id, id, None));
                continue;
            }
            0x43 => {
                open = Some(range(id, id, alias(entry)));
                continue;
            }
            // The end of a range.
            4 => match open.take() {
                Some(begun) if begun.first <= id => Range { last: id, ..begun },
                _ => return None,
            },
            0x48 => {
                ivrs.specials
                    .push(Special {
                        unit: index,
                        ioapic: (entry[7] == 1).then_some(entry[4]),
                        source_id: u16_at(entry, 5)?,
                        settings: entry[3],
                    })
                    .ok()?;
                continue;
            }
            _ => continue,
        };
        ivrs.ranges.push(found).ok()?;
    }
    Some(())
}

fn ivmd(ivrs: &mut Ivrs, block: &[u8]) -> Option<()> {
    let first = u16_at(block, 4)?;
    let ids = match block[0] {
        0x20 => (0, u16::MAX),
        0x21 => (first, first),
        _ => (first, u16_at(block, 6)?),
    };
    ivrs.reserved.push(ids).ok()
}

impl Ivrs {
    /// The unit that serves a device; None also if its requests cannot be told from another's.
    pub fn unit_of(&self, sbdf: Sbdf) -> Option<usize> {
        let id = sbdf.source_id();
        let mut ranges = self.ranges.iter().rev();
        let range = ranges.find(|range| {
            range.segment == sbdf.segment() && (range.first..=range.last).contains(&id)
        })?;
        range
            .alias
            .is_none_or(|alias| alias == id)
            .then_some(range.unit)
    }

    /// The device must not be assigned: it is a unit, shares its ID with an I/O APIC, or firmware may own its DMA.
    pub fn is_reserved(&self, sbdf: Sbdf) -> bool {
        let id = sbdf.source_id();
        self.units.iter().any(|unit| unit.sbdf == sbdf)
            || self.specials.iter().any(|special| special.source_id == id)
            || self
                .reserved
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&id))
    }

    /// The unit and requester ID of the I/O APIC with ACPI id `id`.
    pub fn ioapic(&self, id: u8) -> Option<(usize, u16)> {
        let mut specials = self.specials.iter();
        let special = specials.find(|special| special.ioapic == Some(id))?;
        Some((special.unit, special.source_id))
    }
}

#[cfg(test)]
#[path = "ivrs_tests.rs"]
mod tests;
