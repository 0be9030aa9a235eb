//! Event channels in the 2-level layout, polled: the runtime never takes an interrupt.
//!
//! The event loop of a domain is
//! ```ignore
//! loop {
//!     for port in event::take_pending() { dispatch(port); }
//!     event::wait(next_deadline);
//! }
//! ```
//! [`wait`] returns when at least one port is pending or the deadline has passed. No wake-up is lost: the hypervisor
//! sets `evtchn_upcall_pending` before it looks whether the vCPU is blocked, and does not block a vCPU whose
//! `evtchn_upcall_pending` is set.

mod timer;

use crate::hypercall;
use crate::shared::SharedMemory;
use crate::time::Instant;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use spin::{Mutex, Once};
use xen_abi::event_channel::*;
use xen_abi::sched::*;
use xen_abi::xen::{SharedInfo, VcpuInfo};
use xen_abi::{DOMID_SELF, DomId, Errno};

pub use timer::{bind_timer, is_timer};

static SHARED_INFO: Once<SharedMemory> = Once::new();
/// Ports that were pending while somebody waited for another one: handed out by the next [`take_pending`].
static DEFERRED: Mutex<Deferred> = Mutex::new(Deferred {
    words: [0; 64],
    summary: 0,
});
struct Deferred {
    words: [u64; 64],
    summary: u64,
}

/// The shared info page; `None` before boot is complete and on the host.
pub(crate) fn shared_info() -> Option<&'static SharedMemory> {
    SHARED_INFO.get()
}

/// Takes over the mapped shared info page: every port unmasked, words that are already pending noticed.
pub(crate) fn init(info: SharedMemory) {
    let info = SHARED_INFO.call_once(|| info);
    for word in 0..64 {
        if let Ok(mask) = info.atomic_u64(offset_of!(SharedInfo, evtchn_mask) + word * 8) {
            mask.store(0, Ordering::Relaxed);
        }
    }
    if let (Some(selector), Some(upcall)) = (selector(), upcall_pending()) {
        selector.store(u64::MAX, Ordering::SeqCst);
        upcall.store(1, Ordering::SeqCst);
    }
}

const UPCALL_PENDING: usize =
    offset_of!(SharedInfo, vcpu_info) + offset_of!(VcpuInfo, evtchn_upcall_pending);

fn upcall_pending() -> Option<&'static AtomicU8> {
    shared_info()?.atomic_u8(UPCALL_PENDING).ok()
}

fn selector() -> Option<&'static AtomicU64> {
    const SELECTOR: usize =
        offset_of!(SharedInfo, vcpu_info) + offset_of!(VcpuInfo, evtchn_pending_sel);
    shared_info()?.atomic_u64(SELECTOR).ok()
}

fn pending_word(word: u32) -> Option<&'static AtomicU64> {
    shared_info()?
        .atomic_u64(offset_of!(SharedInfo, evtchn_pending) + word as usize % 64 * 8)
        .ok()
}

/// An event channel of this domain. Dropping closes it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Port(EvtchnPort);

impl Port {
    /// Allocates a channel that `remote` may bind to.
    pub fn alloc_unbound(remote: DomId) -> Result<Port, Errno> {
        alloc_unbound_for(DOMID_SELF, remote).map(Port)
    }

    /// Binds to `remote_port`, a channel that `remote` allocated for us.
    pub fn bind_interdomain(remote: DomId, remote_port: EvtchnPort) -> Result<Port, Errno> {
        let mut op = EvtchnBindInterdomain {
            remote_dom: remote,
            remote_port,
            ..Default::default()
        };
        evtchn(EVTCHNOP_BIND_INTERDOMAIN, &mut op)?;
        Ok(Port(op.local_port))
    }

    /// Binds a virtual interrupt (`VIRQ_*`) of vCPU 0.
    pub fn bind_virq(virq: u32) -> Result<Port, Errno> {
        let mut op = EvtchnBindVirq {
            virq,
            ..Default::default()
        };
        evtchn(EVTCHNOP_BIND_VIRQ, &mut op)?;
        Ok(Port(op.port))
    }

