//! A domain: an address space, its vCPUs, its event channels and its grants.

mod machine;
mod p2m;
mod params;
mod vcpu;

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
pub(crate) mod tests;

pub mod build;
pub mod destroy;
pub mod events;
pub mod flush;
pub mod list;

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use spin::{Mutex, RwLock};
use xen_abi::memory::E820Entry;

use crate::evtchn;
use crate::grant;
use crate::mm::PageArc;
use crate::mm::frame_table::FrameRef;
use crate::types::DomId;

pub use list::{all_from, create, find, next_from};
pub use p2m::P2m;
pub use params::Params;
pub use vcpu::Vcpu;

/// The most vCPUs a domain may have.
pub const MAX_VCPUS: usize = 32;

/// The name the log uses: a boot-time domain's kernel name, or `dN`.
pub type Name = heapless::String<31>;

/// No shutdown reason yet: the domain runs.
const NOT_SHUT_DOWN: u32 = u32::MAX;

/// One domain, ours or a guest.
pub struct Domain {
    /// Its number.
    pub id: DomId,
    /// May it control other domains? True for Domain-0 only.
    pub privileged: bool,
    /// Its second-level address space.
    pub p2m: Mutex<P2m>,
    /// Its event channels.
    pub evtchn: Mutex<evtchn::Table>,
    /// Its grant table and the mappings it holds of others' grants.
    pub grant: Mutex<grant::Table>,
    /// The page that guests map as `shared_info`.
    pub shared_info: FrameRef,
    /// HVM parameters (Xen: public/hvm/params.h).
    pub params: Params,
    /// The upper bound of pages, set by its creator.
    pub max_pages: AtomicU64,
    /// Moved at each change of the address space that CPUs have to notice; see [`flush`].
    pub flush_epoch: AtomicU64,
    /// Pages it has moved by `GNTTABOP_copy`.
    pub grant_copies: AtomicU64,
    /// Pages it has mapped by `GNTTABOP_map_grant_ref`.
    pub grant_maps: AtomicU64,
    /// `EVTCHNOP_send`s it has made.
    pub events_sent: AtomicU64,
    /// Interrupts posted to its vCPUs while they were in guest mode on another CPU.
    pub interrupts_posted: AtomicU64,
    /// Upcalls it has been given.
    pub events_received: AtomicU64,
    /// The number of vCPUs its creator allowed.
    pub max_vcpus: AtomicU32,
    /// Scheduler weight (Xen's default is 256).
    pub weight: AtomicU32,
    /// vCPUs that wait in `SCHEDOP_poll`, a bit each.
    pub pollers: AtomicU32,
    /// The UUID that the creator gave (Xen: `xen_domain_handle_t`).
    pub handle: Mutex<[u8; 16]>,
    name: Mutex<Name>,
    callback_vector: AtomicU8,
    vcpus: RwLock<heapless::Vec<PageArc<Vcpu>, MAX_VCPUS>>,
    /// The memory map that the domain is told of.
    pub memory_map: Mutex<MemoryMap>,
    pauses: AtomicU32,
    shutdown: AtomicU32,
    dying: AtomicBool,
}

/// The RAM ranges that the domain is told of (`XENMEM_memory_map`).
pub type MemoryMap = heapless::Vec<E820Entry, 16>;

impl Domain {
    /// One without memory and vCPUs. `None`: out of memory.
    fn new(id: DomId, handle: [u8; 16], privileged: bool) -> Option<Self> {
        let shared_info = FrameRef::new_zeroed(id)?;
        Some(Self {
            id,
            privileged,
            p2m: Mutex::new(P2m::new(id)?),
            evtchn: Mutex::new(evtchn::Table::new(id, shared_info.clone())?),
            grant: Mutex::new(grant::Table::new(id)?),
            shared_info,
            params: Params::new(),
            max_pages: AtomicU64::new(0),
            flush_epoch: AtomicU64::new(0),
            grant_copies: AtomicU64::new(0),
            grant_maps: AtomicU64::new(0),
            interrupts_posted: AtomicU64::new(0),
            events_sent: AtomicU64::new(0),
            events_received: AtomicU64::new(0),
            max_vcpus: AtomicU32::new(1),
            weight: AtomicU32::new(256),
            pollers: AtomicU32::new(0),
            handle: Mutex::new(handle),
            name: Mutex::new(Name::new()),
            callback_vector: AtomicU8::new(0),
            vcpus: RwLock::new(heapless::Vec::new()),
            memory_map: Mutex::new(MemoryMap::new()),
            // A new domain waits for its creator's unpause.
            pauses: AtomicU32::new(1),
            shutdown: AtomicU32::new(NOT_SHUT_DOWN),
            dying: AtomicBool::new(false),
        })
    }

    /// The name for log lines; `dN` if nobody gave one.
    pub fn name(&self) -> Name {
        let name = self.name.lock().clone();
        if name.is_empty() {
            let mut fallback = Name::new();
            // 31 bytes hold `d65535`.
            let _ = core::fmt::Write::write_fmt(&mut fallback, format_args!("{}", self.id));
            return fallback;
        }
        name
    }

