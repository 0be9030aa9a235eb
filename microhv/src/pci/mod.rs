//! PCI devices: finding them, giving them to driver domains, and what those domains may do with them.

mod acs;
mod assign;
mod bar;
mod binding;
mod enumerate;
mod fault;
mod filter;
mod msi;
mod msix;
mod reset;
mod sbdf;
mod space;

pub use assign::AssignError;
pub use fault::note_fault;
pub use msi::set_message;
pub use sbdf::Sbdf;

use crate::acpi;
use crate::domain::Domain;
use crate::types::DomId;
use assign::{Assignment, Recovering};
use enumerate::Functions;
use space::Ports;
use spin::Mutex;
use xen_abi::Errno;
use xen_abi::microhv::{BarFlags, GetDevice};

/// Devices assigned at one time.
const MAX_ASSIGNED: usize = 16;

struct Devices {
    functions: Functions,
    assigned: heapless::Vec<Assignment, MAX_ASSIGNED>,
    recovering: heapless::Vec<Recovering, MAX_ASSIGNED>,
}

/// Locked before any domain's address space and event channels.
static DEVICES: Mutex<Devices> = Mutex::new(Devices {
    functions: Functions::new(),
    assigned: heapless::Vec::new(),
    recovering: heapless::Vec::new(),
});

/// Finds the machine's devices. Once, at boot, before `iommu::init`.
pub fn init() {
    let mut devices = DEVICES.lock();
    devices.functions.scan(&Ports);
    for function in &devices.functions.list {
        log::debug!(
            "PCI: {} {:04x}:{:04x} class {:06x}{}",
            function.sbdf,
            function.vendor,
            function.device,
            function.class >> 8,
            if function.bridge { " (bridge)" } else { "" }
        );
    }
    log::info!("PCI: {} functions", devices.functions.list.len());
    if devices.functions.overflow {
        log::warn!(
            "PCI: more functions or deeper buses than microhv keeps; the rest cannot be assigned"
        );
    }
}

/// Has every function that can send up to the IOMMU what its peers want of each other. Once, at boot, when there is one.
pub fn redirect_peers() {
    let devices = DEVICES.lock();
    if acpi::table(b"MCFG").is_none() {
        log::warn!("PCI: no MCFG table, so ACS cannot be turned on");
    }
    for function in &devices.functions.list {
        if acs::redirect(&Ports, function.sbdf) {
            log::debug!("PCI: {} has ACS on", function.sbdf);
        }
    }
}

/// Gives the device at `sbdf` to a domain: registers mapped, DMA through the domain's own tables.
///
/// # Errors
/// See [`AssignError`], whose text is meant for the operator. The domain may have some of the device's registers mapped
/// then, but no DMA of it is let through.
pub fn assign(owner: &Domain, sbdf: Sbdf) -> Result<(), AssignError> {
    let mut guard = DEVICES.lock();
    let devices = &mut *guard;
    let function = devices.functions.find(sbdf).ok_or(AssignError::NoDevice)?;
    if let Some(domain) = devices.owner(sbdf) {
        return Err(AssignError::Taken(domain));
    }
    assign::check(function)?;
    if devices.assigned.is_full() {
        return Err(AssignError::TooMany);
    }
    let mut recovering = devices.recovering.iter();
    if let Some(at) = recovering.position(|device| device.sbdf == sbdf) {
        devices.recovering.swap_remove(at).finish(&Ports);
    }
    // A reset turned it off.
    acs::redirect(&Ports, sbdf);
    let others = devices.assigned.iter().filter(|it| it.domain != owner.id);
    for other in others {
        let redirects = |at| acs::redirect(&Ports, at);
        if let Some(open) = acs::between(&Ports, function, &other.function, &redirects) {
            log::warn!(
                "PCI: {sbdf} ({}) and {} ({}) may reach each other's registers behind the IOMMU's back: {open} has no ACS. Give them to one domain",
                owner.id,
                other.sbdf,
                other.domain
            );
        }
    }
    let assignment = assign::hand_over(&Ports, function, &devices.functions.list, owner)?;
    log::info!(
        "PCI: {sbdf} {:04x}:{:04x} assigned to {}, {} MSI-X vectors",
        function.vendor,
        function.device,
        owner.id,
        assignment.msix.map_or(0, |table| table.count())
    );
    // Checked above.
    let _ = devices.assigned.push(assignment);
    Ok(())
}

