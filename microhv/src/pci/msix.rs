//! The MSI-X capability and its table (PCI Local Bus Specification 3.0, 6.8.2). Only microhv writes either.

use super::Sbdf;
use super::bar::{BARS, Bar};
use super::space::Space;
use crate::mm::Mmio;

/// Capability identifier.
const ID: u8 = 0x11;
const ENABLE: u16 = 1 << 15;
const FUNCTION_MASK: u16 = 1 << 14;
/// Bytes of a table entry: address, upper address, data, vector control.
const ENTRY: usize = 16;
const VECTOR_MASKED: u32 = 1;

/// Where the table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Offset in configuration space.
    pub at: u8,
    /// Entries of the table.
    pub count: u16,
    /// Physical address of the table.
    pub address: u64,
}

impl Capability {
    /// Reads the device's capability; None if it has none, or one that points nowhere.
    pub fn find(space: &dyn Space, sbdf: Sbdf, bars: &[Bar; BARS]) -> Option<Self> {
        let at = space.capability(sbdf, ID).filter(|at| *at <= 0xf4)?;
        let control = space.read16(sbdf, at + 2);
        let table = space.read32(sbdf, at + 4);
        let count = (control & 0x7ff) + 1;
        let bar = bars.get((table & 7) as usize).filter(|bar| !bar.io)?;
        let end = bar.end()?;
        let address = bar.base + u64::from(table & !7);
        let fits = address + u64::from(count) * ENTRY as u64 <= end;
        fits.then_some(Self { at, count, address })
    }

    /// The pages that hold the table, as a range of physical addresses.
    pub fn pages(&self) -> core::ops::Range<u64> {
        let end = self.address + u64::from(self.count) * ENTRY as u64;
        self.address & !0xfff..end.next_multiple_of(4096)
    }
}

/// A device's table, mapped for the hypervisor.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    capability: Capability,
    mmio: Mmio,
    /// Offset of entry 0 in `mmio`.
    first: usize,
}

impl Table {
    /// Maps the table; the device must decode memory. Nothing is enabled yet.
    pub fn map(capability: Capability) -> Option<Self> {
        let pages = capability.pages();
        let mmio = Mmio::map(pages.start, pages.end - pages.start)?;
        Some(Self {
            capability,
            mmio,
            first: (capability.address - pages.start) as usize,
        })
    }

    /// Entries.
    pub const fn count(&self) -> u16 {
        self.capability.count
    }

    /// Masks every entry, then enables MSI-X.
    pub fn enable(&self, space: &dyn Space, sbdf: Sbdf) {
        let control = self.capability.at + 2;
        space.change16(sbdf, control, 0, ENABLE | FUNCTION_MASK);
        (0..self.count()).for_each(|entry| self.mask(entry));
        space.change16(sbdf, control, FUNCTION_MASK, ENABLE);
    }

    /// Masks every entry and disables MSI-X.
    pub fn disable(&self, space: &dyn Space, sbdf: Sbdf) {
        (0..self.count()).for_each(|entry| self.mask(entry));
        space.change16(sbdf, self.capability.at + 2, ENABLE, 0);
    }

    fn place(&self, entry: u16) -> usize {
        self.first + usize::from(entry.min(self.count() - 1)) * ENTRY
    }

    /// Has `entry` write `message` from now on, and unmasks it.
    pub fn set(&self, entry: u16, message: (u64, u32)) {
        let at = self.place(entry);
        self.mask(entry);
        self.mmio.write_u32(at, message.0 as u32);
        self.mmio.write_u32(at + 4, (message.0 >> 32) as u32);
        self.mmio.write_u32(at + 8, message.1);
        self.mmio.write_u32(at + 12, 0);
    }

    /// Masks `entry`.
    pub fn mask(&self, entry: u16) {
        let at = self.place(entry) + 12;
        self.mmio.write_u32(at, VECTOR_MASKED);
        // The read makes sure that the write has arrived.
        let _ = self.mmio.read_u32(at);
    }
}

#[cfg(test)]
mod tests {
    use super::super::space::fake::{Fake, Function};
    use super::*;

    const DEVICE: Sbdf = Sbdf::new(0, 3, 0);

    fn device(table: u32) -> (Fake, [Bar; BARS]) {
        let space = Fake::default();
        let mut function = Function::new(0x1af4, 0x1041, 0x0200_0001);
        let mut body = [0u8; 10];
        body[0] = 2; // three entries
        body[2..6].copy_from_slice(&table.to_le_bytes());
        function.capability(0x84, 0x11, &body);
        function.writable[0x87] = 0xc0;
        space.add(DEVICE, function);
        let mut bars = [Bar::default(); BARS];
        bars[1] = Bar {
            base: 0xfebc_1000,
            size: 4096,
            ..Bar::default()
        };
        (space, bars)
    }

    #[test]
    fn the_capability_says_where_the_table_is() {
        let (space, bars) = device(1);
        let capability = Capability::find(&space, DEVICE, &bars).unwrap();
        assert_eq!(
            capability,
            Capability {
                at: 0x84,
                count: 3,
                address: 0xfebc_1000
            }
        );
        assert_eq!(capability.pages(), 0xfebc_1000..0xfebc_2000);
    }

    #[test]
    fn a_table_outside_its_bar_is_none() {
        for table in [0x1000 | 1, 0xfd8 | 1, 6, 7, 0] {
            let (space, bars) = device(table);
            assert_eq!(Capability::find(&space, DEVICE, &bars), None, "{table:#x}");
        }
    }

    #[test]
    fn a_bar_where_no_address_is_holds_no_table() {
        for base in [0u64.wrapping_sub(48), 0u64.wrapping_sub(4096), 1 << 46] {
            let (space, mut bars) = device(1);
            bars[1].base = base;
            assert_eq!(Capability::find(&space, DEVICE, &bars), None, "{base:#x}");
        }
    }

    #[test]
    fn entries_are_masked_until_they_are_set() {
        let (space, bars) = device(1);
        let capability = Capability::find(&space, DEVICE, &bars).unwrap();
        let memory = Mmio::fake(std::boxed::Box::leak(std::boxed::Box::new([0u64; 512])));
        let table = Table {
            capability,
            mmio: memory,
            first: 0,
        };
        table.enable(&space, DEVICE);
        assert_eq!(space.read16(DEVICE, 0x86), 0x8002);
        assert_eq!(
            (
                memory.read_u32(12),
                memory.read_u32(28),
                memory.read_u32(44)
            ),
            (1, 1, 1)
        );
        table.set(1, (0xfee0_0030, 0));
        assert_eq!((memory.read_u32(16), memory.read_u32(28)), (0xfee0_0030, 0));
        assert_eq!(memory.read_u32(12), 1);
        table.disable(&space, DEVICE);
        assert_eq!(memory.read_u32(28), 1);
        assert_eq!(space.read16(DEVICE, 0x86), 2);
    }
}
