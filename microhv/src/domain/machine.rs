//! What the exit handlers see of a vCPU and the domain around it.

use core::sync::atomic::Ordering;

use super::{Domain, Vcpu};
use crate::exit::{self, After};
use crate::mm::FrameRef;
use crate::types::{Gfn, PAGE_SIZE};
use crate::vcpu::guest_memory::GuestPhysical;
use crate::vcpu::{ExitReason, FaultAccess, VcpuRun};

impl Vcpu {
    /// Adds one to the counter for `reason`.
    pub fn count_exit(&self, reason: ExitReason) {
        if let Some(counter) = self.exits.get(reason as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The vector to deliver for event channels now: `evtchn_upcall_pending` of this vCPU is set and the domain set a
    /// global callback vector. Not to be used for per-vCPU vectors (they go through the local APIC).
    pub fn upcall_vector(&self) -> Option<u8> {
        if self.has_own_upcall_vector() || !self.upcall_pending() {
            return None;
        }
        self.domain.callback_vector()
    }

    /// This vCPU has executed HLT with interrupts off, so that only an NMI or INIT wakes it. When no other vCPU of the
    /// domain can run either, the domain has powered itself off: PVH guests have no other way.
    pub fn halted_for_good(&self) {
        // Set before the others are looked at: of two that halt at once, one sees both.
        self.down.store(true, Ordering::SeqCst);
        let mut running = false;
        self.domain.for_each_vcpu(|vcpu| {
            running |= vcpu.is_online();
        });
        if !running {
            super::shut_down(&self.domain, xen_abi::sched::SHUTDOWN_POWEROFF);
        }
    }

    /// An access outside the second-level table.
    pub fn second_level_fault(&self, run: &mut VcpuRun, gpa: u64, access: FaultAccess) -> After {
        if access.execute && access.present {
            match self.domain.p2m.lock().run_at(Gfn::containing(gpa)) {
                Ok(true) => return After::Resume,
                Ok(false) => {}
                Err(_) => return After::Crash("no memory to let its code run in small pages"),
            }
        }
        let kind = match access {
            FaultAccess { execute: true, .. } => "executed",
            FaultAccess { write: true, .. } => "wrote",
            _ => "read",
        };
        log::error!(
            "{} vCPU {} {kind} guest-physical {gpa:#x}, where {}; rip {:#x}",
            *self.domain,
            self.id,
            if access.present {
                "it may not"
            } else {
                "nothing is"
            },
            run.hw.registers().rip,
        );
        exit::dump(&*run.hw);
        After::Crash("access to memory it does not have")
    }
}

impl Domain {
    /// Calls `each` with the frame at `gpa`, where `len` bytes do not leave it, and the offset there. Locked meanwhile: the page
    /// may be another domain's, which gets it back as soon as it is unmapped here.
    fn at(
        &self,
        gpa: u64,
        len: usize,
        write: bool,
        each: impl FnOnce(&FrameRef, usize),
    ) -> Option<()> {
        let offset = gpa as usize % PAGE_SIZE;
        let p2m = self.p2m.lock();
        let (frame, writable) = p2m.frame(Gfn::containing(gpa))?;
        (offset + len <= PAGE_SIZE && (writable || !write)).then(|| each(&frame, offset))
    }
}

impl GuestPhysical for Domain {
    fn read(&self, gpa: u64, buf: &mut [u8]) -> Option<()> {
        self.at(gpa, buf.len(), false, |frame, offset| {
            frame.read(offset, buf)
        })
    }

    fn write(&self, gpa: u64, data: &[u8]) -> Option<()> {
        self.at(gpa, data.len(), true, |frame, offset| {
            frame.write(offset, data)
        })
    }
}