/// Takes all devices of a dying domain back: DMA stopped and waited for, interrupts freed, reset.
pub fn release(owner: &Domain) {
    let mut guard = DEVICES.lock();
    let devices = &mut *guard;
    while let Some(at) = devices
        .assigned
        .iter()
        .position(|assigned| assigned.domain == owner.id)
    {
        let recovering = devices.assigned.swap_remove(at).take_back(&Ports, owner);
        // One place for each assigned device; a device is on one of the lists only.
        let _ = devices.recovering.push(recovering);
    }
}

/// The domain that has the device.
pub fn owner(sbdf: Sbdf) -> Option<DomId> {
    DEVICES.lock().owner(sbdf)
}

impl Devices {
    fn owner(&self, sbdf: Sbdf) -> Option<DomId> {
        let found = self.assigned.iter().find(|assigned| assigned.sbdf == sbdf);
        found.map(|assigned| assigned.domain)
    }

    fn of(&mut self, domain: DomId, sbdf: Sbdf) -> Option<&mut Assignment> {
        self.assigned
            .iter_mut()
            .find(|assigned| assigned.domain == domain && assigned.sbdf == sbdf)
    }
}

/// Splits the value of port 0xCF8 and an access at port 0xCFC + `offset` into device and register; None when it means
/// no register of segment 0, or crosses one.
fn target(address: u32, offset: u8, size: u8) -> Option<(Sbdf, u8)> {
    const ENABLE: u32 = 1 << 31;
    // Bits 30:24 are reserved, or extended register numbers on some vendors' chipsets.
    if address & ENABLE == 0
        || address & 0x7f00_0000 != 0
        || offset > 3
        || !matches!(size, 1 | 2 | 4)
    {
        return None;
    }
    let at = address as u8 & 0xfc | offset;
    at.is_multiple_of(size)
        .then_some((Sbdf(address >> 8 & 0xffff), at))
}

/// A domain reads `size` bytes at port 0xCFC + `offset` with `address` in port 0xCF8. All ones for what is not its own.
pub fn config_read(domain: DomId, address: u32, offset: u8, size: u8) -> u32 {
    let mut devices = DEVICES.lock();
    let read = target(address, offset, size).and_then(|(sbdf, at)| {
        let device = devices.of(domain, sbdf)?;
        Some(device.shadow.read(&Ports, sbdf, at, size))
    });
    read.unwrap_or(u32::MAX)
}

/// A domain writes `size` bytes at port 0xCFC + `offset` with `address` in port 0xCF8. Dropped unless harmless.
pub fn config_write(domain: DomId, address: u32, offset: u8, size: u8, value: u32) {
    let Some((sbdf, at)) = target(address, offset, size) else {
        return;
    };
    let mut devices = DEVICES.lock();
    let Some(device) = devices.of(domain, sbdf) else {
        return;
    };
    let written = device.shadow.write_register(&Ports, sbdf, at, size, value);
    if !written && !device.drop_logged {
        device.drop_logged = true;
        log::info!(
            "PCI: {domain} wrote {value:#x} to register {at:#x} of {sbdf}: dropped, like all it may not write"
        );
    }
}

/// Describes the domain's `index`-th device (hypercall `MICROHV_GET_DEVICE`).
///
/// # Errors
/// `ENOENT`: it has fewer.
pub fn describe(domain: DomId, index: u32) -> Result<GetDevice, Errno> {
    let devices = DEVICES.lock();
    let device = devices
        .assigned
        .iter()
        .filter(|assigned| assigned.domain == domain)
        .nth(index as usize)
        .ok_or(Errno::ENOENT)?;
    let mut answer = GetDevice {
        index,
        sbdf: device.sbdf.0,
        vendor: device.function.vendor,
        device: device.function.device,
        class: device.function.class,
        msix_vectors: device.msix.map_or(0, |table| u32::from(table.count())),
        ..GetDevice::default()
    };
    for (out, bar) in answer.bars.iter_mut().zip(&device.shadow.bars) {
        out.gpa = bar.base;
        out.size = bar.size;
        let mut flags = BarFlags::empty();
        flags.set(BarFlags::IO, bar.io);
        flags.set(BarFlags::PREFETCHABLE, bar.prefetchable);
        flags.set(BarFlags::BITS_64, bar.wide);
        let inside = !bar.io && (bar.base..bar.base + bar.size).contains(&device.hidden.start);
        flags.set(BarFlags::MSIX_TABLE, inside && !device.hidden.is_empty());
        out.flags = flags;
    }
    Ok(answer)
}

