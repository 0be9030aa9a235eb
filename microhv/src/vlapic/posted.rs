//! Interrupts that other CPUs have posted, until the vCPU takes them over: laid out as the posted-interrupt descriptor
//! (Intel SDM, volume 3C, table 30-1), so that hardware can take them over itself.

use super::priority::VectorSet;
use core::sync::atomic::{AtomicU32, Ordering};

/// Control: a notification is outstanding, that is, something was posted since the last take-over.
const OUTSTANDING: u32 = 1 << 0;

/// The descriptor: 64 bytes, in a page of its own because Bochs 3.0 refuses another place (docs/bochs.md).
#[derive(Default)]
#[repr(C, align(64))]
pub struct Posted {
    requests: VectorSet,
    control: AtomicU32,
}

impl Posted {
    /// Any CPU: posts `vector`.
    pub fn post(&self, vector: u8) {
        self.requests.set(vector);
        self.control.fetch_or(OUTSTANDING, Ordering::SeqCst);
    }

    /// The highest vector that was posted and not taken over.
    pub fn highest(&self) -> Option<u8> {
        self.is_outstanding().then(|| self.requests.highest())?
    }

    fn is_outstanding(&self) -> bool {
        self.control.load(Ordering::SeqCst) & OUTSTANDING != 0
    }

    /// Moves what was posted to `requested`.
    pub fn take(&self, requested: &VectorSet) {
        if !self.is_outstanding() {
            return;
        }
        // First: what is posted from here on sets it again.
        self.control.fetch_and(!OUTSTANDING, Ordering::SeqCst);
        for (from, to) in self.requests.words().iter().zip(requested.words()) {
            to.fetch_or(from.swap(0, Ordering::AcqRel), Ordering::Relaxed);
        }
    }

    /// Forgets what was posted.
    pub fn clear(&self) {
        self.requests.clear_all();
    }
}
