//! What a domain sees and may change of its device's configuration space.
//!
//! Reads pass, except base-address registers, which come from a shadow: a domain may size them, and write them to no
//! effect. Writes pass only where they cannot reach beyond the device: two bits of the command register and the
//! status bits that are cleared by writing ones. Not the one for memory decoding: a read of registers that nobody answers
//! is an error of the bus, which stops many a machine (XSA-120).

use super::Sbdf;
use super::bar::{BARS, Bar};
use super::space::{Space, command, register};

/// Command-register bits that the domain decides.
const COMMAND_BITS: u16 = command::BUS_MASTER | command::INTX_DISABLE;

/// The domain's view of one device's base-address registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shadow {
    /// What it has.
    pub bars: [Bar; BARS],
    values: [u32; BARS],
    /// The device may not master the bus, whatever the domain writes.
    quarantined: bool,
}

impl Shadow {
    /// The view in which every register holds what firmware wrote.
    pub fn new(bars: [Bar; BARS]) -> Self {
        let mut values = [0; BARS];
        for (index, bar) in bars.iter().enumerate().filter(|(_, bar)| bar.size > 0) {
            values[index] = bar.base as u32 | bar.flags();
            if bar.wide && index + 1 < BARS {
                values[index + 1] = (bar.base >> 32) as u32;
            }
        }
        Self {
            bars,
            values,
            quarantined: false,
        }
    }

    /// Bus mastering is off from now on; false if it was before.
    pub fn quarantine(&mut self, space: &dyn Space, sbdf: Sbdf) -> bool {
        if core::mem::replace(&mut self.quarantined, true) {
            return false;
        }
        space.change16(sbdf, register::COMMAND, command::BUS_MASTER, 0);
        true
    }

    /// What the register at `index` can hold: bits that can be written, bits that are fixed.
    fn shape(&self, index: usize) -> (u32, u32) {
        let bar = &self.bars[index];
        if bar.size > 0 {
            let fixed_low = if bar.io { 3 } else { 15 };
            return (!(bar.size.wrapping_sub(1)) as u32 & !fixed_low, bar.flags());
        }
        match index.checked_sub(1).map(|below| &self.bars[below]) {
            Some(below) if below.wide && below.size > 0 => ((!(below.size - 1) >> 32) as u32, 0),
            _ => (0, 0),
        }
    }

    fn write(&mut self, index: usize, value: u32) {
        let (writable, fixed) = self.shape(index);
        self.values[index] = value & writable | fixed;
    }

    fn bar_index(offset: u8) -> Option<usize> {
        let index = usize::from(offset.checked_sub(register::BAR0)?) / 4;
        (index < BARS).then_some(index)
    }

    /// Reads `size` (1, 2, 4) bytes at `offset`, which is aligned to it.
    pub fn read(&self, space: &dyn Space, sbdf: Sbdf, offset: u8, size: u8) -> u32 {
        let word = match (Self::bar_index(offset), offset & !3) {
            (Some(index), _) => self.values[index],
            (None, register::EXPANSION_ROM) => 0,
            (None, _) => return space.read(sbdf, offset, size),
        };
        let value = word >> (8 * u32::from(offset & 3));
        match size {
            1 => value & 0xff,
            2 => value & 0xffff,
            _ => value,
        }
    }

    /// Writes `size` (1, 2, 4) bytes at `offset`, which is aligned to it. False: dropped.
    pub fn write_register(
        &mut self,
        space: &dyn Space,
        sbdf: Sbdf,
        offset: u8,
        size: u8,
        value: u32,
    ) -> bool {
        if let Some(index) = Self::bar_index(offset) {
            if size != 4 {
                return false;
            }
            self.write(index, value);
            return true;
        }
        match (offset, size) {
            (register::COMMAND, 2) => self.set_command(space, sbdf, value as u16),
            (register::COMMAND, 4) => {
                self.set_command(space, sbdf, value as u16);
                space.write16(sbdf, register::STATUS, (value >> 16) as u16);
            }
            (register::STATUS, 2) => space.write16(sbdf, register::STATUS, value as u16),
            _ => return false,
        }
        true
    }

    /// Sets the domain's bits of the command register. Bits that stay at one: no legacy interrupts, which nobody would
    /// take.
    fn set_command(&self, space: &dyn Space, sbdf: Sbdf, value: u16) {
        let mut wanted = value & COMMAND_BITS | command::INTX_DISABLE;
        if self.quarantined {
            wanted &= !command::BUS_MASTER;
        }
        space.change16(sbdf, register::COMMAND, COMMAND_BITS, wanted);
    }
}

