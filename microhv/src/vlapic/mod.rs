//! A local APIC in x2APIC mode, from the first instruction on: registers are MSRs, so nothing is decoded
//! (Intel SDM volume 3, chapter 11; AMD64 manual, volume 2, chapter 16).
//!
//! Everything is atomic, so any CPU posts interrupts without a lock. Only the CPU that runs the vCPU takes them over,
//! accepts and ends them and sets the timer; while the vCPU is in guest mode its hardware may do that instead, with
//! copies of IRR, ISR and TPR ([`crate::vcpu::VirtualCpu::load_apic`]).
#![forbid(unsafe_code)]

mod icr;
mod posted;
mod priority;
mod registers;
mod timer;

pub use icr::{Command, Delivery, Destination};
pub use registers::{Effect, IllegalAccess};

use crate::mm::PageBox;
use crate::types::Mfn;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use posted::Posted;
pub use priority::VectorSet;
use timer::Timer;

/// The vector's first 16 values are exceptions; an interrupt with one is illegal.
const FIRST_VECTOR: u8 = 16;
/// SVR after reset: software-disabled, spurious vector 0xff.
const SVR_RESET: u32 = 0xff;
/// SVR: the APIC is enabled by software.
const SVR_ENABLE: u32 = 1 << 8;
/// LVT entries' mask bit, their value after reset.
const LVT_MASKED: u32 = 1 << 16;
/// A start-up IPI waits, in [`VLapic::startup`]; the vector is in the low byte.
const STARTUP_VALID: u32 = 1 << 8;

/// One vCPU's local APIC.
pub struct VLapic {
    id: u32,
    posted: PageBox<Posted>,
    irr: VectorSet,
    isr: VectorSet,
    tpr: AtomicU32,
    svr: AtomicU32,
    esr: AtomicU32,
    icr: core::sync::atomic::AtomicU64,
    /// LVT entries in register order: timer, thermal, performance, LINT0, LINT1, error.
    lvt: [AtomicU32; 6],
    timer: Timer,
    nmi: AtomicBool,
    init: AtomicBool,
    startup: AtomicU32,
}

impl VLapic {
    /// The local APIC of vCPU `vcpu_id` after reset: its x2APIC id is `vcpu_id`·2, as the MADT says. `None`: out of memory.
    pub fn new(vcpu_id: u32) -> Option<Self> {
        Some(Self {
            id: vcpu_id * 2,
            posted: PageBox::new(Posted::default())?,
            irr: VectorSet::default(),
            isr: VectorSet::default(),
            tpr: AtomicU32::new(0),
            svr: AtomicU32::new(SVR_RESET),
            esr: AtomicU32::new(0),
            icr: core::sync::atomic::AtomicU64::new(0),
            lvt: [const { AtomicU32::new(LVT_MASKED) }; 6],
            timer: Timer::new(),
            nmi: AtomicBool::new(false),
            init: AtomicBool::new(false),
            startup: AtomicU32::new(0),
        })
    }

    /// The logical id: cluster in the upper half, one bit in the lower.
    const fn logical_id(&self) -> u32 {
        self.id >> 4 << 16 | 1 << (self.id & 0xf)
    }

    /// All registers as after INIT. The id stays.
    pub fn reset(&self) {
        self.posted.clear();
        self.irr.clear_all();
        self.isr.clear_all();
        self.tpr.store(0, Ordering::Relaxed);
        self.svr.store(SVR_RESET, Ordering::Relaxed);
        self.esr.store(0, Ordering::Relaxed);
        self.icr.store(0, Ordering::Relaxed);
        for entry in &self.lvt {
            entry.store(LVT_MASKED, Ordering::Relaxed);
        }
        self.timer.reset();
        self.nmi.store(false, Ordering::Relaxed);
    }

    /// Posts an edge-triggered interrupt; the caller notifies the vCPU. It waits until software has enabled the APIC,
    /// as in Xen. An illegal vector is dropped.
    pub fn post(&self, vector: u8) {
        if vector >= FIRST_VECTOR {
            self.posted.post(vector);
        }
    }

    /// Takes over what was posted.
    pub fn take_posted(&self) {
        self.posted.take(&self.irr);
    }

    /// The frame that starts with the descriptor of what is posted, for hardware that takes it over by itself.
    pub fn posted(&self) -> Mfn {
        self.posted.mfn()
    }

