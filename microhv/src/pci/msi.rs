//! The MSI capability (PCI Local Bus Specification 3.0, 6.8.1), for devices that are microhv's own: IOMMUs.

use super::Sbdf;
use super::space::{Ports, Space};

/// Capability identifier.
const ID: u8 = 0x05;
const ENABLE: u16 = 1 << 0;
/// Multiple message enable.
const MESSAGES: u16 = 7 << 4;
const WIDE: u16 = 1 << 7;

/// Has the device signal by writing `data` to `address`; false if it cannot.
pub fn set_message(sbdf: Sbdf, address: u64, data: u32) -> bool {
    set_message_in(&Ports, sbdf, address, data)
}

fn set_message_in(space: &dyn Space, sbdf: Sbdf, address: u64, data: u32) -> bool {
    let Some(at) = space.capability(sbdf, ID).filter(|at| *at <= 0xf0) else {
        return false;
    };
    let control = space.read16(sbdf, at + 2);
    space.write32(sbdf, at + 4, address as u32);
    if control & WIDE != 0 {
        space.write32(sbdf, at + 8, (address >> 32) as u32);
        space.write16(sbdf, at + 12, data as u16);
    } else {
        space.write16(sbdf, at + 8, data as u16);
    }
    space.write16(sbdf, at + 2, control & !MESSAGES | ENABLE);
    true
}

#[cfg(test)]
mod tests {
    use super::super::space::fake::{Fake, Function};
    use super::*;

    const DEVICE: Sbdf = Sbdf::new(0, 1, 0);

    #[test]
    fn the_message_goes_where_the_capability_is() {
        let space = Fake::default();
        let mut function = Function::new(0x1022, 0, 0x0806_0000);
        function.registers[6] = 0x10;
        function.registers[0x34] = 0x40;
        function.registers[0x40] = ID;
        function.registers[0x42] = 0x80;
        function.writable.fill(0xff);
        space.add(DEVICE, function);
        assert!(set_message_in(&space, DEVICE, 0xfee0_1000, 0x31));
        assert_eq!(space.read32(DEVICE, 0x44), 0xfee0_1000);
        assert_eq!(space.read32(DEVICE, 0x48), 0);
        assert_eq!(space.read16(DEVICE, 0x4c), 0x31);
        assert_eq!(space.read16(DEVICE, 0x42), 0x81);
    }

    #[test]
    fn a_device_without_the_capability_is_left_alone() {
        let space = Fake::default();
        space.add(DEVICE, Function::new(0x1022, 0, 0x0806_0000));
        assert!(!set_message_in(&space, DEVICE, 0xfee0_0000, 0x31));
        assert!(space.writes.borrow().is_empty());
    }
}
