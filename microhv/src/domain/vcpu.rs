//! A virtual CPU: what other CPUs may touch at any time, and what only the CPU that runs it may.

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use spin::Mutex;
use xen_abi::hypercall::NR_HYPERCALLS;

use super::Domain;
use crate::evtchn::VcpuInfoRef;
use crate::mm::PageArc;
use crate::sched;
use crate::timers::{Areas, Timers};
use crate::vcpu::{CpuState, EXIT_REASONS, VcpuRun};
use crate::vlapic::VLapic;

/// What a vCPU waits for that asked to wait by hypercall (HLT is the backend's affair).
const WAIT_NOTHING: u8 = 0;
const WAIT_EVENT: u8 = 1;
const WAIT_POLL: u8 = 2;

/// One virtual CPU.
pub struct Vcpu {
    /// Its number in its domain.
    pub id: u32,
    /// Its domain.
    pub domain: PageArc<Domain>,
    /// Its local APIC.
    pub vlapic: VLapic,
    /// How often it left guest mode, by `vcpu::ExitReason`.
    pub exits: [AtomicU64; EXIT_REASONS],
    /// How often it made each hypercall.
    pub hypercalls: [AtomicU64; NR_HYPERCALLS],
    /// Its Xen timers.
    pub timers: Timers,
    /// Its place in the scheduler.
    pub sched: sched::Entity,
    /// Its runstate times.
    pub runstate: sched::RunState,
    /// The memory areas it has registered.
    pub areas: Mutex<Areas>,
    /// True while it is (about to be) in guest mode.
    pub in_guest: AtomicBool,
    /// The domain's flush epoch that its TLB has seen; see [`super::flush`].
    pub flushed: AtomicU64,
    /// It has halted with interrupts off and not been entered since.
    pub down: AtomicBool,
    /// The address register of the PCI configuration ports.
    pub pci_address: AtomicU32,
    info: Mutex<VcpuInfoRef>,
    upcall_vector: AtomicU8,
    waits_for: AtomicU8,
    initialised: AtomicBool,
    run: Mutex<VcpuRun>,
}

impl Vcpu {
    /// Adds vCPU number `id` to `domain`, offline. None if memory is out or the domain has all its vCPUs.
    pub fn create(domain: &PageArc<Domain>, id: u32) -> Option<PageArc<Self>> {
        let root = domain.p2m.lock().root();
        let offset = id as usize * size_of::<xen_abi::xen::VcpuInfo>();
        let info = VcpuInfoRef::new(domain.shared_info.clone(), offset)?;
        let vcpu = PageArc::try_new(Self {
            id,
            domain: domain.clone(),
            vlapic: VLapic::new(id)?,
            exits: [const { AtomicU64::new(0) }; EXIT_REASONS],
            hypercalls: [const { AtomicU64::new(0) }; NR_HYPERCALLS],
            timers: Timers::default(),
            sched: sched::Entity::new(domain.id, id),
            runstate: sched::RunState::default(),
            areas: Mutex::new(Areas::default()),
            in_guest: AtomicBool::new(false),
            down: AtomicBool::new(false),
            flushed: AtomicU64::new(0),
            pci_address: AtomicU32::new(0),
            info: Mutex::new(info),
            upcall_vector: AtomicU8::new(0),
            waits_for: AtomicU8::new(WAIT_NOTHING),
            initialised: AtomicBool::new(false),
            run: Mutex::new(VcpuRun::new(root)?),
        })?;
        domain.evtchn.lock().add_vcpu(id).ok()?;
        let mut vcpus = domain.vcpus.write();
        if vcpus.len() != id as usize || vcpus.push(vcpu.clone()).is_err() {
            return None;
        }
        drop(vcpus);
        vcpu.publish_time();
        Some(vcpu)
    }

