//! The ACPI DMAR table: which remapping units exist and which devices are behind each.
//!
//! Intel VT-d specification 4.1, chapter 8. A structure that does not fit ends the walk.

use crate::iommu::table::{self, u16_at, u64_at};
use crate::pci::Sbdf;
use heapless::Vec;

/// Remapping units this build can drive; more are named in a warning and left alone (their devices stay unassignable).
pub const MAX_UNITS: usize = 8;
/// Device scopes kept over all units.
pub const MAX_SCOPES: usize = 96;
/// Reserved regions kept.
pub const MAX_RESERVED: usize = 16;

const TYPE_DRHD: u16 = 0;
const TYPE_RMRR: u16 = 1;
/// DRHD flag: all devices of the segment that no other unit names (8.3).
const INCLUDE_PCI_ALL: u8 = 1;
/// DMAR flags (8.1).
const INTR_REMAP: u8 = 1;

/// What a device scope names (8.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeKind {
    /// One PCI function.
    Endpoint,
    /// A bridge and all behind it.
    Bridge,
    /// An I/O APIC, with its ACPI id.
    IoApic(u8),
    /// An HPET or something else that microhv never assigns.
    Other,
}

/// A device scope: one device behind a remapping unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Index of the unit in [`Dmar::units`].
    pub unit: usize,
    /// What it is.
    pub kind: ScopeKind,
    /// Where the path starts (and, for a path of length 1, the device itself).
    pub sbdf: Sbdf,
    /// The path has more hops than one; the device is behind bridges below `sbdf`.
    pub deeper: bool,
}

/// A DMA remapping hardware unit definition (DRHD, 8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Physical address of its registers.
    pub register_base: u64,
    /// PCI segment of its devices.
    pub segment: u16,
    /// It serves every device that no other unit names.
    pub include_pci_all: bool,
}

/// What the DMAR table says.
#[derive(Debug, Default)]
pub struct Dmar {
    /// Bits of DMA address the machine decodes.
    pub host_address_width: u8,
    /// The platform supports interrupt remapping.
    pub intr_remap: bool,
    /// Remapping units.
    pub units: Vec<Unit, MAX_UNITS>,
    /// Devices named by units.
    pub scopes: Vec<Scope, MAX_SCOPES>,
    /// Devices with reserved memory regions (RMRR): firmware may own their DMA, so they are never assigned.
    pub reserved: Vec<Sbdf, MAX_RESERVED>,
    /// Something was cut short: a bad length, or more entries than are kept.
    pub truncated: bool,
}

/// Reads a DMAR table.
///
/// # Errors
/// The table is not a DMAR table or describes nothing usable.
pub fn parse(table: &[u8]) -> Result<Dmar, &'static str> {
    let table = table::check(table, b"DMAR")?;
    let mut dmar = Dmar {
        host_address_width: table[36].saturating_add(1),
        intr_remap: table[37] & INTR_REMAP != 0,
        ..Dmar::default()
    };
    let mut understood = true;
    let whole = table::for_each_structure(table, |structure| {
        understood &= match u16_at(structure, 0) {
            Some(TYPE_DRHD) => drhd(&mut dmar, structure).is_some(),
            Some(TYPE_RMRR) => rmrr(&mut dmar, structure).is_some(),
            _ => true,
        };
    });
    dmar.truncated = !whole || !understood;
    if dmar.units.is_empty() {
        return Err(table::NO_UNIT);
    }
    Ok(dmar)
}

fn drhd(dmar: &mut Dmar, structure: &[u8]) -> Option<()> {
    let unit = Unit {
        include_pci_all: structure.get(4)? & INCLUDE_PCI_ALL != 0,
        segment: u16_at(structure, 6)?,
        register_base: u64_at(structure, 8)?,
    };
    let index = dmar.units.len();
    if unit.register_base == 0 || !unit.register_base.is_multiple_of(4096) {
        return None;
    }
    dmar.units.push(unit).ok()?;
    for_each_scope(structure.get(16..)?, unit.segment, |kind, sbdf, deeper| {
        let scope = Scope {
            unit: index,
            kind,
            sbdf,
            deeper,
        };
        dmar.scopes.push(scope).ok()
    })
}

