//! DMA and interrupt remapping, whichever vendor's unit the machine has.
//!
//! From [`init`] on no device can reach memory or raise an interrupt unless it was attached to a domain's [`IoDomain`]
//! or given a [`DeviceInterrupt`].

mod domain;
pub mod fault;
pub mod ids;
mod interrupt;
pub mod patience;
pub mod remapper;
pub mod ring;
pub mod table;

pub use domain::{IoDomain, PENDING};
pub use interrupt::{DeviceInterrupt, plain_message, remap_ioapic};

use crate::arch::{irq, percpu};
use crate::pci::Sbdf;
use crate::{amdvi, vtd};
use config::xen_cmdline::Iommu;
use core::sync::atomic::Ordering;
use remapper::{Aim, Remapper};
use spin::Once;

/// Why a unit is not used: no registers answer at its address.
pub const NO_REGISTERS: &str = "IOMMU: no registers answer at the unit's address";
/// It does not do what it is told within a second.
pub const STUCK: &str = "IOMMU: the unit does not do what it is told";
/// No memory for its tables.
pub const NO_MEMORY: &str = "IOMMU: no memory for the unit's tables";

/// The machine's units.
static CHOSEN: Once<&'static dyn Remapper> = Once::new();
/// What the operator wants of them.
static OPTIONS: Once<Iommu> = Once::new();

fn chosen() -> Option<&'static dyn Remapper> {
    CHOSEN.get().copied()
}

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

/// Finds the machine's IOMMU and takes it over: from here on no device reaches memory. Once, at boot; `acpi_table` gives
/// the ACPI table with a signature.
///
/// # Errors
/// See [`InitError`]; no device can be assigned then.
pub fn init(
    options: &Iommu,
    acpi_table: impl Fn(&[u8; 4]) -> Option<&'static [u8]>,
) -> Result<(), InitError> {
    if !options.enabled {
        return Err(InitError::Off);
    }
    OPTIONS.call_once(|| *options);
    let remapper: &'static dyn Remapper = match (acpi_table(b"DMAR"), acpi_table(b"IVRS")) {
        (Some(table), _) => vtd::init(table, options).map_err(InitError::Unusable)?,
        (None, Some(table)) => amdvi::init(table, options).map_err(InitError::Unusable)?,
        (None, None) => return Err(InitError::Absent),
    };
    CHOSEN.call_once(|| remapper);
    enable_fault_events(remapper);
    log::info!(
        "IOMMU: DMA is blocked for all devices; interrupt remapping {}",
        if intremap() { "on" } else { "off" }
    );
    Ok(())
}

/// The operator wants to know everything (`iommu=debug`): each fault, each device that is attached or detached.
fn debug() -> bool {
    OPTIONS.get().is_some_and(|options| options.debug)
}

/// Has faults signalled to this CPU.
fn enable_fault_events(remapper: &dyn Remapper) {
    let apic_id = u8::try_from(percpu::this().apic_id.load(Ordering::Relaxed));
    let (Some(vector), Ok(apic_id)) = (irq::alloc_vector(), apic_id) else {
        log::warn!("IOMMU: no vector for fault events: faults are not told");
        return;
    };
    irq::set_handler(vector, |_| {
        if let Some(remapper) = chosen() {
            remapper.drain_faults();
        }
    });
    remapper.set_fault_event(Aim { vector, apic_id });
}

/// DMA is under control.
pub fn present() -> bool {
    chosen().is_some()
}

/// Interrupts of devices are under control too.
pub fn intremap() -> bool {
    chosen().is_some_and(Remapper::intremap)
}

/// The operator accepts assigned devices that can raise any interrupt (`iommu=no-intremap`).
pub fn accepts_no_intremap() -> bool {
    OPTIONS.get().is_some_and(|options| !options.intremap)
}

/// Firmware may use this device's DMA for itself, or the device is a unit.
pub fn is_reserved(sbdf: Sbdf) -> bool {
    chosen().is_some_and(|remapper| remapper.is_reserved(sbdf))
}
