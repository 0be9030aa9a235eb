//! A remapping unit's registers (specification chapter 11), by name.

use crate::iommu::ring::Reader;
use crate::mm::Mmio;
use crate::types::Mfn;
use crate::vtd::cache;
use crate::vtd::entries::{Entry, descriptor};
use bitflags::bitflags;

/// Register offsets (11.4).
mod offset {
    pub const VER: usize = 0x00;
    pub const CAP: usize = 0x08;
    pub const ECAP: usize = 0x10;
    pub const GCMD: usize = 0x18;
    pub const GSTS: usize = 0x1c;
    pub const RTADDR: usize = 0x20;
    pub const FSTS: usize = 0x34;
    pub const FECTL: usize = 0x38;
    pub const FEDATA: usize = 0x3c;
    pub const FEADDR: usize = 0x40;
    pub const FEUADDR: usize = 0x44;
    pub const PMEN: usize = 0x64;
    pub const IQT: usize = 0x88;
    pub const IQA: usize = 0x90;
    pub const IRTA: usize = 0xb8;
}

bitflags! {
    /// Commands and states: the bits of GCMD and GSTS are at the same places.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Global: u32 {
        /// Translation.
        const TE = 1 << 31;
        /// Set root table pointer (one-shot).
        const SRTP = 1 << 30;
        /// Write buffer flush (one-shot).
        const WBF = 1 << 27;
        /// Queued invalidation.
        const QIE = 1 << 26;
        /// Interrupt remapping.
        const IRE = 1 << 25;
        /// Set interrupt remapping table pointer (one-shot).
        const SIRTP = 1 << 24;
        /// Compatibility-format interrupts pass.
        const CFI = 1 << 23;
    }
}

bitflags! {
    /// Fault status, FSTS.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct FaultStatus: u32 {
        /// A fault could not be recorded (write 1 to clear).
        const PFO = 1 << 0;
        /// Invalidation queue error (write 1 to clear).
        const IQE = 1 << 4;
        /// Invalidation completion error of a device TLB (write 1 to clear).
        const ICE = 1 << 5;
        /// Invalidation time-out of a device TLB (write 1 to clear).
        const ITE = 1 << 6;
    }
}

/// Bits of GSTS that are states, not echoes of one-shot commands: the ones to keep in the next GCMD write (11.4.4).
const STATES: u32 = 0x96ff_ffff;
/// IRTA: extended interrupt mode, for CPUs in x2APIC mode (EIME).
const IRTA_EIME: u64 = 1 << 11;
/// FECTL: interrupt mask.
const FECTL_IM: u32 = 1 << 31;
/// PMEN: enable protected memory; status.
const PMEN_EPM: u32 = 1 << 31;
const PMEN_PRS: u32 = 1;

/// What the unit can do: CAP and ECAP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// CAP, raw.
    pub cap: u64,
    /// ECAP, raw.
    pub ecap: u64,
}

impl Capabilities {
    /// Number of domain ids (ND).
    pub const fn domain_ids(self) -> u32 {
        1 << (4 + 2 * (self.cap & 7) as u32)
    }
    /// Every change of a structure needs an explicit flush of the unit's write buffer (RWBF).
    pub const fn write_buffer_flush(self) -> bool {
        self.cap >> 4 & 1 != 0
    }
    /// Entries that are not present may be cached too (CM; emulated units).
    pub const fn caching_mode(self) -> bool {
        self.cap >> 7 & 1 != 0
    }
    /// Supported table depths (SAGAW): bit 1 for 3 levels, bit 2 for 4.
    pub const fn table_levels(self) -> u8 {
        (self.cap >> 8) as u8 & 0x1f
    }
    /// Maximum guest address width in bits (MGAW + 1).
    pub const fn address_bits(self) -> u32 {
        (self.cap >> 16 & 0x3f) as u32 + 1
    }
    /// The levels of a second-level table that can have leaves (SLLPS).
    pub const fn leaf_levels(self) -> u32 {
        match self.cap >> 34 & 3 {
            3 => 3,
            1 => 2,
            _ => 1,
        }
    }
    /// Page-selective invalidation, with the largest order it takes (PSI, MAMV).
    pub fn page_selective(self) -> Option<u32> {
        (self.cap >> 39 & 1 != 0).then_some((self.cap >> 48 & 0x3f) as u32)
    }
    /// Offset and number of the fault-recording registers (FRO, NFR).
    pub const fn fault_records(self) -> (usize, usize) {
        (
            (self.cap >> 24 & 0x3ff) as usize * 16,
            (self.cap >> 40 & 0xff) as usize + 1,
        )
    }
    /// The unit snoops the CPU caches when it walks tables (C).
    pub const fn coherent(self) -> bool {
        self.ecap & 1 != 0
    }
    /// Queued invalidation (QI).
    pub const fn queued_invalidation(self) -> bool {
        self.ecap >> 1 & 1 != 0
    }
    /// Interrupt remapping (IR).
    pub const fn interrupt_remapping(self) -> bool {
        self.ecap >> 3 & 1 != 0
    }
    /// Interrupts can be remapped to CPUs in x2APIC mode (EIM).
    pub const fn extended_interrupt_mode(self) -> bool {
        self.ecap >> 4 & 1 != 0
    }
}

