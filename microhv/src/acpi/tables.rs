//! Reads the tables where firmware put them.
#![allow(unsafe_code, reason = "firmware's tables lie in memory")]

use super::{IoApic, Machine, Override, Power};
use crate::arch::paging;
use crate::mm::ranges::Range;
use acpi::address::{AddressSpace, GenericAddress};
use acpi::fadt::Fadt;
use acpi::madt::{Madt, MadtEntry};
use acpi::mcfg::Mcfg;
use acpi::sdt::{SdtHeader, Signature};
use acpi::{AcpiHandler, AcpiTable, AcpiTables, PhysicalMapping};
use core::ptr::NonNull;
use spin::Mutex;

/// Shows tables read-only in the direct map; they stay there.
#[derive(Clone, Copy, Debug)]
struct Handler;

impl AcpiHandler for Handler {
    unsafe fn map_physical_region<T>(
        &self,
        address: usize,
        size: usize,
    ) -> PhysicalMapping<Self, T> {
        let range = Range::new(address as u64, size as u64);
        let place = paging::map_firmware(range)
            .and_then(|place| NonNull::new(place.cast_mut().cast::<T>()));
        let Some(place) = place else {
            panic!("no memory to map ACPI's tables");
        };
        // SAFETY: `size` bytes from `address` are mapped there.
        unsafe { PhysicalMapping::new(address, place, size, size, *self) }
    }

    fn unmap_physical_region<T>(_region: &PhysicalMapping<Self, T>) {}
}

static TABLES: Mutex<Option<AcpiTables<Handler>>> = Mutex::new(None);

/// Reads what microhv wants to know.
pub fn read(rsdp: Option<u64>) -> Result<Machine, &'static str> {
    let found = rsdp
        // SAFETY: the loader's word, checked by signature and checksum.
        .and_then(|address| unsafe { AcpiTables::from_rsdp(Handler, address as usize) }.ok())
        // SAFETY: a search where a BIOS puts it: the first MiB of a PC can be read.
        .or_else(|| unsafe { AcpiTables::search_for_rsdp_bios(Handler) }.ok());
    let tables = found.ok_or("this machine has no ACPI tables")?;
    let mut kept = TABLES.lock();
    let tables = &*kept.insert(tables);
    let mut machine = Machine::default();
    read_madt(tables, &mut machine)?;
    if let Ok(fadt) = tables.find_table::<Fadt>() {
        let block = fadt.pm_timer_block().ok().flatten();
        machine.pm_timer = block.and_then(|block| io_port(&block));
        machine.power = power(tables, &fadt);
    }
    Ok(machine)
}

fn io_port(address: &GenericAddress) -> Option<u16> {
    if address.address_space != AddressSpace::SystemIo || address.address == 0 {
        return None;
    }
    u16::try_from(address.address).ok()
}

fn read_madt(tables: &AcpiTables<Handler>, machine: &mut Machine) -> Result<(), &'static str> {
    let madt = tables
        .find_table::<Madt>()
        .map_err(|_| "this machine's ACPI tables have no MADT")?;
    let madt = madt.get();
    machine.local_apic = madt.local_apic_address.into();
    for entry in madt.entries() {
        match entry {
            // Flags: bit 0 enabled.
            MadtEntry::LocalApic(cpu) if cpu.flags & 1 != 0 => add_cpu(machine, cpu.apic_id.into()),
            MadtEntry::LocalX2Apic(cpu) if cpu.flags & 1 != 0 => add_cpu(machine, cpu.x2apic_id),
            MadtEntry::IoApic(apic) => {
                let _ = machine.io_apics.push(IoApic {
                    id: apic.io_apic_id,
                    address: apic.io_apic_address,
                    first_gsi: apic.global_system_interrupt_base,
                });
            }
            MadtEntry::InterruptSourceOverride(line) => {
                let _ = machine.overrides.push(Override {
                    irq: line.irq,
                    gsi: line.global_system_interrupt,
                    flags: line.flags,
                });
            }
            MadtEntry::LocalApicAddressOverride(new) => machine.local_apic = new.local_apic_address,
            _ => {}
        }
    }
    Ok(())
}

/// A CPU may be listed both as APIC and as x2APIC.
fn add_cpu(machine: &mut Machine, apic_id: u32) {
    if !machine.cpus.contains(&apic_id) && machine.cpus.push(apic_id).is_err() {
        machine.more_cpus += 1;
    }
}

fn power(tables: &AcpiTables<Handler>, fadt: &Fadt) -> Power {
    let s5 = tables.dsdt().ok().and_then(|dsdt| {
        let range = Range::new(dsdt.address as u64, dsdt.length.into());
        let place = paging::map_firmware(range)?;
        // SAFETY: the table is mapped and nothing changes it.
        super::aml::s5(unsafe { core::slice::from_raw_parts(place, dsdt.length as usize) })
    });
    let first = fadt.pm1a_control_block().ok();
    let second = fadt.pm1b_control_block().ok().flatten();
    let flags = fadt.flags;
    let reset = fadt
        .reset_register()
        .ok()
        .filter(|_| flags.supports_system_reset_via_fadt());
    let smi = u16::try_from(fadt.smi_cmd_port)
        .ok()
        .filter(|port| *port != 0);
    Power {
        pm1_control: [first, second].map(|block| block.and_then(|block| io_port(&block))),
        s5,
        enable: smi.map(|port| (port, fadt.acpi_enable)),
        reset: reset.and_then(|register| Some((io_port(&register)?, fadt.reset_value))),
    }
}

/// A table of which only the header is understood.
#[repr(transparent)]
struct Dmar(SdtHeader);
#[repr(transparent)]
struct Ivrs(SdtHeader);

// SAFETY: every table begins with its header.
unsafe impl AcpiTable for Dmar {
    const SIGNATURE: Signature = Signature::DMAR;
    fn header(&self) -> &SdtHeader {
        &self.0
    }
}

// SAFETY: as above.
unsafe impl AcpiTable for Ivrs {
    const SIGNATURE: Signature = Signature::IVRS;
    fn header(&self) -> &SdtHeader {
        &self.0
    }
}

pub fn raw(signature: &[u8; 4]) -> Option<&'static [u8]> {
    fn bytes<T: AcpiTable>() -> Option<&'static [u8]> {
        let table = TABLES.lock().as_ref()?.find_table::<T>().ok()?;
        // SAFETY: the crate has mapped and checked the whole table, and we never unmap it.
        Some(unsafe {
            core::slice::from_raw_parts(
                table.virtual_start().as_ptr().cast(),
                table.region_length(),
            )
        })
    }
    match signature {
        b"DMAR" => bytes::<Dmar>(),
        b"IVRS" => bytes::<Ivrs>(),
        b"MCFG" => bytes::<Mcfg>(),
        _ => None,
    }
}
