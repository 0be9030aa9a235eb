//! Device registers.
#![allow(unsafe_code, reason = "device registers")]

use super::WINDOW_SIZE;

/// A range of device registers, mapped uncached. Accesses are volatile and of exactly the size
/// asked for; one outside the range reads as all ones, or is dropped.
#[derive(Clone, Copy, Debug)]
pub struct Mmio {
    base: *mut u8,
    length: usize,
}

// SAFETY: registers are shared by their nature; each access is one volatile instruction.
unsafe impl Send for Mmio {}
// SAFETY: as above.
unsafe impl Sync for Mmio {}

macro_rules! accessors {
    ($($read:ident $write:ident $t:ty;)*) => {$(
        /// Reads the register at `offset`, which must be aligned to the register's size.
        pub fn $read(&self, offset: usize) -> $t {
            match self.place(offset, size_of::<$t>()) {
                // SAFETY: aligned and within the mapping, which is never undone.
                Some(place) => unsafe { place.cast::<$t>().read_volatile() },
                None => <$t>::MAX,
            }
        }

        /// Writes the register at `offset`, which must be aligned to the register's size.
        pub fn $write(&self, offset: usize, value: $t) {
            if let Some(place) = self.place(offset, size_of::<$t>()) {
                // SAFETY: as for the read.
                unsafe { place.cast::<$t>().write_volatile(value) };
            }
        }
    )*};
}

impl Mmio {
    /// Maps `length` bytes of registers at physical address `physical`, uncached. Mapping the same
    /// range again gives the same place. `None` if there is no memory for page tables, or the
    /// range is RAM or beyond what the CPU can address.
    pub fn map(physical: u64, length: u64) -> Option<Self> {
        let end = physical.checked_add(length)?;
        if end > WINDOW_SIZE || length == 0 {
            return None;
        }
        let base = map_pages(physical, end)?;
        Some(Self {
            base,
            length: length as usize,
        })
    }

    /// Registers that are plain memory, for tests on the host.
    #[cfg(test)]
    pub fn fake(memory: &'static mut [u64]) -> Self {
        Self {
            length: size_of_val(memory),
            base: memory.as_mut_ptr().cast(),
        }
    }

    fn place(&self, offset: usize, size: usize) -> Option<*mut u8> {
        debug_assert!(offset.is_multiple_of(size) && offset < self.length);
        let fits = offset.is_multiple_of(size) && self.length.checked_sub(size)? >= offset;
        // SAFETY: the offset lies within the mapping.
        fits.then(|| unsafe { self.base.add(offset) })
    }

    accessors! {
        read_u32 write_u32 u32;
        read_u64 write_u64 u64;
    }
}

#[cfg(target_os = "none")]
fn map_pages(physical: u64, end: u64) -> Option<*mut u8> {
    crate::arch::paging::map_device(physical, end)
}

#[cfg(test)]
fn map_pages(_physical: u64, _end: u64) -> Option<*mut u8> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_read_and_written_in_their_bounds() {
        let registers = Mmio::fake(Box::leak(Box::new([0u64; 4])));
        registers.write_u32(4, 0x1122_3344);
        assert_eq!(registers.read_u64(0), 0x1122_3344_0000_0000);
        assert!(std::panic::catch_unwind(|| registers.read_u32(32)).is_err());
        assert!(Mmio::map(u64::MAX - 5, 10).is_none());
    }
}
