//! How much memory the hypervisor keeps for itself.

use core::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// The hypervisor's own memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnMemory {
    /// Code, constants, data and zeroed data as loaded.
    pub image: u64,
    /// Four bytes for each frame of RAM.
    pub frame_table: u64,
    /// Stacks and per-CPU data of all CPUs.
    pub per_cpu: u64,
    /// Objects made since: domains, vCPUs, tables of event channels and grants.
    pub objects: u64,
    /// The hypervisor's own page tables (not part of [`Self::total`]).
    pub page_tables: u64,
}

impl OwnMemory {
    /// What the hypervisor keeps beyond page tables, in bytes.
    pub const fn total(&self) -> u64 {
        self.image + self.frame_table + self.per_cpu + self.objects
    }
}

pub(crate) static IMAGE: AtomicU64 = AtomicU64::new(0);
pub(crate) static FRAME_TABLE: AtomicU64 = AtomicU64::new(0);
pub(crate) static PER_CPU: AtomicU64 = AtomicU64::new(0);
pub(crate) static PAGE_TABLES: AtomicU64 = AtomicU64::new(0);
static OBJECTS: AtomicI64 = AtomicI64::new(0);

/// Counts frames that objects take (or, negative, give back).
pub(super) fn objects_changed(frames: i64) {
    OBJECTS.fetch_add(frames, Ordering::Relaxed);
}

/// The hypervisor's memory now.
pub fn own_memory() -> OwnMemory {
    let objects = OBJECTS.load(Ordering::Relaxed).max(0) as u64;
    OwnMemory {
        image: IMAGE.load(Ordering::Relaxed),
        frame_table: FRAME_TABLE.load(Ordering::Relaxed),
        per_cpu: PER_CPU.load(Ordering::Relaxed),
        objects: objects * crate::types::PAGE_SIZE as u64,
        page_tables: PAGE_TABLES.load(Ordering::Relaxed),
    }
}
