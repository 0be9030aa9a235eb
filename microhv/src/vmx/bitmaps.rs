//! The permission maps that all guests share: every port exits, and all MSRs but those that belong to the guest while it
//! runs.

use super::switched;
use crate::mm::{frames, phys};
use crate::types::Mfn;

/// Registers of the control structure that a guest reads and writes itself: SYSENTER_{CS,ESP,EIP}, FS.base, GS.base.
const IN_THE_STRUCTURE: [u32; 5] = [0x174, 0x175, 0x176, 0xc000_0100, 0xc000_0101];

/// Both maps' frames: ports 0..0x7fff, ports from 0x8000, and MSRs.
#[derive(Clone, Copy)]
pub struct Bitmaps {
    pub io_a: Mfn,
    pub io_b: Mfn,
    pub msr: Mfn,
}

/// Byte and mask of an MSR's read bit; its write bit is 2048 bytes behind (SDM 25.6.9).
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
    pub fn new() -> Option<Self> {
        let filled = || frames::alloc_ones(0);
        let (io_a, io_b, msr) = (filled()?, filled()?, filled()?);
        let passed = IN_THE_STRUCTURE.into_iter().chain(switched::MSRS);
        for (byte, mask) in passed.filter_map(place) {
            for byte in [byte, byte + 2048] {
                phys::write_u8(msr, byte, phys::read_u8(msr, byte) & !mask);
            }
        }
        Some(Self { io_a, io_b, msr })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_guests_registers_pass() {
        let maps = Bitmaps::new().unwrap();
        let exits = |msr| {
            let (byte, mask) = place(msr).unwrap();
            [byte, byte + 2048].map(|byte| phys::read_u8(maps.msr, byte) & mask != 0)
        };
        for passed in [
            0x174,
            0x176,
            0xc000_0081,
            0xc000_0082,
            0xc000_0084,
            0xc000_0100,
            0xc000_0102,
        ] {
            assert_eq!(exits(passed), [false; 2], "{passed:#x}");
        }
        for watched in [0x1b, 0x3a, 0x277, 0x480, 0x830, 0xc000_0080, 0xc000_0103] {
            assert_eq!(exits(watched), [true; 2], "{watched:#x}");
        }
        assert_eq!(place(0x174), Some((0x2e, 1 << 4)));
        assert_eq!(place(0xc000_0081), Some((1024 + 0x10, 1 << 1)));
        assert_eq!(place(0x4000_0000), None, "always exits");
        assert_eq!(phys::read_u64(maps.io_b, 4088), u64::MAX);
    }
}
