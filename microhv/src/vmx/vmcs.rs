//! The virtual-machine control structure, by field. Which one is current is the CPU's state: whoever reads or writes
//! one that is not, while its vCPU is on no CPU, makes it current for that moment.
#![allow(unsafe_code, reason = "registers of the CPU")]

use super::instructions;
use crate::arch;
use crate::mm::{PageBox, Zeroable};
use core::sync::atomic::{AtomicU64, Ordering};

/// A page in a format that only the CPU knows, but for its first two words: revision and abort indicator.
#[repr(C, align(4096))]
struct Region {
    revision: u32,
    abort: u32,
    rest: [u8; 4088],
}

// SAFETY: integers.
unsafe impl Zeroable for Region {}

/// Physical address of each CPU's current control structure; 0 if it has none.
static CURRENT: [AtomicU64; arch::MAX_CPUS] = [const { AtomicU64::new(0) }; arch::MAX_CPUS];

fn current() -> &'static AtomicU64 {
    &CURRENT[arch::cpu_index()]
}

/// One control structure.
pub struct Vmcs(PageBox<Region>);

impl Vmcs {
    /// An empty one, active nowhere. `None`: out of memory.
    pub fn new(revision: u32) -> Option<Self> {
        let mut region = PageBox::<Region>::new_zeroed()?;
        region.revision = revision;
        let vmcs = Self(region);
        // SAFETY: the frame has just become a control structure.
        unsafe { instructions::vmclear(vmcs.address()) };
        Some(vmcs)
    }

    fn address(&self) -> u64 {
        self.0.mfn().address()
    }

    /// Makes it this CPU's current one, until [`Self::unload`].
    pub fn load(&self) {
        // SAFETY: a vCPU is unloaded wherever it ran before: the structure is active nowhere.
        if !unsafe { instructions::vmptrld(self.address()) } {
            log::error!("vmx: VMPTRLD refuses {:#x}", self.address());
        }
        current().store(self.address(), Ordering::Relaxed);
    }

    /// Writes it back, so that any CPU may load it. Its next entry is a launch.
    pub fn unload(&self) {
        current().store(0, Ordering::Relaxed);
        // SAFETY: it is a control structure, and active on no other CPU.
        unsafe { instructions::vmclear(self.address()) };
    }

    /// Does `what` while it is current.
    pub fn with<T>(&self, what: impl FnOnce() -> T) -> T {
        let before = current().load(Ordering::Relaxed);
        // The host's stand-in has no current one, and its tests run at the same time.
        if before == self.address() || cfg!(not(target_os = "none")) {
            return what();
        }
        self.load();
        let result = what();
        self.unload();
        if before != 0 {
            // SAFETY: it was current on this CPU when we came.
            unsafe { instructions::vmptrld(before) };
            current().store(before, Ordering::Relaxed);
        }
        result
    }

    /// Reads `field`; 0 if this CPU has no such field.
    pub fn read(&self, field: u32) -> u64 {
        self.with(|| instructions::vmread(self.address(), field))
            .unwrap_or(0)
    }

    /// Writes `field`. That the CPU has no such field is a defect of ours: it is logged.
    pub fn write(&self, field: u32, value: u64) {
        if !self.with(|| instructions::vmwrite(self.address(), field, value)) {
            log::error!("vmx: this CPU has no VMCS field {field:#x}");
        }
    }
}

impl Drop for Vmcs {
    fn drop(&mut self) {
        // A CPU may still hold parts of it, which it would write back into a page of somebody else.
        let _ = current().compare_exchange(self.address(), 0, Ordering::Relaxed, Ordering::Relaxed);
        // SAFETY: it is a control structure, and active on no other CPU.
        unsafe { instructions::vmclear(self.address()) };
    }
}
