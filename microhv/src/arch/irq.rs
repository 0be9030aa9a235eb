//! Vectors for device interrupts.

use super::lapic::end_of_interrupt;
use core::sync::atomic::{AtomicU8, Ordering};
use spin::Once;

/// An interrupt's handler: called with the vector, interrupts off; the end of interrupt is
/// signalled afterwards.
pub type Handler = fn(u8);

/// The first vector for devices: below it are exceptions, and what a masked 8259 may still send.
const FIRST: u8 = 0x30;
/// One past the last vector for devices.
const END: u8 = 0xf0;
/// This CPU's deadline has passed.
pub const TIMER: u8 = 0xf0;
/// Another CPU wants this one's attention.
pub const RESCHEDULE: u8 = 0xf1;
/// An interrupt was posted to the vCPU that runs in guest mode on this CPU. In guest mode the CPU deals with it itself.
pub const POSTED: u8 = 0xf2;
/// The local APIC found an error.
pub const APIC_ERROR: u8 = 0xfe;
/// The local APIC took an interrupt back; not to be acknowledged.
pub const SPURIOUS: u8 = 0xff;

static HANDLERS: [Once<Handler>; 256] = [const { Once::new() }; 256];
static NEXT: AtomicU8 = AtomicU8::new(FIRST);

/// Reserves a vector for a device, the same on all CPUs. `None` if all are taken.
#[must_use]
pub fn alloc_vector() -> Option<u8> {
    NEXT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |vector| {
        (vector < END).then(|| vector + 1)
    })
    .ok()
}

/// Says what to call when `vector` comes. The first handler of a vector stays.
pub fn set_handler(vector: u8, handler: Handler) {
    HANDLERS[usize::from(vector)].call_once(|| handler);
}

/// Calls the vector's handler and acknowledges the interrupt.
pub(crate) fn dispatch(vector: u8) {
    match HANDLERS[usize::from(vector)].get() {
        Some(handler) => handler(vector),
        None if vector == SPURIOUS => return,
        // An 8259 that is masked may still send its spurious vector 7 or 15; it wants no answer.
        None if vector < FIRST => return,
        None => log::warn!("interrupt {vector:#x} has no handler"),
    }
    end_of_interrupt();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_given_out_once_and_end() {
        let all: Vec<u8> = std::iter::from_fn(alloc_vector).collect();
        assert_eq!(all, (FIRST..END).collect::<Vec<_>>());
        assert!(alloc_vector().is_none());
    }
}