    /// IRR and ISR, for hardware that delivers from copies of them.
    pub fn requested_and_served(&self) -> [&VectorSet; 2] {
        [&self.irr, &self.isr]
    }

    /// Software has enabled it.
    pub fn is_enabled(&self) -> bool {
        self.svr.load(Ordering::Relaxed) & SVR_ENABLE != 0
    }

    /// The highest interrupt that waits, posted or taken over; none if software has not enabled the APIC.
    fn highest(&self) -> Option<u8> {
        self.posted
            .highest()
            .max(self.irr.highest())
            .filter(|_| self.is_enabled())
    }

    /// Posts a non-maskable interrupt; the caller notifies the vCPU.
    pub fn post_nmi(&self) {
        self.nmi.store(true, Ordering::Release);
    }

    /// Asks for INIT; the caller notifies the vCPU.
    pub fn post_init(&self) {
        self.startup.store(0, Ordering::Release);
        self.init.store(true, Ordering::Release);
    }

    /// Sends a start-up IPI; the caller notifies the vCPU.
    pub fn post_startup(&self, vector: u8) {
        self.startup
            .store(STARTUP_VALID | u32::from(vector), Ordering::Release);
    }

    /// True once after each NMI.
    pub fn take_nmi(&self) -> bool {
        self.nmi.load(Ordering::Relaxed) && self.nmi.swap(false, Ordering::Acquire)
    }

    /// True while an NMI waits.
    pub fn nmi_pending(&self) -> bool {
        self.nmi.load(Ordering::Acquire)
    }

    /// True once after each INIT.
    pub fn take_init(&self) -> bool {
        self.init.load(Ordering::Relaxed) && self.init.swap(false, Ordering::Acquire)
    }

    /// True while INIT waits.
    pub fn init_pending(&self) -> bool {
        self.init.load(Ordering::Acquire)
    }

    /// The vector of a start-up IPI, once.
    pub fn take_startup(&self) -> Option<u8> {
        let value = self.startup.swap(0, Ordering::Acquire);
        (value & STARTUP_VALID != 0).then_some(value as u8)
    }

    /// True while a start-up IPI waits.
    pub fn startup_pending(&self) -> bool {
        self.startup.load(Ordering::Acquire) & STARTUP_VALID != 0
    }

    /// The highest interrupt that the priorities let through, if any.
    pub fn pending(&self) -> Option<u8> {
        let vector = self.highest()?;
        (u32::from(vector >> 4) > self.ppr() >> 4).then_some(vector)
    }

    /// True if only the task priority keeps an interrupt from being [`Self::pending`].
    pub fn is_held_by_priority(&self) -> bool {
        let class = self.highest().map_or(0, |vector| vector >> 4);
        let served = self.isr.highest().map_or(0, |vector| vector >> 4);
        class > served && class <= self.cr8()
    }

    /// The vCPU starts to handle `vector`, which [`Self::pending`] gave.
    pub fn accept(&self, vector: u8) {
        self.take_posted();
        self.irr.clear(vector);
        self.isr.set(vector);
    }

    /// The processor priority: the higher of task priority and the class being served.
    fn ppr(&self) -> u32 {
        let tpr = self.tpr.load(Ordering::Relaxed);
        let served = self.isr.highest().map_or(0, u32::from);
        if tpr >> 4 >= served >> 4 {
            tpr
        } else {
            served & 0xf0
        }
    }

    /// The interrupt in service ends.
    fn end_of_interrupt(&self) {
        if let Some(vector) = self.isr.highest() {
            self.isr.clear(vector);
        }
    }

    /// The task priority, all eight bits.
    pub fn tpr(&self) -> u32 {
        self.tpr.load(Ordering::Relaxed)
    }

    /// Sets the task priority.
    pub fn set_tpr(&self, value: u32) {
        self.tpr.store(value & 0xff, Ordering::Relaxed);
    }

    /// The task priority class, as CR8 shows it.
    pub fn cr8(&self) -> u8 {
        (self.tpr.load(Ordering::Relaxed) >> 4) as u8
    }

    /// The guest wrote CR8.
    pub fn set_cr8(&self, priority: u8) {
        self.tpr
            .store(u32::from(priority & 0xf) << 4, Ordering::Relaxed);
    }

