//! Data of each CPU that exists, in frames of its own: an array for all CPUs that could exist would
//! be part of the image.

use super::MAX_CPUS;
use crate::mm::PageBox;
use core::ops::Index;
use spin::Once;

/// A `T` for each CPU, made when it is first looked at.
pub struct EachCpu<T: 'static> {
    places: [Once<&'static T>; MAX_CPUS],
    make: fn() -> T,
}

impl<T> EachCpu<T> {
    /// `make` makes one CPU's.
    pub const fn new(make: fn() -> T) -> Self {
        Self {
            places: [const { Once::new() }; MAX_CPUS],
            make,
        }
    }

    /// The data of CPU `cpu`; `None` if there cannot be such a CPU.
    ///
    /// # Panics
    /// There is no memory for the data when they are first looked at.
    pub fn get(&self, cpu: usize) -> Option<&T> {
        (cpu < MAX_CPUS).then(|| &self[cpu])
    }
}

impl<T> Index<usize> for EachCpu<T> {
    type Output = T;

    /// The data of CPU `cpu`.
    ///
    /// # Panics
    /// If there is no such CPU, or no memory for its data when they are first looked at. Look at
    /// them at boot.
    fn index(&self, cpu: usize) -> &T {
        self.places[cpu].call_once(|| match PageBox::new((self.make)()) {
            Some(page) => page.leak(),
            None => panic!("no memory for the data of CPU {cpu}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn each_cpu_has_its_own_and_keeps_it() {
        static DATA: EachCpu<AtomicU32> = EachCpu::new(|| AtomicU32::new(7));
        DATA[3].store(9, Ordering::Relaxed);
        let value = |cpu: usize| DATA[cpu].load(Ordering::Relaxed);
        assert_eq!((value(3), value(0)), (9, 7));
        assert!(DATA.get(MAX_CPUS).is_none());
        assert!(std::panic::catch_unwind(|| value(MAX_CPUS)).is_err());
    }
}
