//! Bit patterns of the structures a VT-d unit reads from memory (specification chapter 9), legacy mode.

use crate::paging::ADDRESS;
use crate::types::Mfn;
use core::fmt;

pub use crate::iommu::ring::Entry;

const PRESENT: u64 = 1;

/// A root entry (9.1) pointing at a bus's context table.
pub const fn root(context_table: Mfn) -> Entry {
    Entry::new(context_table.address() | PRESENT, 0)
}

/// Reads a root entry back.
pub fn context_table_of(entry: Entry) -> Option<Mfn> {
    (entry.low & PRESENT != 0).then(|| Mfn::containing(entry.low & ADDRESS))
}

/// A context entry (9.3), translation type 0: untranslated requests go through the second-level table, translated
/// requests and ATS are blocked. Faults are reported (FPD clear).
pub const fn context(second_level: Mfn, address_width: u8, did: u16) -> Entry {
    Entry::new(
        second_level.address() | PRESENT,
        (address_width & 7) as u64 | (did as u64) << 8,
    )
}

/// An interrupt-remapping entry (9.10), remapped (not posted), edge, fixed delivery to one physical APIC id, accepted
/// from `source_id` only. `x2apic`: the table is for CPUs in that mode.
pub const fn interrupt(
    source_id: u16,
    vector: u8,
    apic_id: u8,
    level: bool,
    x2apic: bool,
) -> Entry {
    // SVT = 01: verify the requester ID with all bits compared (SQ = 00).
    const VERIFY_SOURCE_ID: u64 = 1 << 18;
    const TRIGGER_LEVEL: u64 = 1 << 4;
    let mode = if level { TRIGGER_LEVEL } else { 0 };
    // With EIME the destination has bits 63:32, else 47:40.
    let destination = (apic_id as u64) << if x2apic { 32 } else { 40 };
    let low = PRESENT | mode | (vector as u64) << 16 | destination;
    Entry::new(low, source_id as u64 | VERIFY_SOURCE_ID)
}

/// Address and data a device writes to raise the interrupt of remapping entry `index` (5.1.2.2, remappable format with
/// SHV clear).
pub const fn remappable_msi(index: u16) -> (u64, u32) {
    let address = 0xfee0_0000 | (index as u64 & 0x7fff) << 5 | (index as u64 >> 15) << 2 | 1 << 4;
    (address, 0)
}

/// The redirection-table entry of an I/O APIC pin that raises remapping entry `index` (5.1.2.1); `vector` must be the
/// entry's own vector, for the EOI broadcast finds the pin by it.
pub const fn remappable_rte(index: u16, vector: u8, level: bool, active_low: bool) -> u64 {
    vector as u64
        | (index as u64 >> 15) << 11
        | (active_low as u64) << 13
        | (level as u64) << 15
        | 1 << 48
        | (index as u64 & 0x7fff) << 49
}

/// Descriptors of the invalidation queue (6.5.2).
pub mod descriptor {
    use super::Entry;

    /// All cached context entries.
    pub const CONTEXT_GLOBAL: Entry = Entry::new(1 | 1 << 4, 0);
    /// All cached translations.
    pub const IOTLB_GLOBAL: Entry = Entry::new(2 | 1 << 4 | DRAIN, 0);
    /// All cached interrupt-remapping entries.
    pub const INTERRUPT_GLOBAL: Entry = Entry::new(4, 0);
    const DRAIN_WRITES: u64 = 1 << 6;
    const DRAIN_READS: u64 = 1 << 7;
    const DRAIN: u64 = DRAIN_WRITES | DRAIN_READS;

    /// The context entry of one function.
    pub const fn context_device(did: u16, source_id: u16) -> Entry {
        Entry::new(
            1 | 3 << 4 | (did as u64) << 16 | (source_id as u64) << 32,
            0,
        )
    }

    /// All translations of one domain, with reads and writes in flight drained.
    pub const fn iotlb_domain(did: u16) -> Entry {
        Entry::new(2 | 2 << 4 | DRAIN | (did as u64) << 16, 0)
    }

    /// The translations of `1 << order` pages at `address` of one domain.
    pub const fn iotlb_pages(did: u16, address: u64, order: u32) -> Entry {
        let mask = if order > 63 { 63 } else { order as u64 };
        Entry::new(
            2 | 3 << 4 | DRAIN | (did as u64) << 16,
            (address & super::ADDRESS) | mask,
        )
    }

    /// One interrupt-remapping entry.
    pub const fn interrupt_index(index: u16) -> Entry {
        Entry::new(4 | 1 << 4 | (index as u64) << 32, 0)
    }

    /// Waits for everything before it, then writes `status` to physical address `address` (4-byte aligned).
    pub const fn wait(status: u32, address: u64) -> Entry {
        const STATUS_WRITE: u64 = 1 << 5;
        const FENCE: u64 = 1 << 6;
        Entry::new(
            5 | STATUS_WRITE | FENCE | (status as u64) << 32,
            address & !3,
        )
    }
}

/// A recorded fault (11.4.14, FRCD).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Requester ID.
    pub source_id: u16,
    /// Reason code (appendix A.1).
    pub reason: u8,
    /// A write (or atomic) rather than a read.
    pub write: bool,
    /// Page address of the request; for an interrupt request, the index shifted left by 48.
    pub address: u64,
}

