//! HVM parameters: small numbers that a domain and its creator leave for one another.

use core::sync::atomic::{AtomicU64, Ordering};

use xen_abi::hvm::params::HVM_NR_PARAMS;

/// One domain's parameters (Xen: public/hvm/params.h).
pub struct Params([AtomicU64; HVM_NR_PARAMS as usize]);

impl Params {
    pub(super) fn new() -> Self {
        Self([const { AtomicU64::new(0) }; HVM_NR_PARAMS as usize])
    }

    /// The value of parameter `index`, if there is such a parameter.
    pub fn get(&self, index: u32) -> Option<u64> {
        Some(self.0.get(index as usize)?.load(Ordering::Relaxed))
    }

    /// Sets parameter `index`; `None` if there is no such parameter.
    pub fn set(&self, index: u32, value: u64) -> Option<()> {
        self.0.get(index as usize)?.store(value, Ordering::Relaxed);
        Some(())
    }
}