/// Invalidation queue (6.5.2).
impl Reader for Registers {
    fn completion(status: Mfn, number: u32) -> Entry {
        descriptor::wait(number, status.address())
    }

    fn hand_over(&self, tail: u64) {
        self.mmio.write_u64(offset::IQT, tail);
    }

    fn refuses(&self) -> bool {
        self.fault_status().contains(FaultStatus::IQE)
    }

    fn written(frame: Mfn, offset: usize) {
        cache::written(frame, offset);
    }
}

/// The registers of one unit.
#[derive(Clone, Copy, Debug)]
pub struct Registers {
    mmio: Mmio,
    /// What the unit can do.
    pub capabilities: Capabilities,
}

impl Registers {
    /// Maps the unit's registers; None if they cannot be mapped or are no VT-d unit's.
    pub fn map(physical: u64) -> Option<Self> {
        let page = Mmio::map(physical, 4096)?;
        let mut registers = Self::over(page);
        if page.read_u32(offset::VER) == u32::MAX || registers.capabilities.cap == u64::MAX {
            return None;
        }
        // Fault records may lie beyond the first page.
        let (first, count) = registers.capabilities.fault_records();
        let end = first + count * 16;
        if end > 4096 {
            registers.mmio = Mmio::map(physical, (end as u64).next_multiple_of(4096))?;
        }
        Some(registers)
    }

    fn over(mmio: Mmio) -> Self {
        Self {
            mmio,
            capabilities: Capabilities {
                cap: mmio.read_u64(offset::CAP),
                ecap: mmio.read_u64(offset::ECAP),
            },
        }
    }

    /// The version register, major then minor.
    pub fn version(&self) -> (u32, u32) {
        let ver = self.mmio.read_u32(offset::VER);
        (ver >> 4 & 15, ver & 15)
    }

    /// The states that are on (GSTS).
    pub fn status(&self) -> Global {
        Global::from_bits_retain(self.mmio.read_u32(offset::GSTS))
    }

    /// Gives one command, keeping all states (GCMD).
    pub fn command(&self, bits: Global) {
        let keep = self.mmio.read_u32(offset::GSTS) & STATES;
        self.mmio.write_u32(offset::GCMD, keep | bits.bits());
    }

    /// Turns states off, keeping the others (GCMD).
    pub fn turn_off(&self, bits: Global) {
        let keep = self.mmio.read_u32(offset::GSTS) & STATES;
        self.mmio.write_u32(offset::GCMD, keep & !bits.bits());
    }

    /// Sets the root table's address, legacy mode (RTADDR).
    pub fn set_root_table(&self, address: u64) {
        self.mmio.write_u64(offset::RTADDR, address);
    }

    /// Sets the interrupt-remapping table's address, with `2^(size + 1)` entries, for CPUs in x2APIC mode or not (IRTA).
    pub fn set_interrupt_table(&self, address: u64, size: u8, x2apic: bool) {
        let mode = if x2apic { IRTA_EIME } else { 0 };
        let value = address | u64::from(size & 15) | mode;
        self.mmio.write_u64(offset::IRTA, value);
    }

    /// Sets the invalidation queue: one page of 128-bit descriptors (IQA), tail at its start (IQT).
    pub fn set_queue(&self, address: u64) {
        self.mmio.write_u64(offset::IQT, 0);
        self.mmio.write_u64(offset::IQA, address);
    }

    /// The fault status (FSTS).
    pub fn fault_status(&self) -> FaultStatus {
        FaultStatus::from_bits_retain(self.mmio.read_u32(offset::FSTS))
    }

    /// The recording register that holds the oldest fault (FSTS.FRI).
    pub fn first_fault(&self) -> usize {
        (self.mmio.read_u32(offset::FSTS) >> 8 & 0xff) as usize
    }

    /// Clears write-1-to-clear bits of FSTS.
    pub fn clear_fault_status(&self, bits: FaultStatus) {
        self.mmio.write_u32(offset::FSTS, bits.bits());
    }

    /// Reads fault-recording register `index`.
    pub fn fault_record(&self, index: usize) -> Entry {
        let at = self.capabilities.fault_records().0 + index * 16;
        Entry {
            low: self.mmio.read_u64(at),
            high: self.mmio.read_u64(at + 8),
        }
    }