    /// Binds a physical interrupt, which only Domain-0 has.
    pub fn bind_pirq(pirq: u32) -> Result<Port, Errno> {
        let mut op = EvtchnBindPirq {
            pirq,
            ..Default::default()
        };
        evtchn(EVTCHNOP_BIND_PIRQ, &mut op)?;
        Ok(Port(op.port))
    }

    /// Takes over a port that already exists, such as that of the store or console ring.
    pub fn from_number(number: EvtchnPort) -> Port {
        Port(number)
    }

    /// Gives the number and forgets to close.
    pub fn into_number(self) -> EvtchnPort {
        let number = self.0;
        core::mem::forget(self);
        number
    }

    /// The number, as events and the store name it.
    pub fn number(&self) -> EvtchnPort {
        self.0
    }

    /// Notifies the other end.
    pub fn notify(&self) -> Result<(), Errno> {
        evtchn(EVTCHNOP_SEND, &mut EvtchnSend { port: self.0 })
    }

    /// What the channel is bound to.
    pub fn status(&self) -> Result<EvtchnStatus, Errno> {
        let mut op = EvtchnStatus {
            dom: DOMID_SELF,
            port: self.0,
            ..Default::default()
        };
        evtchn(EVTCHNOP_STATUS, &mut op)?;
        Ok(op)
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        if let Err(errno) = evtchn(EVTCHNOP_CLOSE, &mut EvtchnClose { port: self.0 }) {
            log::warn!("closing event channel {}: {errno}", self.0);
        }
        // An event that arrived before is nobody's any more.
        let (word, bit) = (self.0 / 64, 1 << (self.0 % 64));
        if let Some(pending) = pending_word(word) {
            pending.fetch_and(!bit, Ordering::SeqCst);
        }
        if let Some(deferred) = DEFERRED.lock().words.get_mut(word as usize) {
            *deferred &= !bit;
        }
    }
}

/// Allocates, in domain `dom`, a channel for `remote`: with another domain's id this is the control domain's privilege.
pub fn alloc_unbound_for(dom: DomId, remote: DomId) -> Result<EvtchnPort, Errno> {
    let mut op = EvtchnAllocUnbound {
        dom,
        remote_dom: remote,
        ..Default::default()
    };
    evtchn(EVTCHNOP_ALLOC_UNBOUND, &mut op)?;
    Ok(op.port)
}

#[expect(unsafe_code, reason = "hypercall with a structure of plain numbers")]
fn evtchn<T>(cmd: u32, op: &mut T) -> Result<(), Errno> {
    // SAFETY: event-channel operations carry no addresses; every caller in this module passes the command's structure.
    unsafe { hypercall::event_channel_op(cmd, op) }.map(drop)
}

/// The ports that are pending, each taken as it is yielded.
///
/// Ports not yielded stay pending for the next call when the iterator is dropped. It works on a snapshot: a port that becomes
/// pending again after it was yielded comes with the next call, so one busy port does not starve the rest.
pub fn take_pending() -> TakePending {
    let mut deferred = DEFERRED.lock();
    if let (Some(upcall), Some(selector)) = (upcall_pending(), selector())
        && upcall.load(Ordering::Relaxed) != 0
    {
        // Cleared first: an event after this sets it again.
        upcall.store(0, Ordering::SeqCst);
        let mut summary = selector.swap(0, Ordering::SeqCst);
        while summary != 0 {
            let word = summary.trailing_zeros();
            summary &= summary - 1;
            let pending = pending_word(word).map_or(0, |bits| bits.swap(0, Ordering::SeqCst));
            deferred.words[word as usize] |= pending;
            if deferred.words[word as usize] != 0 {
                deferred.summary |= 1 << word;
            }
        }
    }
    TakePending {
        summary: deferred.summary,
        word: 0,
        bits: 0,
    }
}

/// Iterator of [`take_pending`].
#[derive(Debug)]
pub struct TakePending {
    summary: u64,
    word: u32,
    bits: u64,
}

