//! Writing back cache lines for units that do not snoop the CPU caches when they walk tables (ECAP.C clear).
#![allow(unsafe_code, reason = "instructions")]

use crate::mm::phys;
use crate::types::Mfn;
use core::sync::atomic::{AtomicBool, Ordering};

/// Some unit does not snoop.
static NEEDED: AtomicBool = AtomicBool::new(false);

/// Says that some unit does not snoop: from now on every written line is written back.
pub fn needed() {
    NEEDED.store(true, Ordering::Release);
}

/// The 8 or 16 bytes at `offset` of `table` were written; makes them visible to every unit.
pub fn written(table: Mfn, offset: usize) {
    if NEEDED.load(Ordering::Acquire)
        && offset < crate::types::PAGE_SIZE
        && let Some(base) = phys::pointer(table)
    {
        flush_line(base.wrapping_add(offset));
    }
}

fn flush_line(line: *mut u8) {
    // SAFETY: the address lies within a frame of the direct map; writing a line back changes no value. The fence
    // orders it before the register write that tells the unit.
    unsafe {
        core::arch::asm!("clflush [{}]", "mfence", in(reg) line, options(nostack, preserves_flags))
    };
}
