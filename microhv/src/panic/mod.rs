//! The end of the hypervisor: what happened, where, and then stop or start again.

#[cfg(target_os = "none")]
mod report;
pub mod symbols;

use core::sync::atomic::{AtomicBool, Ordering};

#[cfg(target_os = "none")]
pub use report::{exception, stop};

static STOPPING: AtomicBool = AtomicBool::new(false);
static NO_REBOOT: AtomicBool = AtomicBool::new(false);

/// `noreboot`: after a panic, stop rather than start again.
pub(crate) fn set_noreboot(noreboot: bool) {
    NO_REBOOT.store(noreboot, Ordering::Relaxed);
}

/// Whether another CPU has ended the hypervisor.
pub(crate) fn stopped_by_another() -> bool {
    STOPPING.load(Ordering::Acquire)
}

/// Stops this CPU for good.
#[cfg(target_os = "none")]
pub fn halt() -> ! {
    loop {
        x86_64::instructions::interrupts::disable();
        x86_64::instructions::hlt();
    }
}

/// On the host: ends the test.
#[cfg(test)]
pub fn halt() -> ! {
    panic!("halted")
}
