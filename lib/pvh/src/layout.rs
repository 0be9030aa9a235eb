//! Where things lie in a PVH domain's guest-physical address space.
//!
//! ```text
//! 0            .. low RAM, at most 0xF000_0000
//! 0xFEFF_0000  .. ACPI tables (2 pages backed)
//! 0xFEFF_8000  .. 8 special pages, as in Xen; store and console backed
//! 0x1_0000_0000.. the rest of the RAM
//! ```
//! The ACPI tables and special pages lie between the local APIC's page and the flash, where no
//! PC has a PCI BAR: a driver domain has its BARs at the machine's own addresses.

use core::fmt;

use heapless::Vec;

/// Bytes in a page.
pub const PAGE_SIZE: u64 = 4096;

/// vCPUs that a domain can have: APIC id = 2 × vCPU must stay below 255.
pub const MAX_VCPUS: u32 = 127;

/// RAM below 4 GiB ends here at the latest.
const LOW_RAM_MAX: u64 = 0xF000_0000;
/// RAM that does not fit below goes on here.
const HIGH_RAM_START: u64 = 1 << 32;
/// The smallest domain: something must fit behind the legacy hole.
const RAM_MIN: u64 = 2 << 20;
/// No domain has more RAM than this, so that sums of addresses cannot overflow.
const RAM_MAX: u64 = 1 << 44;

/// First byte of the ACPI tables; the RSDP is the first of them.
pub(crate) const ACPI_START: u64 = 0xFEFF_0000;
/// Bytes kept for ACPI tables.
pub(crate) const ACPI_SIZE: u64 = 2 * PAGE_SIZE;
/// Xen `X86_HVM_END_SPECIAL_REGION` and `X86_HVM_NR_SPECIAL_PAGES`: 8 pages below 0xFF000000.
const SPECIAL_START: u64 = 0xFEFF_8000;
const SPECIAL_END: u64 = 0xFF00_0000;
/// The two that a PVH domain uses.
const STORE_PAGE: u64 = 0xFEFF_E000;
const CONSOLE_PAGE: u64 = 0xFEFF_F000;

/// Additional reserved ranges (modules mapped from elsewhere, BARs).
const RESERVED_MAX: usize = 16;
/// Low RAM, ACPI, special pages, high RAM, and the additional ones.
const MAP_MAX: usize = RESERVED_MAX + 4;

/// A range of guest-physical addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First byte, page aligned.
    pub start: u64,
    /// Length in bytes, a multiple of the page size.
    pub size: u64,
}

impl Range {
    /// First address behind the range.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.start.saturating_add(self.size)
    }

    /// First frame number.
    #[must_use]
    pub const fn first_gfn(&self) -> u64 {
        self.start / PAGE_SIZE
    }

    /// Number of frames.
    #[must_use]
    pub const fn frames(&self) -> u64 {
        self.size / PAGE_SIZE
    }

    const fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end() && other.start < self.end()
    }
}

/// Types in a memory map, `XEN_HVM_MEMMAP_TYPE_*`; the same numbers as E820.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum MemoryType {
    /// Usable memory.
    Ram = 1,
    /// Not to be touched by the kernel's allocator.
    Reserved = 2,
    /// ACPI tables.
    Acpi = 3,
}

/// One line of the memory map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryMapEntry {
    /// The range.
    pub range: Range,
    /// What is there.
    pub kind: MemoryType,
}

/// A memory map, sorted by address.
pub type MemoryMap = Vec<MemoryMapEntry, MAP_MAX>;

/// Why there is no layout for what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutError {
    /// Less memory than a domain needs, more than it can have, or no multiple of the page size.
    BadMemorySize {
        /// What was asked, in bytes.
        bytes: u64,
    },
    /// No vCPU, or more than [`MAX_VCPUS`].
    BadVcpus {
        /// What was asked.
        vcpus: u32,
    },
    /// A reserved range that is empty, not page aligned, overlaps another or is one too many.
    BadReserved(Range),
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadMemorySize { bytes } => write!(
                f,
                "a domain cannot have {bytes} bytes of memory (at least {} MiB, whole pages)",
                RAM_MIN >> 20
            ),
            Self::BadVcpus { vcpus } => {
                write!(f, "a domain cannot have {vcpus} vCPUs (1 to {MAX_VCPUS})")
            }
            Self::BadReserved(range) => {
                write!(
                    f,
                    "range {:#x}..{:#x} cannot be reserved",
                    range.start,
                    range.end()
                )
            }
        }
    }
}

impl core::error::Error for LayoutError {}

/// The guest-physical address space of one domain.
#[derive(Clone, Debug)]
pub struct Layout {
    low: Range,
    high: Range,
    vcpus: u32,
    reserved: Vec<Range, RESERVED_MAX>,
}