impl Iterator for TakePending {
    type Item = EvtchnPort;

    fn next(&mut self) -> Option<EvtchnPort> {
        while self.bits == 0 {
            if self.summary == 0 {
                return None;
            }
            self.word = self.summary.trailing_zeros();
            self.summary &= self.summary - 1;
            let mut deferred = DEFERRED.lock();
            deferred.summary &= !(1 << self.word);
            self.bits = core::mem::take(&mut deferred.words[self.word as usize]);
        }
        let bit = self.bits.trailing_zeros();
        self.bits &= self.bits - 1;
        Some(self.word * 64 + bit)
    }
}

impl Drop for TakePending {
    fn drop(&mut self) {
        if self.bits != 0 {
            defer_word(self.word, self.bits);
        }
    }
}

/// Makes a port pending for this domain's next [`take_pending`], as if its event had arrived.
pub fn mark_pending(port: EvtchnPort) {
    defer_word(port / 64, 1 << (port % 64));
}

fn defer_word(word: u32, bits: u64) {
    let mut deferred = DEFERRED.lock();
    deferred.words[word as usize % 64] |= bits;
    deferred.summary |= 1 << (word % 64);
}

/// Blocks until an event is pending or `deadline` has passed. `None` waits for ever.
pub fn wait(deadline: Option<Instant>) {
    if DEFERRED.lock().summary != 0 {
        return;
    }
    block(deadline);
}

/// Blocks until an event arrives or `deadline`, and keeps what arrived for [`take_pending`].
pub(crate) fn wait_deferring(deadline: Instant) {
    block(Some(deadline));
    collect();
}

/// Moves pending events to the deferred set; returns whether `port` was among them and takes it.
fn take_port(port: EvtchnPort) -> bool {
    collect();
    let mut deferred = DEFERRED.lock();
    let Some(word) = deferred.words.get_mut(port as usize / 64) else {
        return false;
    };
    let bit = 1 << (port % 64);
    let found = *word & bit != 0;
    *word &= !bit;
    found
}

fn collect() {
    // Creating the iterator moves everything into the deferred set; nothing is yielded, so nothing is taken.
    drop(take_pending());
}

/// Blocks until `port` is pending (then takes it) or `deadline` has passed; returns whether it was. Other ports' events are kept
/// for [`take_pending`].
pub fn wait_for(port: &Port, deadline: Option<Instant>) -> bool {
    loop {
        if take_port(port.number()) {
            return true;
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return false;
        }
        block(deadline);
    }
}

/// One blocking hypercall, unless something is pending. May return early.
fn block(deadline: Option<Instant>) {
    if let Some(deadline) = deadline {
        if Instant::now() >= deadline || timer::arm(deadline).is_err() {
            return;
        }
    } else {
        timer::disarm();
    }
    if upcall_pending().is_none_or(|upcall| upcall.load(Ordering::SeqCst) != 0) {
        return;
    }
    if let Err(errno) = sched(SCHEDOP_BLOCK, &mut 0_u32) {
        log::error!("SCHEDOP_block: {errno}");
    }
}

#[expect(unsafe_code, reason = "hypercall with a structure of plain numbers")]
fn sched<T>(cmd: u32, op: &mut T) -> Result<u64, Errno> {
    // SAFETY: the operations used here (block, yield, shutdown) carry no addresses.
    unsafe { hypercall::sched_op(cmd, op) }
}

/// Lets others run.
pub fn yield_now() {
    let _ = sched(SCHEDOP_YIELD, &mut 0_u32);
}

/// Ends this domain with one of `SHUTDOWN_*`.
pub fn shutdown(reason: u32) -> ! {
    let _ = sched(SCHEDOP_SHUTDOWN, &mut SchedShutdown { reason });
    // A shut-down domain is not scheduled again; without a hypervisor, stop the processor: interrupts are off.
    #[cfg(target_os = "none")]
    loop {
        x86_64::instructions::hlt();
    }
    #[cfg(not(target_os = "none"))]
    panic!("shutdown with reason {reason} on the host");
}