impl Fault {
    /// Decodes a fault-recording register; None when it holds no fault.
    pub const fn decode(record: Entry) -> Option<Self> {
        const FAULT: u64 = 1 << 63;
        const TYPE_READ: u64 = 1 << 62;
        if record.high & FAULT == 0 {
            return None;
        }
        Some(Self {
            source_id: record.high as u16,
            reason: (record.high >> 32) as u8,
            write: record.high & TYPE_READ == 0,
            address: record.low & !0xfff,
        })
    }

    /// The fault is that of an interrupt request, not of a DMA.
    pub const fn is_interrupt(&self) -> bool {
        self.reason >= 0x20 && self.reason < 0x40
    }

    /// What the reason code means, in the specification's words.
    pub const fn reason_text(&self) -> &'static str {
        match self.reason {
            0x1 => "root entry not present",
            0x2 => "context entry not present",
            0x3 => "context entry invalid",
            0x4 => "address beyond the width of the domain",
            0x5 => "no write permission",
            0x6 => "no read permission",
            0x7 => "page-table access error",
            0x8 => "root-table access error",
            0x9 => "context-table access error",
            0xa => "reserved bits in root entry",
            0xb => "reserved bits in context entry",
            0xc => "reserved bits in page-table entry",
            0xd => "translated request blocked",
            0x20 => "reserved bits in interrupt request",
            0x21 => "interrupt index beyond the table",
            0x22 => "interrupt entry not present",
            0x23 => "interrupt-table access error",
            0x24 => "reserved bits in interrupt entry",
            0x25 => "compatibility-format interrupt blocked",
            0x26 => "interrupt from the wrong device",
            _ => "reason unknown",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.write {
            _ if self.is_interrupt() => write!(f, "index {:#x}", self.address >> 48),
            true => write!(f, "write to {:#x}", self.address),
            false => write!(f, "read from {:#x}", self.address),
        }?;
        write!(f, " reason {:02x}h ({})", self.reason, self.reason_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_context_entries_have_the_specified_bits() {
        assert_eq!(
            root(Mfn(0x1234)),
            Entry {
                low: 0x123_4001,
                high: 0
            }
        );
        assert_eq!(context_table_of(root(Mfn(0x1234))), Some(Mfn(0x1234)));
        assert_eq!(context_table_of(Entry::default()), None);
        // 3-level table (AW = 1), domain 7.
        assert_eq!(
            context(Mfn(0x55), 1, 7),
            Entry {
                low: 0x5_5001,
                high: 0x701
            }
        );
    }

    #[test]
    fn interrupt_entries_name_vector_destination_and_source() {
        for (x2apic, destination) in [(false, 0xfe << 40), (true, 0xfe << 32)] {
            let entry = interrupt(0x0018, 0x41, 0xfe, false, x2apic);
            assert_eq!(entry.low, 1 | 0x41 << 16 | destination);
            assert_eq!(entry.high, 0x4_0018);
            let level = interrupt(0x0018, 0x41, 0xfe, true, x2apic);
            assert_eq!(level.low, entry.low | 0x10);
        }
    }

    #[test]
    fn message_formats_carry_the_index() {
        assert_eq!(remappable_msi(0), (0xfee0_0010, 0));
        assert_eq!(remappable_msi(5), (0xfee0_00b0, 0));
        assert_eq!(remappable_msi(0x8001), (0xfee0_0034, 0));
        assert_eq!(
            remappable_rte(3, 0x30, false, false),
            0x30 | 1 << 48 | 3 << 49
        );
        assert_eq!(
            remappable_rte(0x8000, 0x30, true, true),
            0x30 | 1 << 11 | 1 << 13 | 1 << 15 | 1 << 48
        );
    }

    #[test]
    fn descriptors_have_the_specified_bits() {
        assert_eq!(descriptor::CONTEXT_GLOBAL.low, 0x11);
        assert_eq!(descriptor::IOTLB_GLOBAL.low, 0xd2);
        assert_eq!(
            descriptor::context_device(3, 0x18).low,
            0x31 | 3 << 16 | 0x18 << 32
        );
        assert_eq!(descriptor::iotlb_domain(3).low, 0xe2 | 3 << 16);
        let pages = descriptor::iotlb_pages(3, 0x20_0000, 9);
        assert_eq!((pages.low, pages.high), (0xf2 | 3 << 16, 0x20_0009));
        assert_eq!(descriptor::interrupt_index(9).low, 0x14 | 9 << 32);
        let wait = descriptor::wait(0xabcd, 0x1000);
        assert_eq!((wait.low, wait.high), (0x65 | 0xabcd << 32, 0x1000));
    }

    #[test]
    fn faults_are_decoded() {
        assert_eq!(
            Fault::decode(Entry {
                low: 0x1000,
                high: 0
            }),
            None
        );
        let write = Fault::decode(Entry {
            low: 0x1234_5fff,
            high: 1 << 63 | 5 << 32 | 0x18,
        })
        .unwrap();
        assert_eq!(
            write,
            Fault {
                source_id: 0x18,
                reason: 5,
                write: true,
                address: 0x1234_5000
            }
        );
        assert_eq!(write.reason_text(), "no write permission");
        let read = Fault::decode(Entry {
            low: 0,
            high: 3 << 62 | 6 << 32 | 0x10,
        })
        .unwrap();
        assert_eq!(
            read.to_string(),
            "read from 0x0 reason 06h (no read permission)"
        );
        let interrupt = Fault::decode(Entry {
            low: 1 << 48,
            high: 1 << 63 | 0x22 << 32,
        })
        .unwrap();
        assert_eq!(
            interrupt.to_string(),
            "index 0x1 reason 22h (interrupt entry not present)"
        );
    }
}
