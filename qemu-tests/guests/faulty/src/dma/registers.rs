//! A window of device registers.

use core::ptr::NonNull;

/// Mapped device memory, `size` bytes.
pub struct Registers {
    start: NonNull<u8>,
    size: u64,
}

impl Registers {
    /// Maps `size` bytes of device memory at `gpa`.
    pub fn map(gpa: u64, size: u64) -> Result<Self, &'static str> {
        let page = gpa & !0xfff;
        let end = (gpa + size).next_multiple_of(0x1000);
        let start = domain::pci::map_device_memory(page, end - page)
            .map_err(|_| "device memory cannot be mapped")?;
        // SAFETY: the offset is below a page and the first page is mapped.
        let start = unsafe { start.add((gpa - page) as usize) };
        Ok(Self { start, size })
    }

    fn at<T>(&self, offset: u64) -> *mut T {
        assert!(
            offset + size_of::<T>() as u64 <= self.size,
            "register {offset:#x}"
        );
        self.start.as_ptr().wrapping_add(offset as usize).cast()
    }

    /// Reads a register of the size of `T` (1, 2, 4 or 8 bytes) at its natural alignment.
    pub fn read<T: Copy>(&self, offset: u64) -> T {
        // SAFETY: `at` has checked that the register is in the mapped window; devices are read by volatile accesses.
        unsafe { self.at::<T>(offset).read_volatile() }
    }

    /// Writes a register.
    pub fn write<T: Copy>(&self, offset: u64, value: T) {
        // SAFETY: as for reading. What the device does then is confined by the IOMMU: that is what is tested here.
        unsafe { self.at::<T>(offset).write_volatile(value) }
    }
}
