//! Device interrupts on their way to event channels: vector → domain and port.

use crate::arch::{irq, percpu};
use crate::domain::{self, Domain};
use crate::iommu::DeviceInterrupt;
use crate::pci::Sbdf;
use crate::types::DomId;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Mutex;
use xen_abi::Errno;

/// Interrupts of one device.
pub const MAX_BINDINGS: usize = 32;

/// By vector: 0, or [`BOUND`] with domain and port.
static TARGETS: [AtomicU64; 256] = [const { AtomicU64::new(0) }; 256];
const BOUND: u64 = 1 << 63;
/// Vectors that were in use and are free again.
static FREE: Mutex<heapless::Vec<u8, 256>> = Mutex::new(heapless::Vec::new());

/// A device raised `vector`, or somebody on its behalf; called without locks held.
pub(super) fn on_interrupt(vector: u8) {
    let target = TARGETS[usize::from(vector)].load(Ordering::Acquire);
    if target & BOUND != 0
        && let Some(domain) = domain::find(DomId((target >> 32) as u16))
    {
        domain::events::raise_device(&domain, target as u32, u32::from(vector));
    }
}

fn take_vector() -> Option<u8> {
    if let Some(vector) = FREE.lock().pop() {
        return Some(vector);
    }
    let vector = irq::alloc_vector()?;
    irq::set_handler(vector, on_interrupt);
    Some(vector)
}

fn give_back_vector(vector: u8) {
    TARGETS[usize::from(vector)].store(0, Ordering::Release);
    // There are not more vectors than places.
    let _ = FREE.lock().push(vector);
}

/// One interrupt of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Binding {
    entry: u16,
    vector: u8,
    interrupt: DeviceInterrupt,
}

impl Binding {
    fn release(self) {
        self.interrupt.release();
        give_back_vector(self.vector);
    }
}

/// The interrupts of a device that are bound.
#[derive(Debug, Default)]
pub struct Bindings {
    list: heapless::Vec<Binding, MAX_BINDINGS>,
}

impl Bindings {
    /// The vectors in use.
    pub fn vectors(&self) -> heapless::Vec<u8, MAX_BINDINGS> {
        self.list.iter().map(|binding| binding.vector).collect()
    }

    /// Binds MSI-X entry `entry` to a new port; gives back the port, and what the entry must write.
    ///
    /// # Errors
    /// `EBUSY`: bound already. `ENOSPC`: no vector, remapping entry or port is free.
    pub fn bind(
        &mut self,
        owner: &Domain,
        sbdf: Sbdf,
        upstream: &[Sbdf],
        entry: u16,
    ) -> Result<(u32, (u64, u32)), Errno> {
        if self.list.iter().any(|binding| binding.entry == entry) {
            return Err(Errno::EBUSY);
        }
        if self.list.is_full() {
            return Err(Errno::ENOSPC);
        }
        let vector = take_vector().ok_or(Errno::ENOSPC)?;
        // The CPU that runs the caller: where its vCPU is, so the wake-up is a local one.
        let apic_id = percpu::this().apic_id.load(Ordering::Relaxed);
        let interrupt = u8::try_from(apic_id)
            .ok()
            .and_then(|apic_id| DeviceInterrupt::new(sbdf, upstream, vector, apic_id));
        let Some(interrupt) = interrupt else {
            give_back_vector(vector);
            return Err(Errno::ENOSPC);
        };
        let binding = Binding {
            entry,
            vector,
            interrupt,
        };
        let port = owner.evtchn.lock().bind_device(vector.into());
        let port = port.inspect_err(|_| binding.release())?;
        let target = BOUND | u64::from(owner.id.0) << 32 | u64::from(port);
        TARGETS[usize::from(vector)].store(target, Ordering::Release);
        // Checked above.
        let _ = self.list.push(binding);
        Ok((port, interrupt.message()))
    }

    /// Frees the interrupt with number `device`; gives back its MSI-X entry. The entry must be masked right after.
    pub fn unbind(&mut self, device: u32) -> Option<u16> {
        let mut list = self.list.iter();
        let at = list.position(|binding| u32::from(binding.vector) == device)?;
        let binding = self.list.swap_remove(at);
        binding.release();
        Some(binding.entry)
    }

    /// Frees all interrupts.
    pub fn release_all(&mut self) {
        while let Some(binding) = self.list.pop() {
            binding.release();
        }
    }
}