fn rmrr(dmar: &mut Dmar, structure: &[u8]) -> Option<()> {
    let segment = u16_at(structure, 6)?;
    for_each_scope(structure.get(24..)?, segment, |_, sbdf, _| {
        dmar.reserved.push(sbdf).ok()
    })
}

/// Calls `each(kind, sbdf, deeper)` for each scope; None when a length is wrong or `each` gives up.
fn for_each_scope(
    mut rest: &[u8],
    segment: u16,
    mut each: impl FnMut(ScopeKind, Sbdf, bool) -> Option<()>,
) -> Option<()> {
    while !rest.is_empty() {
        let length = usize::from(*rest.get(1)?);
        let scope = rest
            .get(..length)
            .filter(|s| s.len() >= 8 && s.len() % 2 == 0)?;
        let kind = match scope[0] {
            1 => ScopeKind::Endpoint,
            2 => ScopeKind::Bridge,
            3 => ScopeKind::IoApic(scope[4]),
            _ => ScopeKind::Other,
        };
        if scope[6] > 31 || scope[7] > 7 {
            return None;
        }
        let function = Sbdf::new(scope[5], scope[6], scope[7]);
        each(
            kind,
            Sbdf::on(segment, function.source_id()),
            scope.len() > 8,
        )?;
        rest = &rest[length..];
    }
    Some(())
}

impl Dmar {
    /// The unit that serves an endpoint: the one that names it, else the one for everything else on its segment.
    ///
    /// `upstream` lists the bridges between the root complex and the device, outermost first.
    pub fn unit_of(&self, sbdf: Sbdf, upstream: &[Sbdf]) -> Option<usize> {
        let named = self.scopes.iter().find(|scope| match scope.kind {
            ScopeKind::Endpoint => !scope.deeper && scope.sbdf == sbdf,
            ScopeKind::Bridge => !scope.deeper && upstream.contains(&scope.sbdf),
            _ => false,
        });
        // A deeper path would need bus numbers that this parser does not read; a unit that uses one for a device
        // below the same root port is the best match before the catch-all.
        let below = || {
            self.scopes.iter().find(|scope| {
                scope.deeper
                    && matches!(scope.kind, ScopeKind::Endpoint | ScopeKind::Bridge)
                    && upstream.contains(&scope.sbdf)
            })
        };
        let all = || {
            self.units
                .iter()
                .position(|unit| unit.include_pci_all && unit.segment == sbdf.segment())
        };
        named.or_else(below).map(|scope| scope.unit).or_else(all)
    }

