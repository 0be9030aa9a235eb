//! The configuration space of an assigned device, and virtio's capabilities in it (virtio 1.2, 4.1.4).

use domain::pci::{Sbdf, config_read, config_write};
use virtio_drivers::transport::pci::bus::{ConfigurationAccess, DeviceFunction};

/// Configuration space through the ports, which the hypervisor filters.
#[derive(Debug)]
pub struct Ports;

fn sbdf(function: DeviceFunction) -> Sbdf {
    Sbdf(
        u32::from(function.bus) << 8
            | u32::from(function.device) << 3
            | u32::from(function.function),
    )
}

#[expect(unsafe_code, reason = "the trait has an unsafe method")]
impl ConfigurationAccess for Ports {
    fn read_word(&self, function: DeviceFunction, offset: u8) -> u32 {
        config_read(sbdf(function), offset)
    }

    fn write_word(&mut self, function: DeviceFunction, offset: u8, data: u32) {
        config_write(sbdf(function), offset, data);
    }

    unsafe fn unsafe_clone(&self) -> Self {
        Self
    }
}

/// Where in the device's memory a structure of virtio's lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Base-address register.
    pub bar: usize,
    /// Bytes from its start.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// The word after these: the notification structure's `notify_off_multiplier`.
    pub extra: u32,
}

/// The status register's bit for "there is a list of capabilities" (PCI Local Bus Specification 3.0, 6.2.3).
const CAPABILITY_LIST: u32 = 1 << 20;
/// A vendor-specific capability.
const VENDOR: u8 = 9;
/// Capabilities that fit in the space for them: a longer list goes round in circles.
const MAX_CAPABILITIES: usize = 48;

/// Finds the structure of type `kind` (`VIRTIO_PCI_CAP_*`) with `read`, which reads configuration words.
pub fn find(kind: u8, read: impl Fn(u8) -> u32) -> Option<Region> {
    if read(4) & CAPABILITY_LIST == 0 {
        return None;
    }
    let mut at = read(0x34) as u8 & !3;
    for _ in 0..MAX_CAPABILITIES {
        if !(0x40..=0xf0).contains(&at) {
            return None;
        }
        let header = read(at).to_le_bytes();
        if header[0] == VENDOR && header[2] >= 16 && header[3] == kind {
            let region = Region {
                bar: usize::from(read(at + 4) as u8),
                offset: read(at + 8).into(),
                length: read(at + 12).into(),
                extra: if header[2] >= 20 { read(at + 16) } else { 0 },
            };
            return Some(region);
        }
        at = header[1] & !3;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(capabilities: &[(u8, [u8; 16])]) -> [u8; 256] {
        let mut space = [0; 256];
        space[6] = 0x10;
        space[0x34] = capabilities[0].0;
        for (at, bytes) in capabilities {
            space[usize::from(*at)..][..16].copy_from_slice(bytes);
        }
        space
    }

    fn read(space: &[u8; 256]) -> impl Fn(u8) -> u32 {
        |at| u32::from_le_bytes(space[usize::from(at)..][..4].try_into().unwrap())
    }

    #[test]
    fn structures_are_found_behind_other_capabilities() {
        let msix = [0x11, 0x50, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let notify = [9, 0x60, 20, 2, 4, 0, 0, 0, 0, 0x30, 0, 0, 0, 0x10, 0, 0];
        let common = [9, 0, 16, 1, 4, 0, 0, 0, 0, 0, 1, 0, 56, 0, 0, 0];
        let mut space = space(&[(0x40, msix), (0x50, notify), (0x70, common)]);
        // The next pointer of the second, and its multiplier.
        space[0x51] = 0x70;
        space[0x60] = 4;
        assert_eq!(
            find(1, read(&space)),
            Some(Region {
                bar: 4,
                offset: 0x1_0000,
                length: 56,
                extra: 0,
            })
        );
        assert_eq!(
            find(2, read(&space)),
            Some(Region {
                bar: 4,
                offset: 0x3000,
                length: 0x1000,
                extra: 4,
            })
        );
        assert_eq!(find(4, read(&space)), None);
    }

    #[test]
    fn a_list_without_end_ends() {
        let circle = [0x11, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(find(1, read(&space(&[(0x40, circle)]))), None);
        assert_eq!(find(1, |_| u32::MAX), None, "no device answers");
    }
}
