//! Guest memory by the guest's own linear addresses: what hypercall arguments point to.
//!
//! The guest's page tables are walked as data that another vCPU may be changing: every entry is read
//! once, a walk has at most five steps, and an access takes one walk a page. Accessed and dirty bits are
//! not set: what a kernel passes to a hypercall is its own memory, which it does not page by these bits.

use super::VirtualCpu;
use super::state::{CR0_PG, CR4_PAE, EFER_LMA};

/// A guest's physical memory as its p2m has it now.
pub trait GuestPhysical {
    /// Copies from guest-physical `gpa`, inside one page. `None` if the page is absent or not RAM.
    fn read(&self, gpa: u64, buf: &mut [u8]) -> Option<()>;
    /// Copies to guest-physical `gpa`, inside one page. `None` if the page is absent, not RAM or read-only.
    fn write(&self, gpa: u64, data: &[u8]) -> Option<()>;
}

/// The registers that define how a guest translates addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the architecture's")]
pub struct Translation {
    pub cr0: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub efer: u64,
}

const CR0_WP: u64 = 1 << 16;
const CR4_PSE: u64 = 1 << 4;
const CR4_LA57: u64 = 1 << 12;
const PRESENT: u64 = 1 << 0;
const WRITE: u64 = 1 << 1;
const LARGE: u64 = 1 << 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// The shape of one kind of page table.
struct Shape {
    /// Levels of the walk.
    levels: u32,
    /// Address bits that a level translates.
    bits: u32,
    /// Bytes in an entry.
    entry: u64,
    /// Levels at which an entry may be a page, as a mask.
    leaf_levels: u32,
}

impl Translation {
    /// How `hw`'s guest translates now.
    pub fn of(hw: &dyn VirtualCpu) -> Self {
        Self {
            cr0: hw.cr0(),
            cr3: hw.cr3(),
            cr4: hw.cr4(),
            efer: hw.efer(),
        }
    }

    /// `None`: paging is off.
    fn shape(&self) -> Option<Shape> {
        if self.cr0 & CR0_PG == 0 {
            return None;
        }
        let (levels, bits, leaf_levels) = if self.efer & EFER_LMA != 0 {
            let levels = if self.cr4 & CR4_LA57 != 0 { 5 } else { 4 };
            (levels, 9, 0b1110)
        } else if self.cr4 & CR4_PAE != 0 {
            (3, 9, 0b110)
        } else {
            let large = if self.cr4 & CR4_PSE != 0 { 0b100 } else { 0 };
            (2, 10, 0b10 | large)
        };
        Some(Shape {
            levels,
            bits,
            // A table is a page.
            entry: 4096 >> bits,
            leaf_levels,
        })
    }

    /// The guest-physical address of `linear`, for a supervisor's access.
    pub fn translate(&self, memory: &dyn GuestPhysical, linear: u64, write: bool) -> Option<u64> {
        let Some(shape) = self.shape() else {
            return Some(linear & 0xffff_ffff);
        };
        let linear = if self.efer & EFER_LMA == 0 {
            linear & 0xffff_ffff
        } else if is_canonical(linear, 12 + shape.levels * shape.bits) {
            linear
        } else {
            return None;
        };
        // The root of the three-level form is four entries without permissions, not a page of its own; its address has 32 bits.
        let three = shape.levels == 3;
        let mut table = self.cr3 & if three { 0xffff_ffe0 } else { ADDRESS };
        for level in (1..=shape.levels).rev() {
            let shift = 12 + shape.bits * (level - 1);
            let index = linear >> shift & ((1 << shape.bits) - 1);
            let mut raw = [0; 8];
            let size = shape.entry as usize;
            memory.read(table + index * shape.entry, &mut raw[..size])?;
            let entry = u64::from_le_bytes(raw);
            let root_entry = three && level == 3;
            if entry & PRESENT == 0 {
                return None;
            }
            if write && !root_entry && entry & WRITE == 0 && self.cr0 & CR0_WP != 0 {
                return None;
            }
            let leaf = level == 1 || (entry & LARGE != 0 && shape.leaf_levels & 1 << level != 0);
            if leaf {
                let inside = linear & ((1 << shift) - 1);
                let mut base = entry & ADDRESS & !((1 << shift) - 1);
                if shape.entry == 4 && level == 2 {
                    // PSE-36: bits 13-20 are address bits 32-39.
                    base = entry & 0xffc0_0000 | (entry >> 13 & 0xff) << 32;
                }
                return Some(base | inside);
            }
            table = entry & ADDRESS;
        }
        None
    }
}

fn is_canonical(linear: u64, width: u32) -> bool {
    let unused = 64 - width;
    ((linear << unused) as i64 >> unused) as u64 == linear
}

impl Translation {
    /// Calls `each` with guest-physical address and range of the buffer, a page at a time.
    fn for_pages(
        &self,
        memory: &dyn GuestPhysical,
        (linear, len): (u64, usize),
        write: bool,
        mut each: impl FnMut(u64, core::ops::Range<usize>) -> Option<()>,
    ) -> Option<()> {
        let mut done = 0;
        while done < len {
            let at = linear.checked_add(done as u64)?;
            let step = (0x1000 - (at & 0xfff) as usize).min(len - done);
            let gpa = self.translate(memory, at, write)?;
            each(gpa, done..done + step)?;
            done += step;
        }
        Some(())
    }

    /// Copies `buf.len()` bytes from guest-linear `linear`.
    /// `None` if a page is not mapped, or not to RAM; the start of `buf` may have been filled then.
    pub fn read(&self, memory: &dyn GuestPhysical, linear: u64, buf: &mut [u8]) -> Option<()> {
        self.for_pages(memory, (linear, buf.len()), false, |gpa, range| {
            memory.read(gpa, buf.get_mut(range)?)
        })
    }

    /// Copies `data` to guest-linear `linear`.
    /// `None` if a page is not mapped writable, or not to RAM; earlier pages were written then.
    pub fn write(&self, memory: &dyn GuestPhysical, linear: u64, data: &[u8]) -> Option<()> {
        self.for_pages(memory, (linear, data.len()), true, |gpa, range| {
            memory.write(gpa, data.get(range)?)
        })
    }
}

#[cfg(test)]
mod tests;