    /// The unit and requester ID of the I/O APIC with ACPI id `id`.
    pub fn ioapic(&self, id: u8) -> Option<(usize, u16)> {
        let mut scopes = self.scopes.iter();
        let scope = scopes.find(|scope| scope.kind == ScopeKind::IoApic(id))?;
        Some((scope.unit, scope.sbdf.source_id()))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The DMAR table of `qemu-system-x86_64 -M q35 -device intel-iommu,intremap=on` (QEMU 7.2.22), read from its memory.
    pub(in crate::vtd) const QEMU: &[u8] = &[
        0x44, 0x4d, 0x41, 0x52, 0x68, 0x00, 0x00, 0x00, 0x01, 0x42, 0x42, 0x4f, 0x43, 0x48, 0x53,
        0x20, //
        0x42, 0x58, 0x50, 0x43, 0x20, 0x20, 0x20, 0x20, 0x01, 0x00, 0x00, 0x00, 0x42, 0x58, 0x50,
        0x43, //
        0x01, 0x00, 0x00, 0x00, 0x26, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, //
        0x00, 0x00, 0x38, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xd9, 0xfe, 0x00, 0x00, 0x00,
        0x00, //
        0x03, 0x08, 0x00, 0x00, 0x00, 0xff, 0x00, 0x00, 0x01, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, //
        0x01, 0x08, 0x00, 0x00, 0x00, 0x00, 0x1f, 0x00, 0x01, 0x08, 0x00, 0x00, 0x00, 0x00, 0x1f,
        0x02, //
        0x01, 0x08, 0x00, 0x00, 0x00, 0x00, 0x1f, 0x03,
    ];

    fn fix_checksum(table: &mut [u8]) {
        table[9] = 0;
        table[9] = 0u8.wrapping_sub(table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)));
    }

    #[test]
    fn reads_qemus_table() {
        let dmar = parse(QEMU).unwrap();
        assert_eq!(dmar.host_address_width, 39);
        assert!(dmar.intr_remap && !dmar.truncated);
        assert_eq!(dmar.units.len(), 1);
        assert_eq!(dmar.units[0].register_base, 0xfed9_0000);
        assert!(!dmar.units[0].include_pci_all);
        assert_eq!(dmar.scopes.len(), 5);
        assert_eq!(dmar.ioapic(0), Some((0, 0xff00)));
        assert_eq!(dmar.ioapic(1), None);
        assert_eq!(dmar.unit_of(Sbdf::new(0, 0x1f, 2), &[]), Some(0));
        assert_eq!(dmar.unit_of(Sbdf::new(0, 3, 0), &[]), None);
    }

    #[test]
    fn the_catch_all_unit_takes_what_no_other_names() {
        let mut table = QEMU.to_vec();
        table.extend_from_slice(&[0, 0, 16, 0, 1, 0, 0, 0, 0, 0, 0xda, 0xfe, 0, 0, 0, 0]);
        table[4] = table.len() as u8;
        fix_checksum(&mut table);
        let dmar = parse(&table).unwrap();
        assert_eq!(dmar.unit_of(Sbdf::new(0, 3, 0), &[]), Some(1));
        assert_eq!(dmar.unit_of(Sbdf::new(0, 0x1f, 2), &[]), Some(0));
        assert_eq!(dmar.unit_of(Sbdf(0x1_0018), &[]), None, "another segment");
    }

    #[test]
    fn refuses_what_is_no_dmar_table() {
        assert!(parse(&[]).unwrap_err().contains("length"));
        assert!(parse(&QEMU[..100]).unwrap_err().contains("length"));
        let mut table = QEMU.to_vec();
        table[60] ^= 1;
        assert!(parse(&table).unwrap_err().contains("checksum"));
        table[0] = b'X';
        assert!(parse(&table).unwrap_err().contains("signature"));
        let mut table = QEMU[..48].to_vec();
        table[4] = 48;
        fix_checksum(&mut table);
        assert_eq!(parse(&table).unwrap_err(), table::NO_UNIT);
    }

    #[test]
    fn every_garbled_byte_is_survived() {
        for at in 0..QEMU.len() {
            for value in [0u8, 1, 2, 3, 4, 7, 8, 0x7f, 0xff] {
                let mut table = QEMU.to_vec();
                table[at] = value;
                if at != 9 {
                    fix_checksum(&mut table);
                }
                let _ = parse(&table);
            }
        }
    }

    #[test]
    fn a_zero_length_structure_ends_the_walk() {
        let mut table = QEMU.to_vec();
        table[50] = 0;
        fix_checksum(&mut table);
        assert_eq!(parse(&table).unwrap_err(), table::NO_UNIT);
        let mut table = QEMU.to_vec();
        table[65] = 0; // the first scope's length
        fix_checksum(&mut table);
        let dmar = parse(&table).unwrap();
        assert!(dmar.truncated && dmar.scopes.is_empty());
    }
}
