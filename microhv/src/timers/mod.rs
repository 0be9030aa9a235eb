//! Timers of vCPUs: Xen's one-shot and periodic timers, poll time-outs and the local APIC's timer.
//!
//! A vCPU with any deadline stands in the list of one CPU, which looks at the list when its own timer fires.

mod areas;
mod pvclock;

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use spin::Mutex;

use crate::arch::{self, EachCpu};
use crate::domain::{self, Vcpu, events};
use crate::mm::PageArc;

pub use areas::{Areas, GuestArea};
pub use pvclock::{publish_wallclock, time_info};

/// No deadline.
const NEVER: u64 = u64::MAX;
/// On no CPU's list.
const NOWHERE: usize = usize::MAX;
/// vCPUs with deadlines that one CPU looks after.
const DEPTH: usize = 256;
/// A periodic timer is never faster than this (ns), as in Xen.
pub const MIN_PERIOD_NS: u64 = 1_000_000;

/// One vCPU's deadlines, in ns since boot.
pub struct Timers {
    singleshot: AtomicU64,
    periodic_next: AtomicU64,
    period: AtomicU64,
    poll: AtomicU64,
    list: AtomicUsize,
}

struct List {
    vcpus: Mutex<heapless::Vec<PageArc<Vcpu>, DEPTH>>,
    changed: AtomicBool,
}

static LISTS: EachCpu<List> = EachCpu::new(|| List {
    vcpus: Mutex::new(heapless::Vec::new()),
    changed: AtomicBool::new(false),
});

impl Default for Timers {
    /// No timer armed.
    fn default() -> Self {
        Self {
            singleshot: AtomicU64::new(NEVER),
            periodic_next: AtomicU64::new(NEVER),
            period: AtomicU64::new(0),
            poll: AtomicU64::new(NEVER),
            list: AtomicUsize::new(NOWHERE),
        }
    }
}

impl Timers {
    /// Arms or stops the one-shot timer (`VCPUOP_{set,stop}_singleshot_timer`).
    pub fn set_singleshot(&self, deadline: Option<u64>) {
        self.singleshot
            .store(deadline.unwrap_or(NEVER), Ordering::SeqCst);
    }

    /// Arms or stops the periodic timer (`VCPUOP_{set,stop}_periodic_timer`), period in ns.
    pub fn set_periodic(&self, period: Option<u64>) {
        let next = period.map_or(NEVER, |p| arch::timer::now_ns().saturating_add(p));
        self.period.store(period.unwrap_or(0), Ordering::SeqCst);
        self.periodic_next.store(next, Ordering::SeqCst);
    }

    /// Arms or stops the time-out of `SCHEDOP_poll`.
    pub fn set_poll(&self, deadline: Option<u64>) {
        self.poll.store(deadline.unwrap_or(NEVER), Ordering::SeqCst);
    }

    /// The earliest deadline of Xen's timers.
    fn earliest(&self) -> u64 {
        self.singleshot
            .load(Ordering::SeqCst)
            .min(self.periodic_next.load(Ordering::SeqCst))
            .min(self.poll.load(Ordering::SeqCst))
    }
}

/// The earliest deadline of all of `vcpu`'s timers.
fn deadline(vcpu: &Vcpu) -> u64 {
    let apic = vcpu.vlapic.deadline().unwrap_or(NEVER);
    vcpu.timers.earliest().min(apic)
}

/// Puts `vcpu` on a CPU's list if it has a deadline; call after changing any of its timers.
pub fn arm(vcpu: &Vcpu) {
    if deadline(vcpu) == NEVER {
        return; // The list forgets it at the next look.
    }
    let here = arch::cpu_index();
    let list = match vcpu.timers.list.load(Ordering::SeqCst) {
        NOWHERE => {
            if !enlist(vcpu, here) {
                return;
            }
            vcpu.timers.list.load(Ordering::SeqCst)
        }
        list => list,
    };
    if let Some(there) = LISTS.get(list) {
        there.changed.store(true, Ordering::SeqCst);
    }
    if list != here && list < arch::cpu_count() {
        arch::ipi::kick(list);
    }
}

/// Adds `vcpu` to the list of CPU `here`, if it is on none by now.
fn enlist(vcpu: &Vcpu, here: usize) -> bool {
    let Some(handle) = domain::find(vcpu.domain.id).and_then(|d| d.vcpu(vcpu.id)) else {
        return false; // Being destroyed.
    };
    let mut vcpus = LISTS[here].vcpus.lock();
    let taken =
        vcpu.timers
            .list
            .compare_exchange(NOWHERE, here, Ordering::SeqCst, Ordering::SeqCst);
    if taken.is_ok() && vcpus.push(handle).is_err() {
        vcpu.timers.list.store(NOWHERE, Ordering::SeqCst);
        log::error!("timer list of CPU {here} is full");
        return false;
    }
    true
}