#[cfg(test)]
mod tests {
    use super::super::space::fake::{Fake, Function};
    use super::*;

    const DEVICE: Sbdf = Sbdf::new(0, 3, 0);

    fn device() -> (Fake, Shadow) {
        let space = Fake::default();
        let mut function = Function::new(0x1af4, 0x1041, 0x0200_0001);
        function.writable.fill(0xff);
        space.add(DEVICE, function);
        let mut bars = [Bar::default(); BARS];
        bars[0] = Bar {
            base: 0xc040,
            size: 32,
            io: true,
            ..Bar::default()
        };
        bars[1] = Bar {
            base: 0xfebc_1000,
            size: 4096,
            ..Bar::default()
        };
        bars[4] = Bar {
            base: 0x8_febf_c000,
            size: 0x4000,
            io: false,
            wide: true,
            prefetchable: true,
        };
        (space, Shadow::new(bars))
    }

    #[test]
    fn sizing_works_on_the_shadow_alone() {
        let (space, mut shadow) = device();
        let read = |shadow: &Shadow, offset| shadow.read(&space, DEVICE, offset, 4);
        assert_eq!(read(&shadow, 0x10), 0xc041);
        assert_eq!(read(&shadow, 0x14), 0xfebc_1000);
        assert_eq!(read(&shadow, 0x18), 0);
        assert_eq!((read(&shadow, 0x20), read(&shadow, 0x24)), (0xfebf_c00c, 8));
        for offset in (0x10..0x28).step_by(4) {
            assert!(shadow.write_register(&space, DEVICE, offset, 4, u32::MAX));
        }
        assert_eq!(read(&shadow, 0x10), 0xffff_ffe1);
        assert_eq!(read(&shadow, 0x14), 0xffff_f000);
        assert_eq!(read(&shadow, 0x18), 0);
        assert_eq!(
            (read(&shadow, 0x20), read(&shadow, 0x24)),
            (0xffff_c00c, 0xffff_ffff)
        );
        assert_eq!(shadow.read(&space, DEVICE, 0x22, 2), 0xffff);
        shadow.write_register(&space, DEVICE, 0x14, 4, 0xfebc_1000);
        assert_eq!(read(&shadow, 0x14), 0xfebc_1000);
        assert!(space.writes.borrow().is_empty());
    }

    #[test]
    fn only_harmless_command_bits_pass() {
        let (space, mut shadow) = device();
        shadow.write_register(&space, DEVICE, 4, 2, 0xffff);
        assert_eq!(space.read16(DEVICE, 4), 0x0404);
        // As it is when the device is assigned.
        space.write16(DEVICE, 4, command::MEMORY);
        shadow.write_register(&space, DEVICE, 4, 4, 0);
        assert_eq!(
            space.read16(DEVICE, 4),
            0x0402,
            "legacy interrupts stay off, and registers are answered for"
        );
    }

    #[test]
    fn a_device_in_quarantine_does_not_master_the_bus() {
        let (space, mut shadow) = device();
        space.write16(DEVICE, 4, command::MEMORY);
        shadow.write_register(&space, DEVICE, 4, 2, 6);
        assert!(shadow.quarantine(&space, DEVICE));
        assert_eq!(space.read16(DEVICE, 4), 0x0402);
        assert!(!shadow.quarantine(&space, DEVICE), "said once");
        shadow.write_register(&space, DEVICE, 4, 2, 6);
        assert_eq!(shadow.read(&space, DEVICE, 4, 2), 0x0402);
    }

    #[test]
    fn everything_else_is_dropped() {
        let (space, mut shadow) = device();
        for offset in 0..=255u8 {
            for size in [1, 2, 4] {
                if offset % size != 0
                    || (4..8).contains(&offset) && size > 1
                    || (0x10..0x28).contains(&offset)
                {
                    continue;
                }
                assert!(
                    !shadow.write_register(&space, DEVICE, offset, size, 0x5a5a_5a5a),
                    "{offset:#x} {size}"
                );
            }
        }
        assert!(space.writes.borrow().is_empty());
        assert_eq!(shadow.read(&space, DEVICE, 0x30, 4), 0);
    }
}
