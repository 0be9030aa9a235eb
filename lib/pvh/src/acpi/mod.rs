//! ACPI tables of a PVH guest: hardware-reduced, no VGA, no RTC, no 8042.
//!
//! RSDP, XSDT, FADT, MADT and an empty DSDT. The guest powers off by halting all its vCPUs with
//! interrupts off or by `SCHEDOP_shutdown`, as under Xen: there is no ACPI hardware to write to.
//! Source: ACPI specification 6.0, sections 5.2.5 to 5.2.12.

mod table;

use crate::build::GuestMemory;
use crate::layout::ACPI_SIZE;
use table::Table;

/// Offsets of the tables behind the RSDP. The MADT, which grows with vCPUs, is the last.
const XSDT: u64 = 0x40;
const FADT: u64 = 0x80;
const DSDT: u64 = 0x200;
const MADT: u64 = 0x240;

/// Largest table: a MADT with every vCPU as a type-9 entry would have this size.
const TABLE_MAX: usize = 2200;
const _: () = assert!(MADT + TABLE_MAX as u64 <= ACPI_SIZE);
const _: () = assert!(44 + 16 * (crate::layout::MAX_VCPUS as usize) <= TABLE_MAX);

/// The APIC id of a vCPU, in the MADT and in CPUID alike: Xen gives even numbers only.
#[must_use]
pub const fn apic_id(vcpu: u32) -> u32 {
    vcpu * 2
}

/// Writes all tables, the RSDP at `base`.
pub(crate) fn write_tables<M: GuestMemory>(
    memory: &mut M,
    base: u64,
    vcpus: u32,
) -> Result<(), M::Error> {
    memory.write(base, &rsdp(base + XSDT))?;
    memory.write(base + XSDT, xsdt(base + FADT, base + MADT).finish())?;
    memory.write(base + FADT, fadt(base + DSDT).finish())?;
    memory.write(base + DSDT, Table::new(b"DSDT", 2).finish())?;
    memory.write(base + MADT, madt(vcpus).finish())
}

fn rsdp(xsdt: u64) -> [u8; 36] {
    let mut table = Table::empty();
    table.bytes(b"RSD PTR ").u8(0).bytes(table::OEM_ID).u8(2); // checksum, OEM, revision
    table.u32(0).u32(36).u64(xsdt).u8(0).bytes(&[0; 3]); // no RSDT, length, XSDT, checksum
    let mut bytes = table.take::<36>();
    // The first checksum covers the first 20 bytes, the second all of them.
    bytes[8] = table::checksum(&bytes[..20]);
    bytes[32] = table::checksum(&bytes);
    bytes
}

fn xsdt(fadt: u64, madt: u64) -> Table {
    let mut table = Table::new(b"XSDT", 1);
    table.u64(fadt).u64(madt);
    table
}

/// FADT revision 5 (ACPI 5.0, the first with hardware reduction), 268 bytes.
fn fadt(dsdt: u64) -> Table {
    const LENGTH: usize = 268;
    /// IAPC_BOOT_ARCH: no VGA, no CMOS RTC; bits 0 and 1 clear: no legacy devices, no 8042.
    const VGA_NOT_PRESENT: u16 = 1 << 2;
    const CMOS_RTC_NOT_PRESENT: u16 = 1 << 5;
    /// Flags: WBINVD works; no power or sleep button; physical destination mode for interrupts,
    /// which spares the hypervisor logical cluster ids; hardware-reduced.
    const WBINVD: u32 = 1 << 0;
    const PWR_BUTTON: u32 = 1 << 4;
    const SLP_BUTTON: u32 = 1 << 5;
    const FORCE_APIC_PHYSICAL_DESTINATION_MODE: u32 = 1 << 19;
    const HW_REDUCED_ACPI: u32 = 1 << 20;
    /// Preferred_PM_Profile: unspecified.
    const PM_PROFILE_UNSPECIFIED: u8 = 0;

    let mut table = Table::new(b"FACP", 5);
    // Only a 64-bit pointer where the 32-bit one would do too: old parsers read the 32-bit one.
    table.u32(0).u32(u32::try_from(dsdt).unwrap_or(0)); // FACS, DSDT
    table.u8(0).u8(PM_PROFILE_UNSPECIFIED).u16(0); // reserved, profile, SCI_INT
    table.pad_to(109);
    table.u16(VGA_NOT_PRESENT | CMOS_RTC_NOT_PRESENT).u8(0);
    table.u32(
        WBINVD | PWR_BUTTON | SLP_BUTTON | FORCE_APIC_PHYSICAL_DESTINATION_MODE | HW_REDUCED_ACPI,
    );
    table.pad_to(140);
    table.u64(dsdt); // X_DSDT
    table.pad_to(LENGTH);
    table
}

/// MADT with a local APIC for each vCPU. The specification wants type 9 (x2APIC) for ids from 255
/// on only, and Linux ignores such entries for smaller ids in some versions.
fn madt(vcpus: u32) -> Table {
    const LOCAL_APIC_ADDRESS: u32 = 0xFEE0_0000;
    const TYPE_LOCAL_APIC: u8 = 0;
    const TYPE_X2APIC: u8 = 9;
    const ENABLED: u32 = 1;

    let mut table = Table::new(b"APIC", 3);
    table.u32(LOCAL_APIC_ADDRESS).u32(0); // no 8259s: PCAT_COMPAT clear
    for vcpu in 0..vcpus {
        let id = apic_id(vcpu);
        match (u8::try_from(id), u8::try_from(vcpu)) {
            (Ok(id), Ok(uid)) if id != 255 => {
                table.u8(TYPE_LOCAL_APIC).u8(8).u8(uid).u8(id).u32(ENABLED);
            }
            _ => {
                table
                    .u8(TYPE_X2APIC)
                    .u8(16)
                    .u16(0)
                    .u32(id)
                    .u32(ENABLED)
                    .u32(vcpu);
            }
        }
    }
    table
}