/// Stops all timers of a vCPU that will not run again, and lets go of it.
pub fn forget(vcpu: &Vcpu) {
    vcpu.timers.set_singleshot(None);
    vcpu.timers.set_periodic(None);
    vcpu.timers.set_poll(None);
    vcpu.vlapic.reset();
    let list = vcpu.timers.list.load(Ordering::SeqCst);
    let Some(there) = LISTS.get(list) else { return };
    let mut vcpus = there.vcpus.lock();
    let place = vcpus
        .iter()
        .position(|listed| listed.id == vcpu.id && listed.domain.id == vcpu.domain.id);
    let gone = place.map(|index| vcpus.swap_remove(index));
    vcpu.timers.list.store(NOWHERE, Ordering::SeqCst);
    drop(vcpus);
    drop(gone);
}

/// Has `cpu`'s list changed since the last call?
pub fn take_changed(cpu: usize) -> bool {
    LISTS[cpu].changed.swap(false, Ordering::SeqCst)
}

/// The earliest deadline on `cpu`'s list.
pub fn next_deadline(cpu: usize) -> Option<u64> {
    LISTS[cpu].changed.store(false, Ordering::SeqCst);
    let vcpus = LISTS[cpu].vcpus.lock();
    let earliest = vcpus.iter().map(|vcpu| deadline(vcpu)).min();
    earliest.filter(|&earliest| earliest != NEVER)
}

/// Fires what is due on `cpu`'s list, and forgets vCPUs without deadlines.
pub fn service(cpu: usize) {
    let now = arch::timer::now_ns();
    // One pass: guests may set a time that has passed, again and again. What was passed by is due at the next look.
    let mut index = 0;
    while let Some(vcpu) = next_due(cpu, now, &mut index) {
        fire(&vcpu, now);
    }
}

/// The first vCPU from place `index` of `cpu`'s list on whose deadline has come by `now`; moves `index` behind it.
fn next_due(cpu: usize, now: u64, index: &mut usize) -> Option<PageArc<Vcpu>> {
    let mut vcpus = LISTS[cpu].vcpus.lock();
    while let Some(vcpu) = vcpus.get(*index) {
        let when = deadline(vcpu);
        if when == NEVER {
            // Off the list first, then a second look: a timer armed in between is seen by one side or both.
            let list = &vcpu.timers.list;
            list.store(NOWHERE, Ordering::SeqCst);
            let (order, back) = (Ordering::SeqCst, deadline(vcpu) != NEVER);
            if !back || list.compare_exchange(NOWHERE, cpu, order, order).is_err() {
                vcpus.swap_remove(*index);
            }
            continue;
        }
        *index += 1;
        if when <= now {
            return Some(vcpu.clone());
        }
    }
    None
}

/// Fires `vcpu`'s timers that are due; afterwards none of them is due at `now`.
fn fire(vcpu: &PageArc<Vcpu>, now: u64) {
    let timers = &vcpu.timers;
    let due = |slot: &AtomicU64| {
        let when = slot.load(Ordering::SeqCst);
        // If the guest re-arms it at this moment, the new deadline stays.
        when <= now
            && slot
                .compare_exchange(when, NEVER, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok()
    };
    let mut tick = due(&timers.singleshot);
    if due(&timers.periodic_next) {
        tick = true;
        let period = timers.period.load(Ordering::SeqCst);
        if period != 0 {
            timers.periodic_next.store(
                now.saturating_add(period.max(MIN_PERIOD_NS)),
                Ordering::SeqCst,
            );
        }
    }
    if tick {
        events::raise_virq(vcpu, xen_abi::xen::VIRQ_TIMER);
    }
    if due(&timers.poll) {
        events::end_poll(vcpu);
    }
    if vcpu.vlapic.deadline().is_some_and(|when| when <= now) {
        vcpu.vlapic.tick(now);
        vcpu.kick_for_interrupt();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::tests::{alone, destroy, domain};

    #[test]
    fn what_is_set_in_the_past_again_and_again_fires_once_a_look() {
        let _alone = alone();
        crate::vcpu::backend::prepare_for_tests();
        let domain = domain(8);
        let (cpu, now) = (arch::cpu_index(), 1000);
        let vcpus = [0, 1].map(|id| Vcpu::create(&domain, id).unwrap());
        let set = |vcpu: &Vcpu| {
            vcpu.timers.set_singleshot(Some(1));
            arm(vcpu);
        };
        vcpus.iter().for_each(|vcpu| set(vcpu));
        for _ in 0..2 {
            let mut index = 0;
            let mut fired = Vec::new();
            while let Some(vcpu) = next_due(cpu, now, &mut index) {
                fire(&vcpu, now);
                fired.push(vcpu.id);
                // The guest, on another CPU.
                set(&vcpu);
                assert!(fired.len() <= 2, "as long as the guest likes");
            }
            assert_eq!(fired, [0, 1]);
        }
        destroy(&domain);
    }
}
