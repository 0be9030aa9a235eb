//! A set of interrupt vectors, as IRR and ISR hold them.

use core::sync::atomic::{AtomicU32, Ordering};

/// 256 bits in eight registers.
#[derive(Default)]
pub struct VectorSet([AtomicU32; 8]);

const fn place(vector: u8) -> (usize, u32) {
    (vector as usize / 32, 1 << (vector % 32))
}

impl VectorSet {
    /// Adds `vector`.
    pub fn set(&self, vector: u8) {
        let (word, bit) = place(vector);
        self.0[word].fetch_or(bit, Ordering::AcqRel);
    }

    /// Takes `vector` out.
    pub fn clear(&self, vector: u8) {
        let (word, bit) = place(vector);
        self.0[word].fetch_and(!bit, Ordering::AcqRel);
    }

    /// Takes all out.
    pub fn clear_all(&self) {
        for word in &self.0 {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// The highest one that is in it.
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

    /// The eight registers, to copy them.
    pub fn words(&self) -> &[AtomicU32; 8] {
        &self.0
    }
}
