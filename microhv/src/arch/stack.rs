//! Each CPU's stacks: one for everything, and one for each exception that must not rely on it.
//! Below each of them lies a page that is not mapped.

use super::paging;
use crate::mm::{frames, own};
use core::sync::atomic::Ordering;

/// Where all stacks are.
const BASE: u64 = 0xffff_e000_0000_0000;
/// Address space of one CPU's stacks.
const PER_CPU: u64 = 0x2_0000;
/// Order of the main stack: 32 KiB.
const MAIN_ORDER: u32 = 3;
/// Order of the others: 8 KiB, enough for a backtrace.
const EXCEPTION_ORDER: u32 = 1;

/// The tops of one CPU's stacks.
#[derive(Clone, Copy, Debug)]
pub struct Stacks {
    /// For everything.
    pub main: u64,
    /// For NMI, double fault and machine check, in this order.
    pub exceptions: [u64; 3],
}

/// Makes the stacks of CPU `index`.
pub fn allocate(index: usize) -> Option<Stacks> {
    let mut at = BASE + index as u64 * PER_CPU;
    let mut next = |order: u32| {
        at += 0x1000;
        let mfn = frames::alloc(order)?;
        paging::map_data(at, mfn, order)?;
        own::PER_CPU.fetch_add(4096 << order, Ordering::Relaxed);
        at += 0x1000 << order;
        Some(at)
    };
    let exceptions = [
        next(EXCEPTION_ORDER)?,
        next(EXCEPTION_ORDER)?,
        next(EXCEPTION_ORDER)?,
    ];
    let main = next(MAIN_ORDER)?;
    Some(Stacks { main, exceptions })
}

/// Whether 16 bytes at `address` can be a frame on some stack: aligned, and in the stacks' address
/// space. (Guard pages are excluded by the walk itself: frames ascend, and tops are not crossed.)
pub fn contains(address: u64) -> bool {
    let end = BASE + super::MAX_CPUS as u64 * PER_CPU;
    address.is_multiple_of(8)
        && (BASE..end - 16).contains(&address)
        && !is_guard(address)
        && !is_guard(address + 15)
}

/// Whether the address lies in a page between the stacks of a CPU, or after them.
fn is_guard(address: u64) -> bool {
    let page = (address - BASE) % PER_CPU / 0x1000;
    matches!(page, 0 | 3 | 6 | 9) || page > 17
}

/// What an address that faulted would mean, if it is a guard page.
pub fn overflowed(address: u64) -> Option<usize> {
    let end = BASE + super::MAX_CPUS as u64 * PER_CPU;
    ((BASE..end).contains(&address) && is_guard(address))
        .then(|| ((address - BASE) / PER_CPU) as usize)
}
