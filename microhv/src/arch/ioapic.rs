//! I/O APICs: how interrupt lines become vectors (Intel 82093AA data sheet).
//!
//! When interrupts are remapped, an entry names a slot of the IOMMU's table instead of a vector and a CPU: so whoever
//! connects a line makes its entry.

use crate::mm::Mmio;
use heapless::Vec;
use spin::Mutex;

/// I/O APICs at most.
const MAX: usize = 8;
const SELECT: usize = 0;
const WINDOW: usize = 0x10;
const VERSION: u8 = 1;
const FIRST_ENTRY: u8 = 0x10;
const ENTRY_MASKED: u64 = 1 << 16;

/// Where a line's interrupts go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The vector.
    pub vector: u8,
    /// The xAPIC ID of the CPU that gets it.
    pub apic_id: u8,
    /// Level-triggered rather than edge-triggered.
    pub level: bool,
    /// Active low rather than high.
    pub active_low: bool,
}

impl Route {
    /// The entry without interrupt remapping: physical destination, fixed delivery.
    pub const fn entry(&self) -> u64 {
        self.vector as u64
            | (self.active_low as u64) << 13
            | (self.level as u64) << 15
            | (self.apic_id as u64) << 56
    }
}

struct IoApic {
    id: u8,
    first_gsi: u32,
    pins: u8,
    registers: Mmio,
}

static APICS: Mutex<Vec<IoApic, MAX>> = Mutex::new(Vec::new());

impl IoApic {
    fn read(&self, register: u8) -> u32 {
        self.registers.write_u32(SELECT, register.into());
        self.registers.read_u32(WINDOW)
    }

    fn write(&self, register: u8, value: u32) {
        self.registers.write_u32(SELECT, register.into());
        self.registers.write_u32(WINDOW, value);
    }

    /// Masked first, so that a half-written entry never delivers.
    fn write_entry(&self, pin: u8, entry: u64) {
        let register = FIRST_ENTRY + 2 * pin;
        self.write(register, ENTRY_MASKED as u32);
        self.write(register + 1, (entry >> 32) as u32);
        self.write(register, entry as u32);
    }
}

/// Adds the I/O APIC with this ID at physical `address`, whose first line is `first_gsi`; masks all
/// of its lines. `None` if it cannot be mapped or there are too many.
pub fn add(id: u8, address: u64, first_gsi: u32) -> Option<()> {
    let mut apic = IoApic {
        id,
        first_gsi,
        pins: 0,
        registers: Mmio::map(address, 0x20)?,
    };
    // Bits 16..24: the last entry's number; 239 at most, which is what the registers can address.
    apic.pins = ((apic.read(VERSION) >> 16 & 0xff) as u8).min(118) + 1;
    for pin in 0..apic.pins {
        apic.write_entry(pin, ENTRY_MASKED);
    }
    APICS.lock().push(apic).ok()
}

/// Connects line `gsi`: `entry` makes the whole 64-bit entry for a line of the I/O APIC whose ID (as in the MADT) and pin
/// are given. False if no I/O APIC has the line.
#[must_use]
pub fn connect(gsi: u32, entry: impl FnOnce(u8, u8) -> u64) -> bool {
    let apics = APICS.lock();
    let found = apics.iter().find_map(|apic| {
        let pin = gsi.checked_sub(apic.first_gsi)?;
        (pin < apic.pins.into()).then_some((apic, pin as u8))
    });
    if let Some((apic, pin)) = found {
        apic.write_entry(pin, entry(apic.id, pin));
    }
    found.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_entry_has_vector_destination_and_polarity() {
        let route = Route {
            vector: 0x31,
            apic_id: 2,
            level: true,
            active_low: true,
        };
        assert_eq!(route.entry(), 0x0200_0000_0000_a031);
        assert!(!connect(4, |_, _| route.entry()));
    }
}