    /// Frees fault-recording register `index` (writes 1 to F).
    pub fn clear_fault_record(&self, index: usize) {
        let at = self.capabilities.fault_records().0 + index * 16;
        self.mmio.write_u32(at + 12, 1 << 31);
    }

    /// Directs the fault event at `vector` of the CPU with xAPIC id `apic_id`, and unmasks it.
    pub fn set_fault_event(&self, vector: u8, apic_id: u8) {
        // The unit's own messages are not remapped: compatibility format always (5.1.1).
        self.mmio.write_u32(offset::FEDATA, u32::from(vector));
        self.mmio
            .write_u32(offset::FEADDR, 0xfee0_0000 | u32::from(apic_id) << 12);
        self.mmio.write_u32(offset::FEUADDR, 0);
        let control = self.mmio.read_u32(offset::FECTL);
        self.mmio.write_u32(offset::FECTL, control & !FECTL_IM);
    }

    /// Masks the fault event.
    pub fn mask_fault_event(&self) {
        let control = self.mmio.read_u32(offset::FECTL);
        self.mmio.write_u32(offset::FECTL, control | FECTL_IM);
    }

    /// Turns firmware's protected memory regions off, which would block DMA to RAM; the state it left.
    pub fn protected_memory_off(&self) -> bool {
        let state = self.mmio.read_u32(offset::PMEN);
        if state & (PMEN_EPM | PMEN_PRS) != 0 && state != u32::MAX {
            self.mmio.write_u32(offset::PMEN, state & !PMEN_EPM);
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CAP and ECAP of QEMU 7.2's `intel-iommu,intremap=on` with 39 address bits.
    const QEMU: Capabilities = Capabilities {
        cap: 0x00d2_008c_2226_0206,
        ecap: 0x00f0_0f4a,
    };

    #[test]
    fn capabilities_are_decoded() {
        assert_eq!(QEMU.domain_ids(), 65536);
        assert_eq!(QEMU.table_levels(), 2);
        assert_eq!(QEMU.address_bits(), 39);
        assert_eq!(QEMU.leaf_levels(), 3);
        assert_eq!(QEMU.page_selective(), Some(18));
        assert_eq!(QEMU.fault_records(), (0x220, 1));
        assert!(QEMU.queued_invalidation() && QEMU.interrupt_remapping());
        assert!(!QEMU.extended_interrupt_mode());
        let eim = Capabilities {
            ecap: QEMU.ecap | 0x10,
            ..QEMU
        };
        assert!(eim.extended_interrupt_mode());
        assert!(!QEMU.caching_mode() && !QEMU.write_buffer_flush() && !QEMU.coherent());
    }

    #[test]
    fn the_interrupt_tables_register_says_in_which_mode_the_cpus_are() {
        let registers = Registers::over(Mmio::fake(Box::leak(Box::new([0u64; 512]))));
        for (x2apic, value) in [(false, 0x1_2345_6007), (true, 0x1_2345_6807)] {
            registers.set_interrupt_table(0x1_2345_6000, 7, x2apic);
            assert_eq!(registers.mmio.read_u64(offset::IRTA), value);
        }
    }

    #[test]
    fn a_command_keeps_states_and_no_one_shot_bits() {
        let registers = Registers::over(Mmio::fake(Box::leak(Box::new([0u64; 512]))));
        registers.mmio.write_u32(
            offset::GSTS,
            (Global::TE | Global::SRTP | Global::QIE).bits(),
        );
        registers.command(Global::IRE);
        assert_eq!(
            registers.mmio.read_u32(offset::GCMD),
            (Global::TE | Global::QIE | Global::IRE).bits()
        );
        registers.turn_off(Global::TE);
        assert_eq!(registers.mmio.read_u32(offset::GCMD), Global::QIE.bits());
    }

    #[test]
    fn the_fault_event_is_a_plain_message() {
        let registers = Registers::over(Mmio::fake(Box::leak(Box::new([0u64; 512]))));
        registers.mask_fault_event();
        registers.set_fault_event(0x30, 1);
        assert_eq!(registers.mmio.read_u32(offset::FECTL), 0);
        assert_eq!(registers.mmio.read_u32(offset::FEADDR), 0xfee0_1000);
        assert_eq!(registers.mmio.read_u32(offset::FEDATA), 0x30);
    }

    #[test]
    fn protected_memory_is_turned_off_once() {
        let registers = Registers::over(Mmio::fake(Box::leak(Box::new([0u64; 512]))));
        assert!(!registers.protected_memory_off());
        registers.mmio.write_u32(offset::PMEN, PMEN_EPM | PMEN_PRS);
        assert!(registers.protected_memory_off());
        assert_eq!(registers.mmio.read_u32(offset::PMEN), PMEN_PRS);
    }
}