    /// The running state; waits while another CPU still has it.
    pub fn run_state(&self) -> spin::MutexGuard<'_, VcpuRun> {
        self.run.lock()
    }

    /// Gives a vCPU that does not run its first state. It starts with [`Self::bring_up`]. False: it runs.
    pub fn initialise(&self, state: &CpuState) -> bool {
        // Whoever runs it holds its state, for ever if it likes, and may be the caller.
        let Some(mut run) = self.run.try_lock() else {
            return false;
        };
        run.hw.set_state(state);
        self.initialised.store(true, Ordering::SeqCst);
        true
    }

    /// Has it a state to start from?
    pub fn is_initialised(&self) -> bool {
        self.initialised.load(Ordering::SeqCst)
    }

    /// Has it been started, and neither been stopped nor halted for good? A kernel that takes a CPU off halts it with
    /// interrupts off: as Xen, that counts as off.
    pub fn is_online(&self) -> bool {
        self.sched.is_online() && !self.down.load(Ordering::SeqCst)
    }

    /// Lets an initialised vCPU run. One that runs already is left alone.
    pub fn bring_up(&self) {
        // Only a running vCPU's state is locked for long, and that one is online. One that has just gone offline is
        // let go of at once.
        loop {
            if let Some(mut run) = self.run.try_lock() {
                run.offline = false;
                run.halted = false;
                break;
            }
            if self.sched.is_online() {
                break;
            }
            core::hint::spin_loop();
        }
        self.kick();
    }

    /// `VCPUOP_down`: it stops at its next look. Only the vCPU itself is stopped at once.
    pub fn take_down(&self) {
        self.vlapic.post_init();
        self.kick();
    }

    /// Where its `vcpu_info` is from now on.
    pub fn set_info(&self, info: VcpuInfoRef) {
        *self.info.lock() = info;
        self.publish_time();
    }

    /// Writes the clock record into its `vcpu_info`.
    fn publish_time(&self) {
        use xen_abi::zerocopy::IntoBytes;
        let info = self.info.lock();
        let (frame, offset) = info.time();
        frame.write(offset, crate::timers::time_info().as_bytes());
    }

    /// `evtchn_upcall_pending` of its `vcpu_info`.
    pub fn upcall_pending(&self) -> bool {
        self.info.lock().upcall_pending()
    }

    /// Clears `evtchn_upcall_mask`.
    pub fn unmask_upcall(&self) {
        self.info.lock().unmask_upcall();
    }

    /// Events come through its local APIC with this vector from now on (`HVMOP_set_evtchn_upcall_vector`).
    pub fn set_upcall_vector(&self, vector: u8) {
        self.upcall_vector.store(vector, Ordering::SeqCst);
        self.post_upcall();
        self.kick();
    }

    /// Posts an upcall that is pending, if it comes through the local APIC.
    pub fn post_upcall(&self) {
        let vector = self.upcall_vector.load(Ordering::SeqCst);
        if vector != 0 && self.upcall_pending() {
            self.vlapic.post(vector);
        }
    }

    /// Its upcall has become pending.
    pub(super) fn deliver_upcall(&self) {
        match self.upcall_vector.load(Ordering::SeqCst) {
            0 => self.kick(),
            vector => {
                self.vlapic.post(vector);
                self.kick_for_interrupt();
            }
        }
    }

    /// Does it get its upcalls through its local APIC?
    pub fn has_own_upcall_vector(&self) -> bool {
        self.upcall_vector.load(Ordering::SeqCst) != 0
    }

    /// `SCHEDOP_block`: wait until an event is pending.
    pub fn wait_for_event(&self) {
        self.waits_for.store(WAIT_EVENT, Ordering::SeqCst);
    }

    /// `SCHEDOP_poll`: wait until [`Self::end_poll`], or an event is pending.
    pub(super) fn wait_for_poll(&self) {
        self.waits_for.store(WAIT_POLL, Ordering::SeqCst);
    }

    /// Ends the wait of `SCHEDOP_poll`; false if it did not wait so.
    pub(super) fn end_poll(&self) -> bool {
        self.waits_for
            .compare_exchange(WAIT_POLL, WAIT_NOTHING, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// Does it wait in a hypercall no longer? What it waited for may have come.
    pub fn wait_is_over(&self) -> bool {
        let waits_for = self.waits_for.load(Ordering::SeqCst);
        if waits_for == WAIT_NOTHING {
            return true;
        }
        let apic = &self.vlapic;
        let signalled = apic.pending().is_some() || apic.nmi_pending() || apic.init_pending();
        if !self.upcall_pending() && !signalled {
            return false;
        }
        if waits_for == WAIT_POLL {
            super::events::stop_poll(self);
        }
        self.waits_for.store(WAIT_NOTHING, Ordering::SeqCst);
        true
    }

    /// Counts one hypercall.
    pub fn count_hypercall(&self, number: u32) {
        if let Some(counter) = self.hypercalls.get(number as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}
