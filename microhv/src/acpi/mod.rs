//! ACPI's tables, by the `acpi` crate; what it does not know (DMAR, IVRS) is found by signature.

pub mod aml;
mod tables;

use crate::arch::MAX_CPUS;
use heapless::Vec;

/// An I/O APIC in the MADT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoApic {
    /// Its ID.
    pub id: u8,
    /// Where its registers are.
    pub address: u32,
    /// The number of its first line.
    pub first_gsi: u32,
}

/// An ISA line that is not what it used to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Override {
    /// The ISA line.
    pub irq: u8,
    /// The line that it is.
    pub gsi: u32,
    /// Polarity in bits 0..2, trigger mode in bits 2..4 (ACPI 6.5, table 5.26).
    pub flags: u16,
}

/// How to turn the machine off and on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Power {
    /// I/O ports of the PM1 control registers; the second may be missing.
    pub pm1_control: [Option<u16>; 2],
    /// Values of SLP_TYP for S5, for each of them.
    pub s5: Option<[u8; 2]>,
    /// The port and value that turn ACPI mode on, where it is off.
    pub enable: Option<(u16, u8)>,
    /// The I/O port and value that reset the machine.
    pub reset: Option<(u16, u8)>,
}

/// What microhv wants to know of the machine.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// The local APICs' IDs of CPUs that can be used, the boot CPU among them.
    pub cpus: Vec<u32, MAX_CPUS>,
    /// CPUs beyond what microhv can use.
    pub more_cpus: usize,
    /// Where the local APICs are.
    pub local_apic: u64,
    /// I/O APICs.
    pub io_apics: Vec<IoApic, 8>,
    /// ISA lines that are not what they used to be.
    pub overrides: Vec<Override, 16>,
    /// I/O port of the power management timer.
    pub pm_timer: Option<u16>,
    /// How to turn the machine off and on.
    pub power: Power,
}

impl Machine {
    /// The line that ISA line `irq` is, and whether it is level-triggered and active low.
    pub fn isa_line(&self, irq: u8) -> (u32, bool, bool) {
        let found = self.overrides.iter().find(|over| over.irq == irq);
        found.map_or((irq.into(), false, false), |over| {
            // 3 is level or low; 0 means the bus's default, which for ISA is edge and high.
            (over.gsi, over.flags >> 2 & 3 == 3, over.flags & 3 == 3)
        })
    }
}

/// A whole table, header included, by its signature: `DMAR`, `IVRS`, `MCFG`. `None` if the
/// machine does not have it.
pub fn table(signature: &[u8; 4]) -> Option<&'static [u8]> {
    tables::raw(signature)
}

/// What the tables say; `None` before they have been read.
pub fn machine() -> Option<&'static Machine> {
    MACHINE.get()
}

static MACHINE: spin::Once<Machine> = spin::Once::new();

/// Reads the tables. `rsdp` is where the loader says the root pointer is.
///
/// # Errors
/// One sentence, if there is no ACPI or no MADT.
pub(crate) fn init(rsdp: Option<u64>) -> Result<&'static Machine, &'static str> {
    let machine = tables::read(rsdp)?;
    Ok(MACHINE.call_once(|| machine))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn isa_lines_are_edge_and_high_unless_overridden() {
        let mut machine = Machine::default();
        let over = Override {
            irq: 9,
            gsi: 20,
            flags: 0xf,
        };
        machine.overrides.push(over).unwrap();
        assert_eq!(machine.isa_line(4), (4, false, false));
        assert_eq!(machine.isa_line(9), (20, true, true));
    }
}
