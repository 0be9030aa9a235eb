//! Just enough of virtio-blk to have the device write where it is told (Virtio 1.2, 4.1 and 5.2).

use domain::Instant;
use domain::memory::PageRange;
use domain::pci::{self, GetDevice, Sbdf};

use super::registers::Registers;

/// Common configuration, 4.1.4.3.
mod common {
    pub const DEVICE_FEATURE_SELECT: u64 = 0x00;
    pub const DEVICE_FEATURE: u64 = 0x04;
    pub const DRIVER_FEATURE_SELECT: u64 = 0x08;
    pub const DRIVER_FEATURE: u64 = 0x0c;
    pub const DEVICE_STATUS: u64 = 0x14;
    pub const QUEUE_SELECT: u64 = 0x16;
    pub const QUEUE_SIZE: u64 = 0x18;
    pub const QUEUE_ENABLE: u64 = 0x1c;
    pub const QUEUE_NOTIFY_OFF: u64 = 0x1e;
    pub const QUEUE_DESC: u64 = 0x20;
    pub const QUEUE_DRIVER: u64 = 0x28;
    pub const QUEUE_DEVICE: u64 = 0x30;
}

/// Kinds of capabilities, 4.1.4.
const COMMON_CFG: u8 = 1;
const NOTIFY_CFG: u8 = 2;
const ACKNOWLEDGE: u8 = 1;
const DRIVER: u8 = 2;
const DRIVER_OK: u8 = 4;
const FEATURES_OK: u8 = 8;
/// Bits of the second feature word: VIRTIO_F_VERSION_1 (32) and VIRTIO_F_ACCESS_PLATFORM (33).
const FEATURES_HIGH: u32 = 0b11;
/// Entries of the queue.
const ENTRIES: u16 = 8;

/// Places in the page of the rings.
const DESCRIPTORS: u64 = 0x100;
const AVAILABLE: u64 = 0x200;
const USED: u64 = 0x300;
const HEADER: u64 = 0x400;
const STATUS: u64 = 0x500;
/// In the status byte before the device has written it.
const NOTHING: u8 = 0xff;

const NEXT: u16 = 1;
const WRITE: u16 = 2;

/// What came of a request.
#[derive(Debug)]
pub enum Outcome {
    /// The device finished it with this status, 0 for success.
    Status(u8),
    /// The device did not finish it.
    NoAnswer,
}

/// The controller.
pub struct Disk {
    common: Registers,
    notify: Registers,
    rings: PageRange,
    /// The device's address of `rings`.
    address: u64,
    sent: u16,
}

impl Disk {
    /// Resets `device` and gives it one queue in `rings`, which it sees at `address`.
    pub fn new(device: &GetDevice, rings: PageRange, address: u64) -> Result<Self, &'static str> {
        let sbdf = Sbdf(device.sbdf);
        // Memory space and bus master (PCI 3.0, 6.2.2).
        pci::config_write(sbdf, 4, pci::config_read(sbdf, 4) | 0b110);
        let (place, size, _) = find(device, COMMON_CFG)?;
        let common = Registers::map(place, size)?;
        common.write::<u8>(common::DEVICE_STATUS, 0);
        while common.read::<u8>(common::DEVICE_STATUS) != 0 {}
        common.write::<u8>(common::DEVICE_STATUS, ACKNOWLEDGE | DRIVER);
        common.write::<u32>(common::DEVICE_FEATURE_SELECT, 1);
        let offered: u32 = common.read(common::DEVICE_FEATURE);
        for (word, features) in [(0, 0), (1, offered & FEATURES_HIGH)] {
            common.write::<u32>(common::DRIVER_FEATURE_SELECT, word);
            common.write::<u32>(common::DRIVER_FEATURE, features);
        }
        common.write::<u8>(common::DEVICE_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
        if common.read::<u8>(common::DEVICE_STATUS) & FEATURES_OK == 0 {
            return Err("the device wants other features");
        }
        common.write::<u16>(common::QUEUE_SELECT, 0);
        common.write::<u16>(common::QUEUE_SIZE, ENTRIES);
        for (register, place) in [
            (common::QUEUE_DESC, DESCRIPTORS),
            (common::QUEUE_DRIVER, AVAILABLE),
            (common::QUEUE_DEVICE, USED),
        ] {
            common.write::<u32>(register, (address + place) as u32);
            common.write::<u32>(register + 4, ((address + place) >> 32) as u32);
        }
        let (place, _, multiplier) = find(device, NOTIFY_CFG)?;
        let offset =
            u64::from(common.read::<u16>(common::QUEUE_NOTIFY_OFF)) * u64::from(multiplier);
        let notify = Registers::map(place + offset, 2)?;
        common.write::<u16>(common::QUEUE_ENABLE, 1);
        common.write::<u8>(
            common::DEVICE_STATUS,
            ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK,
        );
        Ok(Self {
            common,
            notify,
            rings,
            address,
            sent: 0,
        })
    }

