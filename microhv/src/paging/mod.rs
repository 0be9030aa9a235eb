//! Radix page tables for address spaces that are not the hypervisor's own: a guest's physical memory
//! as the CPU sees it, and as a device sees it. How an entry is written is a [`Format`]; the walk is here.

mod table;

pub use table::Table;

use crate::types::Mfn;
use bitflags::bitflags;

/// Bits of an entry that are an address, in all formats.
pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// The entry is a leaf although its table is not of the lowest level, in most formats.
pub const LARGE: u64 = 1 << 7;

bitflags! {
    /// What may be done with a mapped page. The bits are those of some formats.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Access: u64 {
        /// Reading: memory that is only looked at.
        const READ = 1 << 0;
        /// Writing.
        const WRITE = 1 << 1;
        /// Instruction fetch.
        const EXECUTE = 1 << 2;
        /// Data.
        const READ_WRITE = Self::READ.bits() | Self::WRITE.bits();
        /// Ordinary guest memory.
        const ALL = Self::READ_WRITE.bits() | Self::EXECUTE.bits();
    }
}

impl Access {
    /// Data that may be read, and written with `write`.
    pub const fn data(write: bool) -> Self {
        if write { Self::READ_WRITE } else { Self::READ }
    }
}

/// How the CPU may cache a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryType {
    /// RAM.
    WriteBack,
    /// Device registers.
    Uncached,
}

/// One leaf of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First machine frame.
    pub mfn: Mfn,
    /// log2 of the number of frames: 0, 9 or 18.
    pub order: u32,
    /// What may be done with it.
    pub access: Access,
    /// How it is cached.
    pub memory: MemoryType,
}

/// What an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Nothing.
    Absent,
    /// The next lower table.
    Table(Mfn),
    /// A page.
    Leaf(Mapping),
}

/// Why a table was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// No frame for a further table.
    NoMemory,
    /// Frame numbers not aligned to the order, an order other than 0, 9 and 18, or outside the address space.
    BadRange,
    /// Smaller pages are mapped inside the range: handle them one by one.
    Occupied,
}

/// How one kind of hardware writes its tables. Level 1 is the table of 4 KiB pages.
pub trait Format: Sync {
    /// Levels of a walk.
    fn levels(&self) -> u32 {
        4
    }
    /// The highest level whose entries may be leaves (2: 2 MiB, 3: 1 GiB).
    fn leaf_levels(&self) -> u32;
    /// The entry for a page.
    fn leaf(&self, mapping: &Mapping) -> u64;
    /// The entry for a next lower table, which is at `level`.
    fn table(&self, mfn: Mfn, level: u32) -> u64;
    /// The entry for nothing.
    fn absent(&self) -> u64 {
        0
    }
    /// What an entry lets be done with what is behind it; empty: nothing is there.
    fn access(&self, entry: u64) -> Access;
    /// How a leaf is cached.
    fn memory(&self, entry: u64) -> MemoryType {
        let _ = entry;
        MemoryType::WriteBack
    }
    /// Does an entry of a table at `level` that lets something be done lead to a lower table?
    fn is_table(&self, entry: u64, level: u32) -> bool {
        level > 1 && entry & LARGE == 0
    }
    /// Reads an entry of a table at `level`.
    fn decode(&self, entry: u64, level: u32) -> Entry {
        let (access, mfn) = (self.access(entry), Mfn::containing(entry & ADDRESS));
        if access.is_empty() {
            return Entry::Absent;
        }
        if self.is_table(entry, level) {
            return Entry::Table(mfn);
        }
        Entry::Leaf(Mapping {
            mfn,
            order: 9 * (level - 1),
            access,
            memory: self.memory(entry),
        })
    }
    /// From now on no code runs in large leaves: they keep in mind that it may, for [`Table::run_at`].
    fn keep_code_small(&self) {}
    /// Called after an entry was written, with the table's frame and the entry's offset in bytes: hardware
    /// that does not snoop the caches needs the line written back.
    fn written(&self, table: Mfn, offset: usize) {
        let _ = (table, offset);
    }
}

#[cfg(test)]
mod tests;
