//! An assigned virtio device: `virtio-drivers`' PCI transport, with what it leaves out.
#![expect(
    unsafe_code,
    reason = "two device registers that the crate does not expose"
)]

use alloc::vec::Vec;
use core::fmt;
use core::ptr::NonNull;

use domain::pci::{GetDevice, Sbdf, devices, map_device_memory, msix_bind};
use domain::xen_abi::Errno;
use domain::{Port, xen_abi};
use virtio_drivers::transport::pci::bus::{Command, DeviceFunction, PciRoot};
use virtio_drivers::transport::pci::{
    PciTransport, VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_CAP_NOTIFY_CFG, VirtioPciError,
};
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{Error, PhysAddr};
use xen_abi::microhv::BarFlags;

use crate::config::{self, Ports};
use crate::feature::{ACCESS_PLATFORM, VERSION_1};
use crate::hal::DomainHal;

/// Why a device cannot be used.
#[derive(Debug)]
pub enum OpenError {
    /// No device of the kind is assigned to this domain.
    Missing(DeviceType),
    /// The hypervisor did not tell.
    Hypervisor(Errno),
    /// The device's configuration space is not virtio's.
    Layout(VirtioPciError),
    /// The device's common registers are not where they should be.
    Registers,
    /// The device's memory accesses bypass the IOMMU: to use it would be to write to anybody's memory.
    Bypass,
    /// The device does not accept the features that it offers, or offers no virtio 1.
    Features,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(kind) => write!(
                f,
                "no virtio device of type {kind:?} is assigned to this domain"
            ),
            Self::Hypervisor(errno) => write!(f, "asking the hypervisor for devices: {errno}"),
            Self::Layout(error) => write!(f, "not a virtio 1 device: {error}"),
            Self::Registers => f.write_str("not a virtio 1 device: no common registers"),
            Self::Bypass => {
                f.write_str("the device bypasses the IOMMU (QEMU: iommu_platform=on is missing)")
            }
            Self::Features => f.write_str("the device does not accept its own features"),
        }
    }
}

/// `queue_select` and others in the common registers (virtio 1.2, 4.1.4.3).
const QUEUE_SELECT: usize = 0x16;
const QUEUE_MSIX_VECTOR: usize = 0x1a;
const QUEUE_NOTIFY_OFF: usize = 0x1e;
/// Bytes of the common registers that we reach.
const COMMON_LENGTH: u64 = 0x38;
/// What a vector register reads as when the device has no such vector.
const NO_VECTOR: u16 = 0xffff;

/// What we know of a queue.
#[derive(Clone, Copy, Default)]
struct QueueState {
    /// Its MSI-X vector.
    vector: Option<u16>,
    /// Where to notify it. (The crate would ask the device each time.)
    doorbell: Option<NonNull<u16>>,
}

/// An assigned virtio device. The device is reset when this is dropped.
pub struct PciDevice {
    transport: PciTransport,
    sbdf: Sbdf,
    common: NonNull<u16>,
    /// Where queues are notified: the start, its bytes, and the bytes for each step of `queue_notify_off`.
    doorbells: (NonNull<u16>, u64, u32),
    /// By queue number.
    queues: Vec<QueueState>,
    /// The device refused features or a vector.
    refused: bool,
}

// SAFETY: the registers may be accessed from any CPU; there is one owner.
unsafe impl Send for PciDevice {}

impl PciDevice {
    /// The first assigned device of a kind, reset.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(kind: DeviceType) -> Result<Self, OpenError> {
        for device in devices().map_err(OpenError::Hypervisor)? {
            let function = function(&device);
            if device.vendor != virtio_drivers::transport::pci::VIRTIO_VENDOR_ID {
                continue;
            }
            let mut root = PciRoot::new(Ports);
            root.set_command(
                function,
                Command::MEMORY_SPACE | Command::BUS_MASTER | Command::INTERRUPT_DISABLE,
            );
            let transport = PciTransport::new::<DomainHal, _>(&mut root, function)
                .map_err(OpenError::Layout)?;
            if transport.device_type() == kind {
                return Self::over(transport, &device);
            }
        }
        Err(OpenError::Missing(kind))
    }

    fn over(mut transport: PciTransport, device: &GetDevice) -> Result<Self, OpenError> {
        let sbdf = Sbdf(device.sbdf);
        let offered = transport.read_device_features();
        if offered & ACCESS_PLATFORM == 0 {
            return Err(OpenError::Bypass);
        }
        if offered & VERSION_1 == 0 {
            return Err(OpenError::Features);
        }
        let (common, ..) = map_structure(device, VIRTIO_PCI_CAP_COMMON_CFG, COMMON_LENGTH)?;
        let doorbells = map_structure(device, VIRTIO_PCI_CAP_NOTIFY_CFG, 2)?;
        Ok(Self {
            transport,
            sbdf,
            common,
            doorbells,
            queues: Vec::new(),
            refused: false,
        })
    }

    /// The device's address.
    #[must_use]
    pub fn sbdf(&self) -> Sbdf {
        self.sbdf
    }

    /// Has the device accepted everything so far? To be asked after the features are negotiated and after each queue.
    ///
    /// # Errors
    /// [`OpenError::Features`].
    pub fn check(&self) -> Result<(), OpenError> {
        if self.refused {
            Err(OpenError::Features)
        } else {
            Ok(())
        }
    }

    /// Makes queue number `queue`, which is not set up yet, raise the event channel returned, by MSI-X table entry `entry`.
    ///
    /// # Errors
    /// The hypervisor's.
    pub fn bind_queue(&mut self, queue: u16, entry: u16) -> Result<Port, Errno> {
        let port = msix_bind(self.sbdf, entry.into())?;
        self.state(queue).vector = Some(entry);
        Ok(port)
    }

    fn state(&mut self, queue: u16) -> &mut QueueState {
        let index = usize::from(queue);
        if self.queues.len() <= index {
            self.queues.resize(index + 1, QueueState::default());
        }
        &mut self.queues[index]
    }

    /// Finds out where `queue` is notified.
    fn find_doorbell(&mut self, queue: u16) {
        // SAFETY: as in `set_vector`.
        let step = unsafe {
            self.common.byte_add(QUEUE_SELECT).write_volatile(queue);
            self.common.byte_add(QUEUE_NOTIFY_OFF).read_volatile()
        };
        let (start, length, multiplier) = self.doorbells;
        let offset = u64::from(step) * u64::from(multiplier);
        let fits =
            offset.is_multiple_of(2) && offset.checked_add(2).is_some_and(|end| end <= length);
        // SAFETY: inside the notification structure, which was checked and mapped in `over`.
        self.state(queue).doorbell = fits.then(|| unsafe { start.byte_add(offset as usize) });
    }

    fn set_vector(&mut self, queue: u16, vector: u16) {
        // SAFETY: both registers lie within the common registers, which were checked and mapped in `over`; they are 16 bits
        // wide and aligned. The crate's own accesses to them are on this thread too, and select the queue anew.
        let taken = unsafe {
            self.common.byte_add(QUEUE_SELECT).write_volatile(queue);
            self.common
                .byte_add(QUEUE_MSIX_VECTOR)
                .write_volatile(vector);
            self.common.byte_add(QUEUE_MSIX_VECTOR).read_volatile()
        };
        if taken == NO_VECTOR {
            log::error!(
                "{}: no interrupt vector {vector} for queue {queue}",
                self.sbdf
            );
            self.refused = true;
        }
    }
}

