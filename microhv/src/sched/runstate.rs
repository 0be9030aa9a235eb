//! How long a vCPU ran, waited and slept (Xen: public/vcpu.h, `vcpu_runstate_info`).

use spin::Mutex;

use crate::arch;
use crate::domain::Vcpu;

use xen_abi::vcpu::VcpuRunstateInfo;
pub use xen_abi::vcpu::{
    RUNSTATE_BLOCKED as BLOCKED, RUNSTATE_OFFLINE as OFFLINE, RUNSTATE_RUNNABLE as RUNNABLE,
    RUNSTATE_RUNNING as RUNNING,
};

/// The times in ns, by state.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// The state now, a `RUNSTATE_*`.
    pub state: i32,
    /// When it was entered (ns since boot).
    pub since: u64,
    /// Total ns in each state.
    pub time: [u64; 4],
}

impl Times {
    /// Adds the time from the last change to `now` to the current state's total.
    fn spend(&mut self, now: u64) {
        let spent = now.saturating_sub(self.since);
        let total = usize::try_from(self.state)
            .ok()
            .and_then(|index| self.time.get_mut(index));
        if let Some(total) = total {
            *total += spent;
        }
    }
}

/// One vCPU's run state.
pub struct RunState(Mutex<Times>);

impl Default for RunState {
    /// Offline since now.
    fn default() -> Self {
        Self(Mutex::new(Times {
            state: OFFLINE,
            since: arch::timer::now_ns(),
            time: [0; 4],
        }))
    }
}

impl RunState {
    /// The times up to the last change.
    pub fn times(&self) -> Times {
        *self.0.lock()
    }

    /// The record as the ABI has it, with the current state's time up to now.
    pub fn now(&self) -> VcpuRunstateInfo {
        let mut times = self.times();
        let now = arch::timer::now_ns();
        times.spend(now);
        VcpuRunstateInfo {
            state: times.state,
            state_entry_time: times.since,
            time: times.time,
            ..Default::default()
        }
    }

    /// Enters `state` now and tells the guest, if it registered an area.
    pub(super) fn change(&self, vcpu: &Vcpu, state: i32) {
        let times = {
            let mut times = self.0.lock();
            if times.state == state {
                return;
            }
            let now = arch::timer::now_ns();
            times.spend(now);
            times.state = state;
            times.since = now;
            *times
        };
        vcpu.areas.lock().publish_runstate(&times);
    }
}
