//! An ACPI table under construction.

use heapless::Vec;

use super::TABLE_MAX;

/// OEMID of all tables.
pub(super) const OEM_ID: &[u8; 6] = b"MICRHV";

/// Offsets in the header that every table but the RSDP has (ACPI 6.0, section 5.2.6).
const LENGTH_OFFSET: usize = 4;
const CHECKSUM_OFFSET: usize = 9;

/// Bytes of a table, its length and checksum still open.
pub(super) struct Table(Vec<u8, TABLE_MAX>);

impl Table {
    pub fn empty() -> Self {
        Self(Vec::new())
    }

    /// A table with its header.
    pub fn new(signature: &[u8; 4], revision: u8) -> Self {
        let mut table = Self::empty();
        table.bytes(signature).u32(0).u8(revision).u8(0); // length and checksum come last
        table
            .bytes(OEM_ID)
            .bytes(b"microhv ")
            .u32(1)
            .bytes(b"MHV ")
            .u32(1);
        table
    }

    /// The assertions beside [`TABLE_MAX`] show that no table outgrows the buffer.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        let fits = self.0.extend_from_slice(bytes).is_ok();
        debug_assert!(fits, "ACPI table larger than TABLE_MAX");
        self
    }

    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Zeros up to offset `length`.
    pub fn pad_to(&mut self, length: usize) {
        while self.0.len() < length {
            self.u8(0);
        }
    }

    /// Fills in length and checksum.
    pub fn finish(&mut self) -> &[u8] {
        let length = (self.0.len() as u32).to_le_bytes();
        for (to, from) in self.0.iter_mut().skip(LENGTH_OFFSET).zip(length) {
            *to = from;
        }
        let checksum = checksum(&self.0);
        if let Some(byte) = self.0.get_mut(CHECKSUM_OFFSET) {
            *byte = checksum;
        }
        &self.0
    }

    /// The first `N` bytes.
    pub fn take<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        for (to, from) in out.iter_mut().zip(&self.0) {
            *to = *from;
        }
        out
    }
}

/// The byte that makes the sum of all bytes 0, when its own place holds 0.
pub(super) fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte))
}
