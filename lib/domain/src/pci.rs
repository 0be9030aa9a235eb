//! Assigned PCI devices: which they are, their configuration space, memory and interrupts (design §6).
#![expect(unsafe_code, reason = "I/O ports and device memory")]

use crate::event::Port;
use crate::hypercall;
use alloc::vec::Vec;
use core::fmt;
use core::ptr::NonNull;
use xen_abi::Errno;
pub use xen_abi::microhv::{Bar, BarFlags, GetDevice};
use xen_abi::microhv::{MICROHV_GET_DEVICE, MICROHV_MSIX_BIND, MsixBind};

/// A device's address: segment, bus, device, function as on the host.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sbdf(pub u32);

impl Sbdf {
    /// Bus number.
    pub const fn bus(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// Device number, 0 to 31.
    pub const fn device(self) -> u8 {
        (self.0 >> 3) as u8 & 31
    }

    /// Function number, 0 to 7.
    pub const fn function(self) -> u8 {
        self.0 as u8 & 7
    }
}

impl fmt::Debug for Sbdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:04x}:{:02x}:{:02x}.{}",
            self.0 >> 16,
            self.bus(),
            self.device(),
            self.function()
        )
    }
}

impl fmt::Display for Sbdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// More devices than this are not asked for.
const MAX_DEVICES: u32 = 64;

/// Every device assigned to this domain.
pub fn devices() -> Result<Vec<GetDevice>, Errno> {
    let mut devices = Vec::new();
    for index in 0..MAX_DEVICES {
        let mut op = GetDevice {
            index,
            ..Default::default()
        };
        // SAFETY: the structure carries no address.
        match unsafe { hypercall::microhv_op(MICROHV_GET_DEVICE, &mut op) } {
            Ok(_) => devices.push(op),
            Err(Errno::ENOENT) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(devices)
}

/// Binds an MSI-X table entry to a new event channel; microhv writes the table and enables MSI-X.
pub fn msix_bind(device: Sbdf, entry: u32) -> Result<Port, Errno> {
    let mut op = MsixBind {
        sbdf: device.0,
        entry,
        ..Default::default()
    };
    // SAFETY: the structure carries no address.
    unsafe { hypercall::microhv_op(MICROHV_MSIX_BIND, &mut op) }?;
    Ok(Port::from_number(op.port))
}

/// Reads the configuration word at `offset` (a multiple of 4, below 256). All ones if the device is not ours.
pub fn config_read(device: Sbdf, offset: u8) -> u32 {
    port::select(device, offset);
    port::read_data()
}

/// Writes the configuration word at `offset` (a multiple of 4, below 256).
pub fn config_write(device: Sbdf, offset: u8, value: u32) {
    port::select(device, offset);
    port::write_data(value);
}

/// Maps device memory uncached at its guest physical address, whole pages, and returns where it starts. Stays mapped.
#[cfg(target_os = "none")]
pub fn map_device_memory(gpa: u64, size: u64) -> Result<NonNull<u8>, Errno> {
    let end = gpa.checked_add(size).ok_or(Errno::EINVAL)?;
    crate::paging::map(gpa, end, crate::paging::Access::Device)?;
    NonNull::new(gpa as *mut u8).ok_or(Errno::EINVAL)
}

/// There are no devices on the host.
#[cfg(not(target_os = "none"))]
pub fn map_device_memory(_gpa: u64, _size: u64) -> Result<NonNull<u8>, Errno> {
    Err(Errno::ENODEV)
}

/// PCI configuration mechanism 1 (PCI Local Bus Specification 3.0, 3.2.2.3.2).
#[cfg(target_os = "none")]
mod port {
    use super::Sbdf;
    use x86_64::instructions::port::Port;

    const CONFIG_ADDRESS: u16 = 0xcf8;
    const CONFIG_DATA: u16 = 0xcfc;

    pub(super) fn select(device: Sbdf, offset: u8) {
        let address = 1 << 31 | (device.0 & 0xffff) << 8 | u32::from(offset & 0xfc);
        // SAFETY: the hypervisor lets this port reach our own devices only.
        unsafe { Port::<u32>::new(CONFIG_ADDRESS).write(address) }
    }

    pub(super) fn read_data() -> u32 {
        // SAFETY: as above.
        unsafe { Port::<u32>::new(CONFIG_DATA).read() }
    }

    pub(super) fn write_data(value: u32) {
        // SAFETY: as above; a device that is told to use DMA can reach this domain's memory only.
        unsafe { Port::<u32>::new(CONFIG_DATA).write(value) }
    }
}

#[cfg(not(target_os = "none"))]
mod port {
    use super::Sbdf;

    pub(super) fn select(_: Sbdf, _: u8) {}
    pub(super) fn read_data() -> u32 {
        u32::MAX
    }
    pub(super) fn write_data(_: u32) {}
}
