//! A PCI function's address: segment, bus, device, function.

use core::fmt;

/// Segment, bus, device and function, packed as Xen packs them: `segment << 16 | bus << 8 | device << 3 | function`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sbdf(pub u32);

impl Sbdf {
    /// The function `function` (0..8) of `device` (0..32) on `bus` of segment 0.
    pub const fn new(bus: u8, device: u8, function: u8) -> Self {
        Self((bus as u32) << 8 | ((device & 31) as u32) << 3 | (function & 7) as u32)
    }

    /// The function that has the requester ID `source_id` on `segment`.
    pub const fn on(segment: u16, source_id: u16) -> Self {
        Self((segment as u32) << 16 | source_id as u32)
    }

    /// The PCI segment group (ACPI `_SEG`).
    pub const fn segment(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// The bus number.
    pub const fn bus(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// The device (slot) number, 0..32.
    pub const fn device(self) -> u8 {
        (self.0 >> 3) as u8 & 31
    }

    /// The function number, 0..8.
    pub const fn function(self) -> u8 {
        self.0 as u8 & 7
    }

    /// Device and function in one byte, as context tables index it.
    pub const fn devfn(self) -> u8 {
        self.0 as u8
    }

    /// Bus, device and function: the requester ID of the function's DMA and interrupts.
    pub const fn source_id(self) -> u16 {
        self.0 as u16
    }
}

impl fmt::Display for Sbdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.segment() != 0 {
            write!(f, "{:04x}:", self.segment())?;
        }
        let (bus, device, function) = (self.bus(), self.device(), self.function());
        write!(f, "{bus:02x}:{device:02x}.{function:x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_and_prints_as_lspci_does() {
        let sbdf = Sbdf::new(0x12, 0x1f, 3);
        assert_eq!(sbdf.0, 0x12fb);
        assert_eq!(
            (sbdf.bus(), sbdf.device(), sbdf.function()),
            (0x12, 0x1f, 3)
        );
        assert_eq!(sbdf.to_string(), "12:1f.3");
        assert_eq!(Sbdf(0x1_0018).to_string(), "0001:00:03.0");
    }
}
