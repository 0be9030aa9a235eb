//! I/O APICs: how interrupt lines become vectors (Intel 82093AA data sheet).
//!
//! When interrupt remapping is turned on, an entry names a slot of the IOMMU's table instead of a
//! vector and a CPU: the IOMMU's driver gives [`set_remapper`] a function that makes such entries,
//! and all lines in use are rewritten with it.

use crate::mm::Mmio;
use heapless::Vec;
use spin::Mutex;

/// I/O APICs at most.
const MAX: usize = 8;
/// Lines in use at most.
const MAX_LINES: usize = 16;
const SELECT: usize = 0;
const WINDOW: usize = 0x10;
const VERSION: u8 = 1;
const FIRST_ENTRY: u8 = 0x10;
const ENTRY_MASKED: u64 = 1 << 16;
const ENTRY_LEVEL: u64 = 1 << 15;
const ENTRY_LOW: u64 = 1 << 13;

/// Where a line's interrupts go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The vector.
    pub vector: u8,
    /// The APIC ID of the CPU that gets it.
    pub apic_id: u32,
    /// Level-triggered rather than edge-triggered.
    pub level: bool,
    /// Active low rather than high.
    pub active_low: bool,
}

impl Route {
    /// The entry without interrupt remapping: physical destination, fixed delivery.
    pub const fn entry(&self) -> u64 {
        let mut entry = self.vector as u64 | (self.apic_id as u64) << 56;
        if self.level {
            entry |= ENTRY_LEVEL;
        }
        if self.active_low {
            entry |= ENTRY_LOW;
        }
        entry
    }
}

/// Makes the whole 64-bit entry for `pin` of the I/O APIC whose ID (as in the MADT) is given, in
/// the IOMMU's format, after it has filled its own table. `None`: no slot is free; the line stays
/// masked.
pub type Remapper = fn(io_apic_id: u8, pin: u8, route: &Route) -> Option<u64>;

struct IoApic {
    id: u8,
    first_gsi: u32,
    pins: u8,
    registers: Mmio,
}

#[derive(Clone, Copy)]
struct Line {
    apic: usize,
    pin: u8,
    route: Route,
}

struct State {
    apics: Vec<IoApic, MAX>,
    lines: Vec<Line, MAX_LINES>,
    remapper: Option<Remapper>,
}

static STATE: Mutex<State> = Mutex::new(State {
    apics: Vec::new(),
    lines: Vec::new(),
    remapper: None,
});

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

impl State {
    fn program(&self, line: &Line) {
        let Some(apic) = self.apics.get(line.apic) else {
            return;
        };
        let entry = match self.remapper {
            Some(remapper) => remapper(apic.id, line.pin, &line.route),
            None => Some(line.route.entry()),
        };
        if entry.is_none() {
            log::error!(
                "I/O APIC {} pin {}: no interrupt remapping entry is free",
                apic.id,
                line.pin
            );
        }
        apic.write_entry(line.pin, entry.unwrap_or(ENTRY_MASKED));
    }
}

/// Adds the I/O APIC with this ID at physical `address`, whose first line is `first_gsi`; masks all
/// of its lines. False if it cannot be mapped or there are too many.
#[must_use]
pub fn add(id: u8, address: u64, first_gsi: u32) -> bool {
    let Some(registers) = Mmio::map(address, 0x20) else {
        return false;
    };
    let mut apic = IoApic {
        id,
        first_gsi,
        pins: 0,
        registers,
    };
    // Bits 16..24: the last entry's number; 239 at most, which is what the registers can address.
    apic.pins = ((apic.read(VERSION) >> 16 & 0xff) as u8).min(118) + 1;
    for pin in 0..apic.pins {
        apic.write_entry(pin, ENTRY_MASKED);
    }
    STATE.lock().apics.push(apic).is_ok()
}

/// Sends line `gsi` where `route` says. False if no I/O APIC has the line.
#[must_use]
pub fn connect(gsi: u32, route: Route) -> bool {
    let mut state = STATE.lock();
    let found = state.apics.iter().enumerate().find_map(|(index, apic)| {
        let pin = gsi.checked_sub(apic.first_gsi)?;
        (pin < apic.pins.into()).then_some((index, pin as u8))
    });
    let Some((apic, pin)) = found else {
        return false;
    };
    let line = Line { apic, pin, route };
    if state.lines.push(line).is_err() {
        return false;
    }
    state.program(&line);
    true
}

/// From now on `remapper` makes the entries; those in use are rewritten. Call it when interrupt
/// remapping is about to be turned on, with its table in place. `None` goes back to plain entries.
pub fn set_remapper(remapper: Option<Remapper>) {
    let mut state = STATE.lock();
    state.remapper = remapper;
    for line in &state.lines {
        state.program(line);
    }
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
        assert!(!connect(4, route));
    }
}