impl Layout {
    /// The layout of a domain with `memory` bytes of RAM and `vcpus` virtual CPUs.
    ///
    /// # Errors
    /// When a domain cannot have that.
    pub fn new(memory: u64, vcpus: u32) -> Result<Self, LayoutError> {
        if !(RAM_MIN..=RAM_MAX).contains(&memory) || !memory.is_multiple_of(PAGE_SIZE) {
            return Err(LayoutError::BadMemorySize { bytes: memory });
        }
        if !(1..=MAX_VCPUS).contains(&vcpus) {
            return Err(LayoutError::BadVcpus { vcpus });
        }
        let low = memory.min(LOW_RAM_MAX);
        Ok(Self {
            low: Range {
                start: 0,
                size: low,
            },
            high: Range {
                start: HIGH_RAM_START,
                size: memory.saturating_sub(low),
            },
            vcpus,
            reserved: Vec::new(),
        })
    }

    /// Adds a range that the memory map names as reserved: BARs, or a module that lies outside RAM.
    ///
    /// # Errors
    /// When the range overlaps RAM or something else, is empty or unaligned, or is one too many.
    pub fn reserve(&mut self, range: Range) -> Result<(), LayoutError> {
        let bad = LayoutError::BadReserved(range);
        let aligned = range.start.is_multiple_of(PAGE_SIZE) && range.size.is_multiple_of(PAGE_SIZE);
        let overflows = range.start.checked_add(range.size).is_none();
        if range.size == 0 || !aligned || overflows {
            return Err(bad);
        }
        if self
            .memory_map()
            .iter()
            .any(|entry| entry.range.overlaps(&range))
        {
            return Err(bad);
        }
        self.reserved.push(range).map_err(|_| bad)
    }

    /// The RAM below 4 GiB; kernel, modules and start info lie there.
    #[must_use]
    pub const fn low_ram(&self) -> Range {
        self.low
    }

    /// The RAM above 4 GiB; its size may be 0.
    #[must_use]
    pub const fn high_ram(&self) -> Range {
        self.high
    }

    /// The first 2-MiB boundary behind all RAM (at least 4 GiB): a place for things that the
    /// builder maps into the domain.
    #[must_use]
    pub const fn after_ram(&self) -> u64 {
        const ALIGNMENT: u64 = 2 << 20;
        self.high.end().next_multiple_of(ALIGNMENT)
    }

    /// Number of virtual CPUs.
    #[must_use]
    pub const fn vcpus(&self) -> u32 {
        self.vcpus
    }

    /// Ranges to back with zeroed memory before [`crate::build`]: RAM, ACPI, special pages.
    #[must_use]
    pub fn populate(&self) -> Vec<Range, 4> {
        let special = Range {
            start: STORE_PAGE,
            size: SPECIAL_END - STORE_PAGE,
        };
        [self.low, acpi_range(), special, self.high]
            .into_iter()
            .filter(|range| range.size != 0)
            .collect()
    }

    /// Pages that [`Layout::populate`] names beyond the domain's RAM.
    #[must_use]
    pub const fn extra_pages() -> u64 {
        (ACPI_SIZE + (SPECIAL_END - STORE_PAGE)) / PAGE_SIZE
    }

    /// Frame of the xenstore ring (`HVM_PARAM_STORE_PFN`).
    #[must_use]
    pub const fn store_gfn(&self) -> u64 {
        STORE_PAGE / PAGE_SIZE
    }

    /// Frame of the PV console's ring (`HVM_PARAM_CONSOLE_PFN`).
    #[must_use]
    pub const fn console_gfn(&self) -> u64 {
        CONSOLE_PAGE / PAGE_SIZE
    }

    /// Address of the ACPI RSDP.
    #[must_use]
    pub const fn rsdp(&self) -> u64 {
        ACPI_START
    }

    /// The map for `hvm_start_info` and for `XENMEM_memory_map`.
    #[must_use]
    pub fn memory_map(&self) -> MemoryMap {
        let special = Range {
            start: SPECIAL_START,
            size: SPECIAL_END - SPECIAL_START,
        };
        let mut map: MemoryMap = [
            (self.low, MemoryType::Ram),
            (acpi_range(), MemoryType::Acpi),
            (special, MemoryType::Reserved),
            (self.high, MemoryType::Ram),
        ]
        .into_iter()
        .chain(
            self.reserved
                .iter()
                .map(|&range| (range, MemoryType::Reserved)),
        )
        .filter(|(range, _)| range.size != 0)
        .map(|(range, kind)| MemoryMapEntry { range, kind })
        .collect();
        map.sort_unstable_by_key(|entry| entry.range.start);
        map
    }
}

const fn acpi_range() -> Range {
    Range {
        start: ACPI_START,
        size: ACPI_SIZE,
    }
}
