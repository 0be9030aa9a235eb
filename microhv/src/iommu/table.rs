//! What the ACPI tables DMAR and IVRS have in common. They come from firmware: every length in them is checked before it is
//! used.

/// Bytes before the first structure.
pub const HEADER: usize = 48;
/// A table without a unit.
pub const NO_UNIT: &str = "the IOMMU's ACPI table describes no unit";

/// The number at `at`.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_le_bytes(*field))
}

/// See [`u16_at`].
pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_le_bytes(*field))
}

/// Calls `each` for each structure behind the header: in both tables the length is at byte 2. False when one is wrong.
pub fn for_each_structure(table: &[u8], mut each: impl FnMut(&[u8])) -> bool {
    let mut rest = &table[HEADER..];
    while !rest.is_empty() {
        let structure = u16_at(rest, 2).and_then(|length| rest.get(..usize::from(length)));
        let Some(structure) = structure.filter(|structure| structure.len() >= 4) else {
            return false;
        };
        each(structure);
        rest = &rest[structure.len()..];
    }
    true
}

/// A table's own bytes.
///
/// # Errors
/// A sentence: what is there is no such table.
pub fn check<'a>(table: &'a [u8], signature: &[u8; 4]) -> Result<&'a [u8], &'static str> {
    let length = table.get(4..8).and_then(|field| field.first_chunk());
    let length = length.map_or(0, |field| u32::from_le_bytes(*field)) as usize;
    let table = table.get(..length).filter(|table| table.len() >= HEADER);
    let table = table.ok_or("the IOMMU's ACPI table has a bad length")?;
    if !table.starts_with(signature) {
        return Err("the IOMMU's ACPI table has a bad signature");
    }
    match table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)) {
        0 => Ok(table),
        _ => Err("the IOMMU's ACPI table has a bad checksum"),
    }
}
