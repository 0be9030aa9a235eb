//! Making sure that no CPU still uses an address space as it was before a change.
//!
//! A change first takes effect in the tables, then moves the domain's epoch. A vCPU that enters guest mode says so,
//! then compares epochs and flushes. So a vCPU either sees the new epoch, or is seen in guest mode and waited for.

use core::sync::atomic::Ordering;

use super::{Domain, Vcpu};
use crate::arch;

/// Returns when no CPU and no device uses what `domain`'s tables held before.
pub fn flush(domain: &Domain) {
    let epoch = domain.flush_epoch.fetch_add(1, Ordering::SeqCst) + 1;
    if let Some(io) = &mut domain.p2m.lock().io {
        io.flush();
    }
    let here = arch::cpu_index();
    domain.for_each_vcpu(|vcpu| {
        let is_behind =
            || vcpu.in_guest.load(Ordering::SeqCst) && vcpu.flushed.load(Ordering::SeqCst) < epoch;
        if is_behind()
            && let Some(cpu) = vcpu.sched.running_on()
            && cpu != here
        {
            // It holds no lock in guest mode, and the interrupt ends guest mode.
            arch::ipi::kick(cpu);
            while is_behind() {
                core::hint::spin_loop();
            }
        }
    });
}

impl Vcpu {
    /// Has the address space changed since this vCPU last forgot its translations? It does so now.
    ///
    /// Called with [`Vcpu::in_guest`] set, right before entry.
    pub fn take_flush(&self) -> bool {
        let epoch = self.domain.flush_epoch.load(Ordering::SeqCst);
        self.flushed.swap(epoch, Ordering::SeqCst) != epoch
    }
}
