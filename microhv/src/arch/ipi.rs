//! Interrupts from CPU to CPU.

/// Makes CPU `index` leave guest mode or wake up, with its `reschedule` flag set.
#[cfg(target_os = "none")]
pub fn kick(index: usize) {
    let _ = index;
}

/// On the host: sets the flag that the interrupt would set.
#[cfg(not(target_os = "none"))]
pub fn kick(index: usize) {
    if let Some(cpu) = super::percpu::of(index) {
        cpu.reschedule
            .store(true, core::sync::atomic::Ordering::Release);
    }
}
