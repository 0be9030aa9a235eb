//! The permission maps that all guests share: every port exits, and all MSRs but those that VMLOAD and VMSAVE switch.

use crate::mm::{frames, phys};
use crate::types::{Mfn, PAGE_SIZE};

/// Both maps' first frames.
#[derive(Clone, Copy)]
pub struct Bitmaps {
    pub iopm: Mfn,
    pub msrpm: Mfn,
}

/// Registers that belong to the guest while it runs: SYSENTER_{CS,ESP,EIP}; STAR, LSTAR, CSTAR, SFMASK; FS.base, GS.base,
/// KernelGSbase.
const PASSED: [core::ops::RangeInclusive<u32>; 3] = [
    0x174..=0x176,
    0xc000_0081..=0xc000_0084,
    0xc000_0100..=0xc000_0102,
];

/// Byte and shift of an MSR's two bits (read, write) in the map (AMD64 manual, volume 2, 15.11).
fn place(msr: u32) -> Option<(usize, u32)> {
    let index = match msr {
        0..=0x1fff => msr,
        0xc000_0000..=0xc000_1fff => 0x2000 + (msr - 0xc000_0000),
        0xc001_0000..=0xc001_1fff => 0x4000 + (msr - 0xc001_0000),
        _ => return None,
    };
    Some(((index / 4) as usize, index % 4 * 2))
}

impl Bitmaps {
    /// Makes both; they are never freed. `None`: out of memory.
    pub fn new() -> Option<Self> {
        // Three pages are used, as an access may straddle port 0xffff.
        let iopm = frames::alloc_filled(2, u64::MAX)?;
        let msrpm = frames::alloc_filled(1, u64::MAX)?;
        for (byte, shift) in PASSED.into_iter().flatten().filter_map(place) {
            let mfn = Mfn(msrpm.0 + (byte / PAGE_SIZE) as u64);
            let old = phys::read_u8(mfn, byte % PAGE_SIZE);
            phys::write_u8(mfn, byte % PAGE_SIZE, old & !(3 << shift));
        }
        Some(Self { iopm, msrpm })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_where_the_manual_says() {
        assert_eq!(place(0x174), Some((0x5d, 0)));
        assert_eq!(place(0xc000_0081), Some((0x820, 2)));
        assert_eq!(place(0xc001_0000), Some((0x1000, 0)));
        assert_eq!(place(0x4000_0000), None);
    }

    #[test]
    fn only_switched_registers_pass() {
        let maps = Bitmaps::new().unwrap();
        let exits = |msr| {
            let (byte, shift) = place(msr).unwrap();
            phys::read_u8(
                Mfn(maps.msrpm.0 + (byte / PAGE_SIZE) as u64),
                byte % PAGE_SIZE,
            ) >> shift
                & 3
        };
        assert_eq!(exits(0xc000_0101), 0);
        assert_eq!(exits(0x176), 0);
        assert_eq!(exits(0xc000_0080), 3, "EFER");
        assert_eq!(exits(0x1b), 3, "APIC_BASE");
        assert_eq!(exits(0xc001_0117), 3, "VM_HSAVE_PA");
        assert_eq!(phys::read_u64(Mfn(maps.iopm.0 + 2), 0), u64::MAX);
    }
}
