//! Base-address registers (PCI Local Bus Specification 3.0, 6.2.5.1).

use super::Sbdf;
use super::space::{Space, command, register};

/// Base-address registers of a type-0 header.
pub const BARS: usize = 6;

/// What one register (or, for 64 bits, two) decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Bar {
    /// Where firmware put it: physical address, or port.
    pub base: u64,
    /// Bytes; 0: none.
    pub size: u64,
    /// Ports, not memory.
    pub io: bool,
    /// It takes the next register too.
    pub wide: bool,
    /// Reads have no side effects.
    pub prefetchable: bool,
}

impl Bar {
    /// The read-only flag bits that belong to this BAR's low register.
    pub const fn flags(&self) -> u32 {
        if self.io {
            1
        } else {
            (self.wide as u32) << 2 | (self.prefetchable as u32) << 3
        }
    }

    /// The address after its last byte; None if no address of this machine's is that high: devices say what they like.
    pub fn end(&self) -> Option<u64> {
        let end = self.base.checked_add(self.size);
        end.filter(|end| *end <= 1 << 46)
    }
}

/// Finds out what the device decodes by writing all ones, with decoding off meanwhile; everything is as before on return.
pub fn probe(space: &dyn Space, sbdf: Sbdf) -> [Bar; BARS] {
    let decoding = command::IO | command::MEMORY | command::BUS_MASTER;
    let saved = space.change16(sbdf, register::COMMAND, decoding, 0);
    let mut bars = [Bar::default(); BARS];
    let mut index = 0;
    while index < BARS {
        let offset = register::BAR0 + index as u8 * 4;
        let low = space.read32(sbdf, offset);
        let low_mask = size_mask(space, sbdf, offset, low);
        if low & 1 != 0 {
            let mask = low_mask & !3;
            // Devices may leave the upper 16 bits of a port BAR hard-wired to zero.
            let mask = if mask >> 16 == 0 {
                mask | 0xffff_0000
            } else {
                mask
            };
            if low_mask & !3 != 0 {
                bars[index] = Bar {
                    base: u64::from(low & !3),
                    size: u64::from((!mask).wrapping_add(1)),
                    io: true,
                    ..Bar::default()
                };
            }
            index += 1;
            continue;
        }
        let wide = low >> 1 & 3 == 2 && index + 1 < BARS;
        let mut base = u64::from(low & !15);
        let mut mask = u64::from(low_mask & !15) | 0xffff_ffff_0000_0000;
        if wide {
            let high = space.read32(sbdf, offset + 4);
            base |= u64::from(high) << 32;
            let high_mask = size_mask(space, sbdf, offset + 4, high);
            mask = u64::from(low_mask & !15) | u64::from(high_mask) << 32;
        }
        let implemented = if wide { mask != 0 } else { low_mask & !15 != 0 };
        if implemented {
            bars[index] = Bar {
                base,
                size: (!mask).wrapping_add(1),
                io: false,
                wide,
                prefetchable: low & 8 != 0,
            };
        }
        index += if wide { 2 } else { 1 };
    }
    space.write16(sbdf, register::COMMAND, saved);
    bars
}

/// The bits of the register that can be written.
fn size_mask(space: &dyn Space, sbdf: Sbdf, offset: u8, value: u32) -> u32 {
    space.write32(sbdf, offset, u32::MAX);
    let mask = space.read32(sbdf, offset);
    space.write32(sbdf, offset, value);
    mask
}

#[cfg(test)]
mod tests {
    use super::super::space::fake::{Fake, Function};
    use super::*;

    const DEVICE: Sbdf = Sbdf::new(0, 3, 0);

    #[test]
    fn sizes_are_found_and_everything_is_restored() {
        let space = Fake::default();
        let mut function = Function::new(0x1af4, 0x1041, 0x0200_0001);
        function.bar(1, 0xfebc_1000, 4096);
        function.bar(4, 0xfebf_c00c, 0x4000);
        function.writable[0x24..0x28].fill(0xff); // upper half of BAR 4
        function.put32(0x10, 0xc041);
        function.writable[0x10..0x12].copy_from_slice(&0xffe0u16.to_le_bytes());
        function.put16(4, 0x0407);
        space.add(DEVICE, function.clone());
        let bars = probe(&space, DEVICE);
        assert_eq!(
            bars[0],
            Bar {
                base: 0xc040,
                size: 32,
                io: true,
                wide: false,
                prefetchable: false
            }
        );
        assert_eq!(
            bars[1],
            Bar {
                base: 0xfebc_1000,
                size: 4096,
                io: false,
                wide: false,
                prefetchable: false
            }
        );
        assert_eq!(bars[2], Bar::default());
        assert_eq!(
            bars[4],
            Bar {
                base: 0xfebf_c000,
                size: 0x4000,
                io: false,
                wide: true,
                prefetchable: true
            }
        );
        assert_eq!(bars[5], Bar::default());
        space.with(DEVICE, |after| {
            assert_eq!(after.registers, function.registers)
        });
        // Decoding was off while the registers held nonsense.
        assert_eq!(space.writes.borrow()[0], (DEVICE, 4, 2, 0x0400));
    }

    #[test]
    fn a_device_that_answers_all_ones_is_survived() {
        let bars = probe(&Fake::default(), DEVICE);
        assert!(bars.iter().all(|bar| bar.io));
    }
}