    /// Gives the domain a name for log lines; what does not fit is cut.
    pub fn set_name(&self, name: &str) {
        let mut short = Name::new();
        for c in name.chars() {
            if short.push(c).is_err() {
                break;
            }
        }
        *self.name.lock() = short;
    }

    /// The vector by which all its vCPUs get their upcalls, if it set one (`HVM_PARAM_CALLBACK_IRQ`).
    pub fn callback_vector(&self) -> Option<u8> {
        match self.callback_vector.load(Ordering::SeqCst) {
            0 => None,
            vector => Some(vector),
        }
    }

    /// Sets that vector.
    pub fn set_callback_vector(&self, vector: Option<u8>) {
        self.callback_vector
            .store(vector.unwrap_or(0), Ordering::SeqCst);
        self.for_each_vcpu(|vcpu| vcpu.kick());
    }

    /// Lets go of the vCPUs, which hold the domain in turn.
    fn clear_vcpus(&self) {
        // One at a time and outside the lock: the last reference frees.
        loop {
            let last = self.vcpus.write().pop();
            if last.is_none() {
                return;
            }
        }
    }

    /// The vCPU with number `id`.
    pub fn vcpu(&self, id: u32) -> Option<PageArc<Vcpu>> {
        self.vcpus.read().get(id as usize).cloned()
    }

    /// How many vCPUs exist.
    pub fn vcpu_count(&self) -> u32 {
        // MAX_VCPUS fits.
        self.vcpus.read().len() as u32
    }

    /// Calls `f` for each vCPU in order.
    pub fn for_each_vcpu(&self, mut f: impl FnMut(&PageArc<Vcpu>)) {
        for vcpu in self.vcpus.read().iter() {
            f(vcpu);
        }
    }

    /// Stops all vCPUs at their next exit; counted, undone by [`Self::unpause`].
    pub fn pause(&self) {
        self.pauses.fetch_add(1, Ordering::SeqCst);
        self.for_each_vcpu(|vcpu| vcpu.kick());
    }

    /// Undoes one [`Self::pause`]; at zero the vCPUs run again.
    pub fn unpause(&self) {
        let before = self
            .pauses
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if before == Ok(1) {
            self.for_each_vcpu(|vcpu| vcpu.kick());
        }
    }

    /// Is any pause in force, or has the domain shut down or begun to die?
    pub fn is_stopped(&self) -> bool {
        self.pauses.load(Ordering::SeqCst) > 0
            || self.shutdown_reason().is_some()
            || self.is_dying()
    }

    /// Is a pause in force?
    pub fn is_paused(&self) -> bool {
        self.pauses.load(Ordering::SeqCst) > 0
    }

    /// The `SHUTDOWN_*` reason, once it has shut down.
    pub fn shutdown_reason(&self) -> Option<u32> {
        match self.shutdown.load(Ordering::SeqCst) {
            NOT_SHUT_DOWN => None,
            reason => Some(reason),
        }
    }

    /// Records the first shutdown reason; false if there was one before.
    fn record_shutdown(&self, reason: u32) -> bool {
        self.shutdown
            .compare_exchange(NOT_SHUT_DOWN, reason, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// Forgets the shutdown (`XEN_DOMCTL_resumedomain`).
    pub fn resume(&self) {
        self.shutdown.store(NOT_SHUT_DOWN, Ordering::SeqCst);
        self.for_each_vcpu(|vcpu| vcpu.kick());
    }

    /// Has destruction begun?
    pub fn is_dying(&self) -> bool {
        self.dying.load(Ordering::SeqCst)
    }
}

impl core::fmt::Display for Domain {
    /// Name and number, for the log.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} ({})", self.name(), self.id)
    }
}

/// Domain-0 has ended, and the machine with it.
fn end_machine(reason: u32) -> ! {
    match reason {
        xen_abi::sched::SHUTDOWN_POWEROFF => crate::power::off(),
        xen_abi::sched::SHUTDOWN_REBOOT => crate::power::reboot(),
        _ => panic!("Domain-0 crashed"),
    }
}

/// Ends `domain`'s run with a `SHUTDOWN_*` reason and tells Domain-0 by `VIRQ_DOM_EXC`.
///
/// Domain-0's own shutdown is the machine's.
pub fn shut_down(domain: &Domain, reason: u32) {
    if !domain.record_shutdown(reason) {
        return;
    }
    domain.for_each_vcpu(|vcpu| vcpu.kick());
    let word = match reason {
        xen_abi::sched::SHUTDOWN_POWEROFF => "power off",
        xen_abi::sched::SHUTDOWN_REBOOT => "reboot",
        xen_abi::sched::SHUTDOWN_SUSPEND => "suspend",
        xen_abi::sched::SHUTDOWN_CRASH => "crash",
        xen_abi::sched::SHUTDOWN_WATCHDOG => "watchdog",
        _ => "unknown reason",
    };
    if reason == xen_abi::sched::SHUTDOWN_CRASH {
        log::error!("{domain} has crashed");
    } else {
        log::info!("{domain} has shut down: {word}");
    }
    if domain.id == DomId(0) {
        end_machine(reason);
    }
    events::tell_operator(xen_abi::xen::VIRQ_DOM_EXC);
}
