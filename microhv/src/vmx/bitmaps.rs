//! The permission maps that all guests share: every port exits, and all MSRs but those that belong to the guest while it
//! runs.

use super::capability::Capabilities;
use super::switched;
use crate::mm::{frames, phys};
use crate::types::Mfn;

/// Registers of the control structure that a guest reads and writes itself: SYSENTER_{CS,ESP,EIP}, FS.base, GS.base.
const IN_THE_STRUCTURE: [u32; 5] = [0x174, 0x175, 0x176, 0xc000_0100, 0xc000_0101];

/// The local APIC's registers: id, version, TPR, PPR, logical id, ISR, TMR and IRR are as the virtual-APIC page has them;
/// TPR, EOI and self-IPI are all that the CPU lets the guest write.
const APIC_READ: [core::ops::RangeInclusive<u32>; 4] =
    [0x802..=0x803, 0x80a..=0x80a, 0x80d..=0x80d, 0x810..=0x827];
const APIC_TPR: u32 = 0x808;
const APIC_WRITTEN: [u32; 3] = [APIC_TPR, 0x80b, 0x83f];
/// Where write bits are, behind read bits (SDM 25.6.9).
const WRITES: usize = 2048;

/// Both maps' frames: ports 0..0x7fff, ports from 0x8000, and MSRs.
#[derive(Clone, Copy)]
pub struct Bitmaps {
    pub io_a: Mfn,
    pub io_b: Mfn,
    pub msr: Mfn,
}

/// Byte and mask of an MSR's read bit; its write bit is [`WRITES`] behind.
fn place(msr: u32) -> Option<(usize, u8)> {
    let (base, index) = match msr {
        0..=0x1fff => (0, msr),
        0xc000_0000..=0xc000_1fff => (1024, msr - 0xc000_0000),
        _ => return None,
    };
    Some((base + (index / 8) as usize, 1 << (index % 8)))
}

impl Bitmaps {
    /// Makes them; they are never freed. `None`: out of memory.
    pub fn new(capabilities: &Capabilities) -> Option<Self> {
        let filled = || frames::alloc_filled(0, u64::MAX);
        let (io_a, io_b, msr) = (filled()?, filled()?, filled()?);
        let pass = |register, writes: usize| {
            if let Some((byte, mask)) = place(register) {
                let byte = byte + writes;
                phys::write_u8(msr, byte, phys::read_u8(msr, byte) & !mask);
            }
        };
        for register in IN_THE_STRUCTURE.into_iter().chain(switched::MSRS) {
            pass(register, 0);
            pass(register, WRITES);
        }
        if capabilities.delivers_interrupts() {
            pass(APIC_TPR, 0);
            APIC_WRITTEN
                .into_iter()
                .for_each(|register| pass(register, WRITES));
        }
        // Without this the CPU would read its own APIC's.
        if capabilities.reads_registers() {
            APIC_READ
                .into_iter()
                .flatten()
                .for_each(|register| pass(register, 0));
        }
        Some(Self { io_a, io_b, msr })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::vmx::capability::tests::{broadwell, icelake};

    fn exits(maps: &Bitmaps, msr: u32) -> [bool; 2] {
        let (byte, mask) = place(msr).unwrap();
        [byte, byte + WRITES].map(|byte| phys::read_u8(maps.msr, byte) & mask != 0)
    }

    #[test]
    fn only_the_guests_registers_pass() {
        let capabilities = Capabilities::choose(broadwell, true).unwrap();
        let maps = Bitmaps::new(&capabilities).unwrap();
        for passed in [
            0x174,
            0x176,
            0xc000_0081,
            0xc000_0082,
            0xc000_0084,
            0xc000_0100,
            0xc000_0102,
        ] {
            assert_eq!(exits(&maps, passed), [false; 2], "{passed:#x}");
        }
        for watched in [0x1b, 0x3a, 0x277, 0x480, 0xc000_0080, 0xc000_0103]
            .into_iter()
            .chain(0x800..=0x83f)
        {
            assert_eq!(exits(&maps, watched), [true; 2], "{watched:#x}");
        }
        assert_eq!(place(0x174), Some((0x2e, 1 << 4)));
        assert_eq!(place(0xc000_0081), Some((1024 + 0x10, 1 << 1)));
        assert_eq!(place(0x4000_0000), None, "always exits");
        assert_eq!(phys::read_u64(maps.io_b, 4088), u64::MAX);
    }

    /// What passes reaches the CPU's own APIC where the CPU does not virtualise it (SDM 30.5).
    #[test]
    fn only_what_is_virtualised_of_the_apic_passes() {
        let mut capabilities = Capabilities::choose(icelake, true).unwrap();
        let passes = |capabilities: &Capabilities, writes: usize| {
            let maps = Bitmaps::new(capabilities).unwrap();
            (0x800..=0x83f)
                .filter(|&msr| !exits(&maps, msr)[writes])
                .collect::<Vec<u32>>()
        };
        let mut read = vec![0x802, 0x803, 0x808, 0x80a, 0x80d];
        read.extend(0x810..=0x827);
        assert_eq!(passes(&capabilities, 0), read);
        assert_eq!(passes(&capabilities, 1), [0x808, 0x80b, 0x83f]);
        capabilities.secondary &= !(1 << 8);
        assert_eq!(passes(&capabilities, 0), [0x808]);
        assert_eq!(passes(&capabilities, 1), [0x808, 0x80b, 0x83f]);
    }
}