/// Binds an MSI-X entry of the domain's device to a new event channel (hypercall `MICROHV_MSIX_BIND`).
///
/// # Errors
/// `ENODEV`: not its device. `EINVAL`: no such entry. `EBUSY`: bound already. `ENOSPC`: no vector or port is free.
pub fn msix_bind(owner: &Domain, sbdf: Sbdf, entry: u32) -> Result<u32, Errno> {
    let mut devices = DEVICES.lock();
    let device = devices.of(owner.id, sbdf).ok_or(Errno::ENODEV)?;
    let table = device.msix.ok_or(Errno::EINVAL)?;
    let entry = u16::try_from(entry)
        .ok()
        .filter(|entry| *entry < table.count())
        .ok_or(Errno::EINVAL)?;
    if !core::mem::replace(&mut device.msix_on, true) {
        table.enable(&Ports, sbdf);
    }
    let upstream = &device.function.upstream;
    let (port, message) = device.bindings.bind(owner, sbdf, upstream, entry)?;
    table.set(entry, message);
    Ok(port)
}

/// The event channel of device interrupt `number` was closed.
pub fn unbind(domain: DomId, number: u32) {
    let mut devices = DEVICES.lock();
    for device in devices
        .assigned
        .iter_mut()
        .filter(|assigned| assigned.domain == domain)
    {
        if let Some(entry) = device.bindings.unbind(number) {
            if let Some(table) = &device.msix {
                table.mask(entry);
            }
            return;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// `domain` has a device there, without BARs, for as long as the answer lives.
    pub fn give(domain: DomId, sbdf: Sbdf) -> impl Drop {
        struct Given(Sbdf);
        impl Drop for Given {
            fn drop(&mut self) {
                let assigned = &mut DEVICES.lock().assigned;
                assigned.retain(|device| device.sbdf != self.0);
            }
        }
        let bars = [bar::Bar::default(); bar::BARS];
        let function = enumerate::Function {
            sbdf,
            vendor: 0x1af4,
            device: 0x1042,
            class: 0,
            bridge: false,
            behind_conventional: false,
            upstream: enumerate::Upstream::new(),
            faults: fault::Faults::default(),
        };
        let device = Assignment {
            sbdf,
            domain,
            function,
            shadow: filter::Shadow::new(bars),
            msix: None,
            hidden: 0..0,
            msix_on: false,
            bindings: binding::Bindings::default(),
            drop_logged: false,
        };
        DEVICES.lock().assigned.push(device).unwrap();
        Given(sbdf)
    }

    #[test]
    fn config_addresses_are_taken_apart() {
        assert_eq!(target(0x8000_1804, 2, 2), Some((Sbdf::new(0, 3, 0), 6)));
        assert_eq!(target(0x80ff_ff00, 0, 4), Some((Sbdf::new(0xff, 31, 7), 0)));
        for (address, offset, size) in [
            (0x0000_1804, 0, 4),
            (0x8100_1804, 0, 4),
            (0x8000_1804, 4, 1),
            (0x8000_1804, 1, 2),
            (0x8000_1804, 2, 4),
            (0x8000_1804, 0, 3),
            (0x8000_1804, 0, 0),
        ] {
            assert_eq!(
                target(address, offset, size),
                None,
                "{address:#x} {offset} {size}"
            );
        }
    }

    #[test]
    fn nothing_is_there_for_a_domain_without_devices() {
        assert_eq!(config_read(DomId(5), 0x8000_1800, 0, 4), u32::MAX);
        config_write(DomId(5), 0x8000_1804, 0, 4, 7);
        assert_eq!(describe(DomId(5), 0).unwrap_err(), Errno::ENOENT);
        assert_eq!(owner(Sbdf::new(0, 3, 0)), None);
    }
}