    /// When the timer fires next, in nanoseconds since boot.
    pub fn deadline(&self) -> Option<u64> {
        self.timer.deadline()
    }

    /// Posts the timer's interrupt if its time has come. `now`: nanoseconds since boot.
    pub fn tick(&self, now: u64) {
        if self.timer.expire(now, self.is_periodic()) {
            let entry = self.lvt[0].load(Ordering::Relaxed);
            if entry & LVT_MASKED == 0 {
                self.post(entry as u8);
            }
        }
    }

    /// True if an interrupt for `destination` is for this APIC.
    pub fn is_addressed(&self, destination: Destination) -> bool {
        match destination {
            Destination::All => true,
            Destination::Physical(id) => id == self.id,
            Destination::Logical(id) => {
                id >> 16 == self.logical_id() >> 16 && id & self.logical_id() & 0xffff != 0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn enabled() -> VLapic {
        let apic = VLapic::new(1).unwrap();
        apic.svr.store(SVR_RESET | SVR_ENABLE, Ordering::Relaxed);
        apic
    }

    #[test]
    fn higher_classes_interrupt_lower_ones() {
        let apic = enabled();
        apic.post(0x31);
        assert_eq!(apic.pending(), Some(0x31));
        apic.accept(0x31);
        apic.post(0x3f);
        assert_eq!(apic.pending(), None, "same class waits");
        apic.post(0x40);
        assert_eq!(apic.pending(), Some(0x40));
        apic.accept(0x40);
        assert_eq!(apic.pending(), None);
        apic.end_of_interrupt();
        assert_eq!(apic.pending(), None, "0x31 is still served");
        apic.end_of_interrupt();
        assert_eq!(apic.pending(), Some(0x3f));
    }

    #[test]
    fn task_priority_holds_interrupts_back() {
        let apic = enabled();
        apic.post(0x55);
        apic.set_cr8(5);
        assert_eq!(apic.pending(), None);
        assert!(apic.is_held_by_priority());
        apic.set_cr8(4);
        assert_eq!(apic.pending(), Some(0x55));
        assert!(!apic.is_held_by_priority());
    }

    #[test]
    fn a_disabled_apic_and_illegal_vectors_are_quiet() {
        let apic = VLapic::new(0).unwrap();
        apic.post(0x80);
        assert_eq!(apic.pending(), None);
        apic.svr.store(SVR_RESET | SVR_ENABLE, Ordering::Relaxed);
        assert_eq!(apic.pending(), Some(0x80), "not lost");
        let apic = enabled();
        apic.post(15);
        assert_eq!(apic.pending(), None);
    }

    #[test]
    fn logical_ids_are_clusters() {
        let apic = VLapic::new(9).unwrap();
        assert_eq!((apic.id, apic.logical_id()), (18, 0x1_0004));
        assert!(apic.is_addressed(Destination::Logical(0x1_0006)));
        assert!(!apic.is_addressed(Destination::Logical(0x0_0004)));
        assert!(!apic.is_addressed(Destination::Logical(0x1_0003)));
        assert!(apic.is_addressed(Destination::Physical(18)));
        assert!(!apic.is_addressed(Destination::Physical(9)));
    }

    #[test]
    fn init_forgets_an_earlier_startup() {
        let apic = VLapic::new(1).unwrap();
        apic.post_startup(0x9a);
        apic.post_init();
        assert!(apic.take_init());
        assert!(!apic.take_init());
        assert_eq!(apic.take_startup(), None);
        apic.post_startup(0x9a);
        assert_eq!(apic.take_startup(), Some(0x9a));
        assert!(!apic.startup_pending());
    }

    proptest! {
        /// Whatever is posted is delivered once, highest class first.
        #[test]
        fn every_interrupt_arrives(vectors in proptest::collection::btree_set(16u8..=255, 0..40)) {
            let apic = enabled();
            for &vector in &vectors {
                apic.post(vector);
            }
            let mut seen = Vec::new();
            while let Some(vector) = apic.pending() {
                apic.accept(vector);
                apic.end_of_interrupt();
                seen.push(vector);
            }
            seen.reverse();
            prop_assert_eq!(seen, vectors.into_iter().collect::<Vec<_>>());
        }
    }
}
