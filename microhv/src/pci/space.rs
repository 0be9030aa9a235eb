//! Configuration space, by the ports 0xCF8/0xCFC (PCI Local Bus Specification 3.0, 3.2.2.3.2).

use super::Sbdf;
use crate::arch::cpu;
use spin::Mutex;

const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;
const ENABLE: u32 = 1 << 31;

/// Register offsets of the header (type 0 unless said otherwise).
pub mod register {
    pub const VENDOR_ID: u8 = 0x00;
    pub const COMMAND: u8 = 0x04;
    pub const STATUS: u8 = 0x06;
    pub const CLASS: u8 = 0x08;
    pub const HEADER_TYPE: u8 = 0x0e;
    pub const BAR0: u8 = 0x10;
    /// Type 1.
    pub const SECONDARY_BUS: u8 = 0x19;
    pub const EXPANSION_ROM: u8 = 0x30;
    pub const CAPABILITIES: u8 = 0x34;
}

/// Bits of the command register.
pub mod command {
    pub const IO: u16 = 1 << 0;
    pub const MEMORY: u16 = 1 << 1;
    pub const BUS_MASTER: u16 = 1 << 2;
    pub const INTX_DISABLE: u16 = 1 << 10;
}

/// Where configuration registers are read and written; tests have one in memory.
pub trait Space {
    /// Reads `size` (1, 2 or 4) bytes at `offset`, aligned to `size`. All ones where there is no device.
    fn read(&self, sbdf: Sbdf, offset: u8, size: u8) -> u32;
    /// Writes `size` (1, 2 or 4) bytes at `offset`, aligned to `size`.
    fn write(&self, sbdf: Sbdf, offset: u8, size: u8, value: u32);

    /// Reads 4 bytes.
    fn read32(&self, sbdf: Sbdf, offset: u8) -> u32 {
        self.read(sbdf, offset, 4)
    }
    /// Writes 4 bytes.
    fn write32(&self, sbdf: Sbdf, offset: u8, value: u32) {
        self.write(sbdf, offset, 4, value);
    }
    /// Reads 2 bytes.
    fn read16(&self, sbdf: Sbdf, offset: u8) -> u16 {
        self.read(sbdf, offset, 2) as u16
    }
    /// Writes 2 bytes.
    fn write16(&self, sbdf: Sbdf, offset: u8, value: u16) {
        self.write(sbdf, offset, 2, u32::from(value));
    }
    /// Reads 1 byte.
    fn read8(&self, sbdf: Sbdf, offset: u8) -> u8 {
        self.read(sbdf, offset, 1) as u8
    }
    /// Clears, then sets bits of 2 bytes; what they were.
    fn change16(&self, sbdf: Sbdf, offset: u8, clear: u16, set: u16) -> u16 {
        let before = self.read16(sbdf, offset);
        self.write16(sbdf, offset, before & !clear | set);
        before
    }

    /// The capability with identifier `id`, by its offset.
    fn capability(&self, sbdf: Sbdf, id: u8) -> Option<u8> {
        self.capability_after(sbdf, id, 0)
    }

    /// The next capability with identifier `id` behind the one at `after` (0: the first). The list is the device's own
    /// and may be anything: at most 48 capabilities are looked at.
    fn capability_after(&self, sbdf: Sbdf, id: u8, after: u8) -> Option<u8> {
        const HAS_LIST: u16 = 1 << 4;
        if self.read16(sbdf, register::STATUS) & HAS_LIST == 0 {
            return None;
        }
        let mut at = if after == 0 {
            self.read8(sbdf, register::CAPABILITIES)
        } else {
            self.read8(sbdf, after | 1)
        } & !3;
        for _ in 0..48 {
            if at < 0x40 {
                return None;
            }
            if self.read8(sbdf, at) == id {
                return Some(at);
            }
            at = self.read8(sbdf, at | 1) & !3;
        }
        None
    }
}

/// The machine's own configuration space, segment 0.
#[derive(Clone, Copy, Debug)]
pub struct Ports;

/// Address and data port are one pair for all CPUs.
static PORTS: Mutex<()> = Mutex::new(());

fn select(sbdf: Sbdf, offset: u8) -> u32 {
    ENABLE | (sbdf.0 & 0xffff) << 8 | u32::from(offset & !3)
}

