//! What the exit handlers see of a vCPU and the domain around it.

use core::sync::atomic::{AtomicU32, Ordering};

use super::{Domain, Vcpu};
use crate::exit::{self, After, Machine};
use crate::hypercall;
use crate::types::{DomId, Gfn, PAGE_SIZE};
use crate::vcpu::guest_memory::GuestPhysical;
use crate::vcpu::{ExitReason, FaultAccess, VcpuRun};
use crate::vlapic::{Command, Delivery, VLapic};
use crate::{console, pci, serial, timers};

impl Machine for Vcpu {
    fn domain_id(&self) -> DomId {
        self.domain.id
    }

    fn vcpu_id(&self) -> u32 {
        self.id
    }

    fn count_exit(&self, reason: ExitReason) {
        if let Some(counter) = self.exits.get(reason as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn vlapic(&self) -> &VLapic {
        &self.vlapic
    }

    fn vcpu_count(&self) -> u32 {
        self.domain.vcpu_count()
    }

    fn send(&self, vcpu_id: u32, command: &Command) {
        let Some(vcpu) = self.domain.vcpu(vcpu_id) else {
            return;
        };
        if !command.give(&vcpu.vlapic) || vcpu_id == self.id {
            return;
        }
        match command.delivery {
            Delivery::Fixed(_) => vcpu.kick_for_interrupt(),
            _ => vcpu.kick(),
        }
    }

    fn upcall_vector(&self) -> Option<u8> {
        if self.has_own_upcall_vector() || !self.upcall_pending() {
            return None;
        }
        self.domain.callback_vector()
    }

    fn repost_upcall(&self) {
        self.post_upcall();
    }

    fn halted_for_good(&self) {
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

    fn take_tlb_flush(&self) -> bool {
        self.take_flush()
    }

    fn memory(&self) -> &dyn GuestPhysical {
        &*self.domain
    }

    fn timer_changed(&self) {
        timers::arm(self);
    }

    fn hypercall(&self, run: &mut VcpuRun) -> After {
        hypercall::dispatch(self, run)
    }

    fn second_level_fault(&self, run: &mut VcpuRun, gpa: u64, access: FaultAccess) -> After {
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
            "{} ({}) vCPU {} {kind} guest-physical {gpa:#x}, where {}; rip {:#x}",
            self.domain.name(),
            self.domain.id,
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

    fn pci_config_read(&self, address: u32, offset: u8, size: u8) -> u32 {
        pci::config_read(self.domain.id, address, offset, size)
    }

    fn pci_config_write(&self, address: u32, offset: u8, size: u8, value: u32) {
        pci::config_write(self.domain.id, address, offset, size, value);
    }

    fn pci_config_address(&self) -> &AtomicU32 {
        &self.pci_address
    }

    fn serial_read(&self, port: u16) -> Option<u8> {
        let owner = self.domain.privileged;
        owner.then(|| serial::read(port)).flatten()
    }

    fn serial_write(&self, port: u16, value: u8) {
        if self.domain.privileged {
            serial::write(port, value);
        }
    }

    fn debug_byte(&self, byte: u8) {
        console::guest_write(self.domain.id, &self.domain.name(), &[byte]);
    }
}

impl GuestPhysical for Domain {
    fn read(&self, gpa: u64, buf: &mut [u8]) -> bool {
        let offset = gpa as usize % PAGE_SIZE;
        let frame = self.p2m.lock().frame(Gfn::containing(gpa));
        match frame {
            Some((frame, _)) if offset + buf.len() <= PAGE_SIZE => {
                frame.read(offset, buf);
                true
            }
            _ => false,
        }
    }

    fn write(&self, gpa: u64, data: &[u8]) -> bool {
        let offset = gpa as usize % PAGE_SIZE;
        let frame = self.p2m.lock().frame(Gfn::containing(gpa));
        match frame {
            Some((frame, true)) if offset + data.len() <= PAGE_SIZE => {
                frame.write(offset, data);
                true
            }
            _ => false,
        }
    }
}
