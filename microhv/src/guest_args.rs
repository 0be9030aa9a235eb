//! A hypercall's argument structures in the caller's memory.
//!
//! The hypercall layer knows the caller's page tables; handlers see bytes at an offset from the argument pointer.
//! Whatever is read may change under our feet, so it is read once into a structure of ours, and that is checked and used.

#![forbid(unsafe_code)]

use xen_abi::Errno;
use xen_abi::zerocopy::{FromBytes, Immutable, IntoBytes};

/// The memory at a hypercall's argument pointer.
pub trait GuestArgs {
    /// Copies from `offset` bytes after the argument pointer.
    ///
    /// # Errors
    /// `EFAULT` if the caller may not read there.
    fn read(&mut self, offset: usize, buf: &mut [u8]) -> Result<(), Errno>;

    /// Copies to `offset` bytes after the argument pointer.
    ///
    /// # Errors
    /// `EFAULT` if the caller may not write there.
    fn write(&mut self, offset: usize, data: &[u8]) -> Result<(), Errno>;

    /// Reads the structure number `index` of an array of such structures.
    ///
    /// # Errors
    /// `EFAULT` if the caller may not read there.
    fn get<T: FromBytes + IntoBytes>(&mut self, index: usize) -> Result<T, Errno>
    where
        Self: Sized,
    {
        let mut value = T::new_zeroed();
        let offset = index.checked_mul(size_of::<T>()).ok_or(Errno::EFAULT)?;
        self.read(offset, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Writes the structure number `index` of an array of such structures.
    ///
    /// # Errors
    /// `EFAULT` if the caller may not write there.
    fn put<T: IntoBytes + Immutable>(&mut self, index: usize, value: &T) -> Result<(), Errno>
    where
        Self: Sized,
    {
        let offset = index.checked_mul(size_of::<T>()).ok_or(Errno::EFAULT)?;
        self.write(offset, value.as_bytes())
    }
}

/// How far a hypercall that works on a list has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All of it is done; the hypercall returns this number.
    Done(u64),
    /// This many list entries are done; something more urgent waits, so the hypercall is to be issued again for the rest.
    Preempted(u32),
}

/// Argument memory for tests: plain bytes.
#[cfg(test)]
pub struct TestArgs(pub std::vec::Vec<u8>);

#[cfg(test)]
impl TestArgs {
    /// The bytes of `values`, one after the other.
    pub fn of<T: IntoBytes + Immutable>(values: &[T]) -> Self {
        Self(values.as_bytes().to_vec())
    }
}

#[cfg(test)]
impl GuestArgs for TestArgs {
    fn read(&mut self, offset: usize, buf: &mut [u8]) -> Result<(), Errno> {
        let from = self
            .0
            .get(offset..offset + buf.len())
            .ok_or(Errno::EFAULT)?;
        buf.copy_from_slice(from);
        Ok(())
    }

    fn write(&mut self, offset: usize, data: &[u8]) -> Result<(), Errno> {
        let to = self
            .0
            .get_mut(offset..offset + data.len())
            .ok_or(Errno::EFAULT)?;
        to.copy_from_slice(data);
        Ok(())
    }
}