    /// Has the device read `sector` of 512 bytes to the device address `target`.
    pub fn read(&mut self, sector: u64, target: u64, deadline: Instant) -> Outcome {
        let (base, memory) = (self.address, self.rings.memory());
        let write = |place: u64, bytes: &[u8]| memory.write_bytes(place as usize, bytes).is_ok();
        let descriptor = |index: u64, address: u64, length: u32, flags: u16| {
            let mut entry = [0; 16];
            entry[..8].copy_from_slice(&address.to_le_bytes());
            entry[8..12].copy_from_slice(&length.to_le_bytes());
            entry[12..14].copy_from_slice(&flags.to_le_bytes());
            entry[14..].copy_from_slice(&(index as u16 + 1).to_le_bytes());
            write(DESCRIPTORS + index * 16, &entry)
        };
        // VIRTIO_BLK_T_IN is 0.
        let mut header = [0; 16];
        header[8..].copy_from_slice(&sector.to_le_bytes());
        let slot = u64::from(self.sent % ENTRIES);
        self.sent = self.sent.wrapping_add(1);
        let written = write(HEADER, &header)
            && write(STATUS, &[NOTHING])
            && descriptor(0, base + HEADER, 16, NEXT)
            && descriptor(1, target, 512, NEXT | WRITE)
            && descriptor(2, base + STATUS, 1, WRITE)
            && write(AVAILABLE + 4 + slot * 2, &[0, 0])
            && write(AVAILABLE + 2, &self.sent.to_le_bytes());
        assert!(written, "the rings are one page");
        core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
        self.notify.write::<u16>(0, 0);
        while Instant::now() < deadline {
            let mut used = [0; 2];
            if memory.read_bytes(USED as usize + 2, &mut used).is_ok()
                && u16::from_le_bytes(used) == self.sent
            {
                let mut status = [NOTHING];
                let _ = memory.read_bytes(STATUS as usize, &mut status);
                return Outcome::Status(status[0]);
            }
            domain::event::yield_now();
        }
        log::info!(
            "faulty: device status {:#x}",
            self.common.read::<u8>(common::DEVICE_STATUS)
        );
        Outcome::NoAnswer
    }
}

/// Where a virtio structure is: its address and size, and the word behind the capability (4.1.4).
fn find(device: &GetDevice, wanted: u8) -> Result<(u64, u64, u32), &'static str> {
    let sbdf = Sbdf(device.sbdf);
    let mut at = pci::config_read(sbdf, 0x34) as u8 & 0xfc;
    for _ in 0..48 {
        if at == 0 {
            break;
        }
        let head = pci::config_read(sbdf, at);
        let bar = pci::config_read(sbdf, at + 4) as u8;
        // Vendor-specific capability, of this kind.
        if head as u8 == 0x09 && (head >> 24) as u8 == wanted {
            let bar = device.bars.get(usize::from(bar)).ok_or("no such BAR")?;
            let (offset, length) = (
                pci::config_read(sbdf, at + 8),
                pci::config_read(sbdf, at + 12),
            );
            return Ok((
                bar.gpa + u64::from(offset),
                u64::from(length),
                pci::config_read(sbdf, at + 16),
            ));
        }
        at = (head >> 8) as u8 & 0xfc;
    }
    Err("no virtio capability")
}
