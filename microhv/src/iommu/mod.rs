//! DMA and interrupt remapping, whichever vendor's unit the machine has.
//!
//! From [`init`] on no device can reach memory or raise an interrupt unless it was attached to a domain's [`IoDomain`]
//! or given a [`DeviceInterrupt`].

mod interrupt;

pub use interrupt::{DeviceInterrupt, remap_ioapic};

use crate::paging::Access;
use crate::pci::Sbdf;
use crate::types::{Gfn, Mfn};
use crate::vtd;
use core::sync::atomic::{AtomicBool, Ordering};

static PRESENT: AtomicBool = AtomicBool::new(false);
static ACCEPT_NO_INTREMAP: AtomicBool = AtomicBool::new(false);

/// Why there is no IOMMU to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitError {
    /// The operator wrote `iommu=off`.
    Off,
    /// Firmware describes none.
    Absent,
    /// One is there but cannot be used; the sentence says why.
    Unusable(&'static str),
}

impl InitError {
    /// One sentence for the log.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Off => "IOMMU: switched off by iommu=off; devices cannot be assigned",
            Self::Absent => {
                "IOMMU: this machine has none (no DMAR table); devices cannot be assigned"
            }
            Self::Unusable(sentence) => sentence,
        }
    }
}

/// Finds the machine's IOMMU and takes it over: from here on no device reaches memory. Once, at boot; `acpi_table` gives
/// the ACPI table with a signature.
///
/// # Errors
/// See [`InitError`]; no device can be assigned then.
pub fn init(
    options: &config::xen_cmdline::Iommu,
    acpi_table: impl Fn(&[u8; 4]) -> Option<&'static [u8]>,
) -> Result<(), InitError> {
    if !options.enabled {
        return Err(InitError::Off);
    }
    ACCEPT_NO_INTREMAP.store(!options.intremap, Ordering::Relaxed);
    let table = acpi_table(b"DMAR").ok_or(InitError::Absent)?;
    let wishes = vtd::Wishes {
        intremap: options.intremap,
        superpages: options.superpages,
        verbose: options.verbose,
        debug: options.debug,
    };
    vtd::init(table, wishes).map_err(InitError::Unusable)?;
    PRESENT.store(true, Ordering::Release);
    vtd::enable_fault_events();
    log::info!(
        "IOMMU: DMA is blocked for all devices; interrupt remapping {}",
        if intremap() { "on" } else { "off" }
    );
    Ok(())
}

/// DMA is under control.
#[must_use]
pub fn present() -> bool {
    PRESENT.load(Ordering::Acquire)
}

/// Interrupts of devices are under control too.
#[must_use]
pub fn intremap() -> bool {
    vtd::intremap()
}

/// The operator accepts assigned devices that can raise any interrupt (`iommu=no-intremap`).
#[must_use]
pub fn accepts_no_intremap() -> bool {
    ACCEPT_NO_INTREMAP.load(Ordering::Relaxed)
}

/// Firmware may use this device's DMA for itself.
#[must_use]
pub fn is_reserved(sbdf: Sbdf) -> bool {
    vtd::is_reserved(sbdf)
}

/// Reports faults recorded so far, should a fault event have been lost. Bounded work; any time without locks held.
pub fn drain_faults() {
    if present() {
        vtd::drain_faults();
    }
}

/// Why an [`IoDomain`] was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// No frame for a further table, or no domain id.
    NoMemory,
    /// A frame number that devices cannot address.
    BadRange,
    /// There is no IOMMU, or none that serves the device.
    NoUnit,
}

impl From<vtd::UnitError> for Error {
    fn from(error: vtd::UnitError) -> Self {
        match error {
            vtd::UnitError::NoMemory => Self::NoMemory,
            _ => Self::NoUnit,
        }
    }
}

/// What one domain's devices may reach: the second-level table for DMA. Guest-physical addresses are DMA addresses.
/// Dropping it blocks its devices first.
pub struct IoDomain {
    inner: vtd::DmaDomain,
}

impl IoDomain {
    /// An empty address space: every DMA faults.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn new() -> Result<Self, Error> {
        if !present() {
            return Err(Error::NoUnit);
        }
        Ok(Self {
            inner: vtd::DmaDomain::new()?,
        })
    }

    /// Lets devices reach `2^order` frames at `gfn`; in force when it returns.
    ///
    /// # Errors
    /// See [`Error`]. After an error the range may be mapped in part: unmap it.
    pub fn map(&mut self, gfn: Gfn, mfn: Mfn, order: u32, access: Access) -> Result<(), Error> {
        self.inner
            .map(gfn, mfn, order, access)
            .map_err(|error| match error {
                crate::paging::Error::NoMemory => Error::NoMemory,
                _ => Error::BadRange,
            })
    }

    /// Takes `2^order` frames at `gfn` away from devices. In force only after [`Self::flush`]: until then the frames
    /// must not get a new owner.
    pub fn unmap(&mut self, gfn: Gfn, order: u32) {
        self.inner.unmap(gfn, order);
    }

    /// Makes all unmappings so far effective; DMA in flight to them is complete when it returns.
    pub fn flush(&mut self) {
        self.inner.flush();
    }

    /// Points a device at this address space. `upstream`: the bridges above it, outermost first.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn attach(&mut self, sbdf: Sbdf, upstream: &[Sbdf]) -> Result<(), Error> {
        Ok(self.inner.attach(sbdf, upstream)?)
    }

    /// Blocks the device's DMA; nothing of it is in flight when this returns.
    pub fn detach(&mut self, sbdf: Sbdf) {
        self.inner.detach(sbdf);
    }
}