impl Space for Ports {
    fn read(&self, sbdf: Sbdf, offset: u8, size: u8) -> u32 {
        if sbdf.segment() != 0 {
            return u32::MAX;
        }
        let _guard = PORTS.lock();
        cpu::outl(ADDRESS, select(sbdf, offset));
        let port = DATA + u16::from(offset & 3);
        match size {
            1 => u32::from(cpu::inb(port)),
            2 => u32::from(cpu::inw(port)),
            _ => cpu::inl(port),
        }
    }

    fn write(&self, sbdf: Sbdf, offset: u8, size: u8, value: u32) {
        if sbdf.segment() != 0 {
            return;
        }
        let _guard = PORTS.lock();
        cpu::outl(ADDRESS, select(sbdf, offset));
        let port = DATA + u16::from(offset & 3);
        match size {
            1 => cpu::outb(port, value as u8),
            2 => cpu::outw(port, value as u16),
            _ => cpu::outl(port, value),
        }
    }
}

#[cfg(test)]
pub mod fake {
    //! Devices in memory, for the tests of this folder.

    use super::*;
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    /// One function: registers, which bits of them can be written, and which are cleared by writing ones.
    #[derive(Clone)]
    pub struct Function {
        pub registers: [u8; 256],
        pub writable: [u8; 256],
        pub write_1_to_clear: [u8; 256],
    }

    /// A configuration space in memory that remembers all writes.
    #[derive(Default)]
    pub struct Fake {
        pub functions: RefCell<BTreeMap<u32, Function>>,
        pub writes: RefCell<Vec<(Sbdf, u8, u8, u32)>>,
    }

    impl Function {
        pub fn new(vendor: u16, device: u16, class: u32) -> Self {
            let mut this = Self {
                registers: [0; 256],
                writable: [0; 256],
                write_1_to_clear: [0; 256],
            };
            this.put16(0, vendor);
            this.put16(2, device);
            this.put32(8, class);
            this.writable[4] = 0x47;
            this.writable[5] = 0x05;
            this.write_1_to_clear[7] = 0xf9;
            this
        }
        pub fn put16(&mut self, at: usize, value: u16) {
            self.registers[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        pub fn put32(&mut self, at: usize, value: u32) {
            self.registers[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        /// A memory BAR of `size` bytes.
        pub fn bar(&mut self, index: usize, value: u32, size: u32) {
            self.put32(0x10 + index * 4, value);
            self.writable[0x10 + index * 4..][..4]
                .copy_from_slice(&(!(size - 1) & !0xf).to_le_bytes());
        }
        /// A capability at `at`, put at the head of the list.
        pub fn capability(&mut self, at: usize, id: u8, body: &[u8]) {
            self.registers[6] |= 0x10;
            self.registers[at] = id;
            self.registers[at + 1] = self.registers[0x34];
            self.registers[at + 2..at + 2 + body.len()].copy_from_slice(body);
            self.registers[0x34] = at as u8;
        }
    }

    impl Fake {
        pub fn add(&self, sbdf: Sbdf, function: Function) {
            self.functions.borrow_mut().insert(sbdf.0, function);
        }
        pub fn with<T>(&self, sbdf: Sbdf, f: impl FnOnce(&mut Function) -> T) -> T {
            f(self.functions.borrow_mut().get_mut(&sbdf.0).unwrap())
        }
    }

    impl Space for Fake {
        fn read(&self, sbdf: Sbdf, offset: u8, size: u8) -> u32 {
            assert!(offset.is_multiple_of(size));
            let functions = self.functions.borrow();
            let mut bytes = [0xff; 4];
            if let Some(function) = functions.get(&sbdf.0) {
                bytes = [0; 4];
                bytes[..size as usize]
                    .copy_from_slice(&function.registers[offset as usize..][..size as usize]);
            }
            u32::from_le_bytes(bytes) & (u64::MAX >> (64 - 8 * u32::from(size))) as u32
        }
        fn write(&self, sbdf: Sbdf, offset: u8, size: u8, value: u32) {
            assert!(offset.is_multiple_of(size));
            self.writes.borrow_mut().push((sbdf, offset, size, value));
            if let Some(function) = self.functions.borrow_mut().get_mut(&sbdf.0) {
                for (i, byte) in value
                    .to_le_bytes()
                    .into_iter()
                    .take(size as usize)
                    .enumerate()
                {
                    let at = offset as usize + i;
                    let mask = function.writable[at];
                    let old = function.registers[at] & !(byte & function.write_1_to_clear[at]);
                    function.registers[at] = old & !mask | byte & mask;
                }
            }
        }
    }
}
