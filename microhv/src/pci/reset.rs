//! Putting a device back to its state after power-on, between two owners.

use super::Sbdf;
use super::bar::BARS;
use super::enumerate::EXPRESS;
use super::space::{Space, command, register};

/// How a device was reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Function-level reset (PCI Express Base 5.0, 6.6.2); the function may be silent for 100 ms.
    FunctionLevel,
    /// A virtio device's status register (virtio 1.2, 4.1.4.9.1 for the way there).
    Virtio,
    /// To D3hot and back (PCI Power Management 1.2, 5.4.1); the function may be silent for 10 ms.
    PowerState,
    /// The device knows none of these. Its DMA and interrupts are blocked all the same.
    None,
}

impl Method {
    /// How long the device may be silent afterwards, in ns.
    pub const fn silence_ns(self) -> u64 {
        match self {
            Self::FunctionLevel => 100_000_000,
            Self::PowerState => 10_000_000,
            Self::Virtio | Self::None => 0,
        }
    }
}

/// Configuration that a reset forgets and firmware had set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    bars: [u32; BARS],
    cache_line: u32,
    interrupt_line: u32,
}

impl Saved {
    const CACHE_LINE: u8 = 0x0c;
    const INTERRUPT_LINE: u8 = 0x3c;

    /// Reads it.
    #[must_use]
    pub fn take(space: &dyn Space, sbdf: Sbdf) -> Self {
        let mut bars = [0; BARS];
        for (index, bar) in (0u8..).zip(&mut bars) {
            *bar = space.read32(sbdf, register::BAR0 + index * 4);
        }
        Self {
            bars,
            cache_line: space.read32(sbdf, Self::CACHE_LINE),
            interrupt_line: space.read32(sbdf, Self::INTERRUPT_LINE),
        }
    }

    /// Writes it back, with decoding off.
    pub fn restore(&self, space: &dyn Space, sbdf: Sbdf) {
        space.write16(sbdf, register::COMMAND, command::INTX_DISABLE);
        for (index, bar) in (0u8..).zip(&self.bars) {
            space.write32(sbdf, register::BAR0 + index * 4, *bar);
        }
        space.write32(sbdf, Self::CACHE_LINE, self.cache_line);
        space.write32(sbdf, Self::INTERRUPT_LINE, self.interrupt_line);
    }
}

/// Resets the device by the best way it has. Bus mastering is off and stays off.
pub fn reset(space: &dyn Space, sbdf: Sbdf) -> Method {
    if function_level(space, sbdf) {
        Method::FunctionLevel
    } else if virtio(space, sbdf) {
        Method::Virtio
    } else if power_state(space, sbdf) {
        Method::PowerState
    } else {
        Method::None
    }
}

fn function_level(space: &dyn Space, sbdf: Sbdf) -> bool {
    const DEVICE_CAPABILITIES: u8 = 4;
    const DEVICE_CONTROL: u8 = 8;
    const CAPABLE: u32 = 1 << 28;
    const INITIATE: u16 = 1 << 15;
    if let Some(at) = space.capability(sbdf, EXPRESS).filter(|at| *at <= 0xf0)
        && space.read32(sbdf, at + DEVICE_CAPABILITIES) & CAPABLE != 0
    {
        space.change16(sbdf, at + DEVICE_CONTROL, 0, INITIATE);
        return true;
    }
    // The same for conventional PCI: the Advanced Features capability.
    const ADVANCED_FEATURES: u8 = 0x13;
    const AF_CAPABLE: u8 = 1 << 1;
    if let Some(at) = space
        .capability(sbdf, ADVANCED_FEATURES)
        .filter(|at| *at <= 0xf8)
        && space.read8(sbdf, at + 3) & AF_CAPABLE != 0
    {
        space.write(sbdf, at + 4, 1, 1);
        return true;
    }
    false
}