/// Maps the virtio structure of type `kind`, of at least `least` bytes: where it starts, its bytes, and its extra word.
fn map_structure(
    device: &GetDevice,
    kind: u8,
    least: u64,
) -> Result<(NonNull<u16>, u64, u32), OpenError> {
    let sbdf = Sbdf(device.sbdf);
    let region = config::find(kind, |offset| domain::pci::config_read(sbdf, offset))
        .ok_or(OpenError::Registers)?;
    let bar = device.bars.get(region.bar).ok_or(OpenError::Registers)?;
    let fits = region
        .offset
        .checked_add(region.length)
        .is_some_and(|end| end <= bar.size);
    if !fits || region.length < least || bar.flags.contains(BarFlags::IO) || region.offset % 4 != 0
    {
        return Err(OpenError::Registers);
    }
    let start = map_device_memory(bar.gpa + region.offset, region.length)
        .map_err(|_| OpenError::Registers)?;
    Ok((start.cast(), region.length, region.extra))
}

fn function(device: &GetDevice) -> DeviceFunction {
    let sbdf = Sbdf(device.sbdf);
    DeviceFunction {
        bus: sbdf.bus(),
        device: sbdf.device(),
        function: sbdf.function(),
    }
}

impl Transport for PciDevice {
    fn device_type(&self) -> DeviceType {
        self.transport.device_type()
    }

    fn read_device_features(&mut self) -> u64 {
        self.transport.read_device_features()
    }

    /// Accepts what the driver wants, and the IOMMU.
    fn write_driver_features(&mut self, driver_features: u64) {
        self.transport
            .write_driver_features(driver_features | ACCESS_PLATFORM);
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.transport.max_queue_size(queue)
    }

    fn notify(&mut self, queue: u16) {
        match self
            .queues
            .get(usize::from(queue))
            .and_then(|state| state.doorbell)
        {
            // SAFETY: a register of the notification structure, checked in `find_doorbell`, 16 bits wide.
            Some(doorbell) => unsafe { doorbell.write_volatile(queue) },
            None => self.transport.notify(queue),
        }
    }

    fn get_status(&self) -> DeviceStatus {
        self.transport.get_status()
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.transport.set_status(status);
        // virtio 1.2, 3.1.1 step 6: the device may take the bit back.
        let asked =
            status.contains(DeviceStatus::FEATURES_OK) && !status.contains(DeviceStatus::DRIVER_OK);
        if asked
            && !self
                .transport
                .get_status()
                .contains(DeviceStatus::FEATURES_OK)
        {
            log::error!("{}: the device refuses its own features", self.sbdf);
            self.refused = true;
        }
    }

    fn set_guest_page_size(&mut self, size: u32) {
        self.transport.set_guest_page_size(size);
    }

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    /// Gives the queue its vector before it is enabled.
    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver: PhysAddr,
        device: PhysAddr,
    ) {
        self.find_doorbell(queue);
        if let Some(vector) = self.state(queue).vector {
            self.set_vector(queue, vector);
        }
        self.transport
            .queue_set(queue, size, descriptors, driver, device);
    }

    fn queue_unset(&mut self, queue: u16) {
        self.transport.queue_unset(queue);
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        self.transport.queue_used(queue)
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        self.transport.ack_interrupt()
    }

    fn read_config_generation(&self) -> u32 {
        self.transport.read_config_generation()
    }

    fn read_config_space<T>(&self, offset: usize) -> Result<T, Error>
    where
        T: domain::xen_abi::zerocopy::FromBytes + domain::xen_abi::zerocopy::IntoBytes,
    {
        self.transport.read_config_space(offset)
    }

    fn write_config_space<T>(&mut self, offset: usize, value: T) -> Result<(), Error>
    where
        T: domain::xen_abi::zerocopy::IntoBytes + domain::xen_abi::zerocopy::Immutable,
    {
        self.transport.write_config_space(offset, value)
    }
}
