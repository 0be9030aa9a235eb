//! Guest memory that microhv keeps up to date: the runstate area and the second copy of the time record.

use xen_abi::xen::VcpuTimeInfo;
use xen_abi::zerocopy::IntoBytes;

use crate::mm::frame_table::FrameRef;
use crate::types::PAGE_SIZE;

/// A piece of guest memory of less than a page, held; it may straddle two frames.
pub struct GuestArea {
    /// Where it starts,
    pub first: FrameRef,
    /// and at which byte of that.
    pub offset: usize,
    /// Where it goes on.
    pub second: Option<FrameRef>,
}

impl GuestArea {
    /// Writes `bytes` at `at` of the area; what lies beyond the area's frames is dropped.
    pub fn write(&self, at: usize, bytes: &[u8]) {
        let start = self.offset + at;
        let here = PAGE_SIZE.saturating_sub(start).min(bytes.len());
        let (head, tail) = bytes.split_at(here);
        if !head.is_empty() {
            self.first.write(start, head);
        }
        if let (Some(second), false) = (&self.second, tail.is_empty()) {
            second.write(start.saturating_sub(PAGE_SIZE), tail);
        }
    }
}

/// What one vCPU has registered.
#[derive(Default)]
pub struct Areas {
    /// `VCPUOP_register_runstate_memory_area`.
    pub runstate: Option<GuestArea>,
    /// `VCPUOP_register_vcpu_time_memory_area`.
    pub time: Option<GuestArea>,
}

/// Bit of `state_entry_time` that says "being updated" (`XEN_RUNSTATE_UPDATE`).
const RUNSTATE_UPDATE: u64 = 1 << 63;

impl Areas {
    /// Writes the runstate record in the order that lets the guest notice a change in flight.
    pub(crate) fn publish_runstate(&self, times: &crate::sched::Times) {
        let Some(area) = &self.runstate else { return };
        area.write(8, &(times.since | RUNSTATE_UPDATE).to_le_bytes());
        area.write(0, &times.state.to_le_bytes());
        for (index, time) in times.time.iter().enumerate() {
            area.write(16 + 8 * index, &time.to_le_bytes());
        }
        area.write(8, &times.since.to_le_bytes());
    }

    /// Writes the time record; `version` was even before and is even after.
    pub(crate) fn publish_time(&self, info: &VcpuTimeInfo) {
        if let Some(area) = &self.time {
            area.write(0, info.as_bytes());
        }
    }
}
