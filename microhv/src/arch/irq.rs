//! Vectors for device interrupts.

/// A device interrupt's handler: called with the vector, interrupts off; the end of interrupt is
/// signalled afterwards.
pub type Handler = fn(u8);

/// Reserves a vector for a device.
#[must_use]
pub fn alloc_vector() -> Option<u8> {
    None
}

/// Says what to call when `vector` comes.
pub fn set_handler(vector: u8, handler: Handler) {
    let _ = (vector, handler);
}