/// Writes zero to the status register through the configuration-space window of virtio devices.
fn virtio(space: &dyn Space, sbdf: Sbdf) -> bool {
    const VENDOR: u16 = 0x1af4;
    const VENDOR_SPECIFIC: u8 = 0x09;
    const COMMON_CFG: u8 = 1;
    const PCI_CFG: u8 = 5;
    const DEVICE_STATUS: u32 = 0x14;
    if space.read16(sbdf, register::VENDOR_ID) != VENDOR {
        return false;
    }
    let (mut common, mut window) = (None, None);
    let mut at = 0;
    // The list has 48 members at most; one that runs in a circle ends here too.
    for _ in 0..48 {
        let Some(next) = space.capability_after(sbdf, VENDOR_SPECIFIC, at) else {
            break;
        };
        at = next;
        match space.read8(sbdf, at | 3) {
            COMMON_CFG if at <= 0xf0 => common = common.or(Some(at)),
            PCI_CFG if at <= 0xec => window = window.or(Some(at)),
            _ => {}
        }
    }
    let (Some(common), Some(window)) = (common, window) else {
        return false;
    };
    let bar = space.read8(sbdf, common + 4);
    let offset = space.read32(sbdf, common + 8).wrapping_add(DEVICE_STATUS);
    space.write(sbdf, window + 4, 1, u32::from(bar));
    space.write32(sbdf, window + 8, offset);
    space.write32(sbdf, window + 12, 1);
    space.write(sbdf, window + 16, 1, 0);
    // The reset is complete when the status reads as zero.
    (0..100_000).any(|_| space.read8(sbdf, window + 16) == 0)
}

fn power_state(space: &dyn Space, sbdf: Sbdf) -> bool {
    const POWER_MANAGEMENT: u8 = 0x01;
    const NO_SOFT_RESET: u16 = 1 << 3;
    const D3_HOT: u16 = 3;
    let Some(at) = space
        .capability(sbdf, POWER_MANAGEMENT)
        .filter(|at| *at <= 0xf8)
    else {
        return false;
    };
    let status = space.read16(sbdf, at + 4);
    if status & NO_SOFT_RESET != 0 {
        return false;
    }
    space.change16(sbdf, at + 4, D3_HOT, D3_HOT);
    space.change16(sbdf, at + 4, D3_HOT, 0);
    true
}

#[cfg(test)]
mod tests {
    use super::super::space::fake::{Fake, Function};
    use super::*;

    const DEVICE: Sbdf = Sbdf::new(0, 3, 0);

    fn device() -> Function {
        let mut function = Function::new(0x1af4, 0x1041, 0x0200_0001);
        function.writable[0x40..].fill(0xff);
        function
    }

    #[test]
    fn the_best_way_is_taken() {
        let space = Fake::default();
        space.add(DEVICE, device());
        assert_eq!(reset(&space, DEVICE), Method::None);
        let mut function = device();
        function.capability(0x40, 1, &[0; 6]);
        space.add(DEVICE, function.clone());
        assert_eq!(reset(&space, DEVICE), Method::PowerState);
        assert_eq!(space.read16(DEVICE, 0x44) & 3, 0);
        function.capability(0x60, 9, &[16, 1, 4, 0, 0, 0, 0, 0, 0, 0]);
        function.capability(0x80, 9, &[20, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff]);
        space.add(DEVICE, function.clone());
        assert_eq!(reset(&space, DEVICE), Method::Virtio);
        assert_eq!(
            (space.read8(DEVICE, 0x84), space.read32(DEVICE, 0x88)),
            (4, 0x14)
        );
        assert_eq!(space.read8(DEVICE, 0x90), 0);
        function.capability(0xa0, 0x10, &[0, 0, 0, 0, 0, 0x10, 0, 0]);
        space.add(DEVICE, function);
        assert_eq!(reset(&space, DEVICE), Method::FunctionLevel);
        assert_eq!(space.read16(DEVICE, 0xa8), 0x8000);
    }

    #[test]
    fn a_capability_list_in_a_circle_ends() {
        let space = Fake::default();
        let mut function = device();
        function.capability(0x60, 9, &[16, 2]);
        function.registers[0x61] = 0x60;
        space.add(DEVICE, function);
        assert_eq!(reset(&space, DEVICE), Method::None);
    }

    #[test]
    fn what_firmware_set_is_put_back() {
        let space = Fake::default();
        let mut function = device();
        function.bar(1, 0xfebc_1000, 4096);
        function.writable[0x3c] = 0xff;
        function.registers[0x3c] = 11;
        space.add(DEVICE, function);
        let saved = Saved::take(&space, DEVICE);
        space.with(DEVICE, |function| function.registers[0x10..0x40].fill(0));
        saved.restore(&space, DEVICE);
        assert_eq!(space.read32(DEVICE, 0x14), 0xfebc_1000);
        assert_eq!(space.read8(DEVICE, 0x3c), 11);
    }
}
