//! A set of interrupt vectors, as IRR and ISR hold them.

use core::sync::atomic::{AtomicU32, Ordering};

/// 256 bits in eight registers.
pub struct VectorSet([AtomicU32; 8]);

const fn place(vector: u8) -> (usize, u32) {
    (vector as usize / 32, 1 << (vector % 32))
}

impl VectorSet {
    pub const fn new() -> Self {
        Self([const { AtomicU32::new(0) }; 8])
    }

    pub fn set(&self, vector: u8) {
        let (word, bit) = place(vector);
        self.0[word].fetch_or(bit, Ordering::AcqRel);
    }

    pub fn clear(&self, vector: u8) {
        let (word, bit) = place(vector);
        self.0[word].fetch_and(!bit, Ordering::AcqRel);
    }

    pub fn clear_all(&self) {
        for word in &self.0 {
            word.store(0, Ordering::Relaxed);
        }
    }

    pub fn highest(&self) -> Option<u8> {
        for (index, word) in self.0.iter().enumerate().rev() {
            let bits = word.load(Ordering::Acquire);
            if bits != 0 {
                return Some((index as u32 * 32 + bits.ilog2()) as u8);
            }
        }
        None
    }

    /// Register `index` of the eight.
    pub fn word(&self, index: usize) -> Option<u32> {
        Some(self.0.get(index)?.load(Ordering::Relaxed))
    }
}
