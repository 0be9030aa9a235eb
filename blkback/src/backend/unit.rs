//! One of our disks, with its partitions.

use alloc::string::String;
use alloc::vec::Vec;

use super::Platform;
use crate::disk::{Disk, Limits, Segment};
use crate::engine::Engine;
use crate::extents::{Extent, Extents};
use crate::gpt::{self, Found, GptError, Partition};

/// Sectors of a copy of the table: 128 entries and the header.
const COPY: u64 = 33;
/// Bytes of a sector, and sectors of the page that the table is read through.
const SECTOR: usize = 512;
const AT_ONCE: usize = 8;

/// A disk.
pub struct Unit<D, P: Platform> {
    /// Its name in `/dev`.
    pub name: String,
    /// What drives it.
    pub engine: Engine<D, P, P::Ring, P::Port>,
    pub(super) limits: Limits,
    pub(crate) partitions: Vec<Partition>,
}

impl<D: Disk, P: Platform> Unit<D, P> {
    pub(super) fn new(name: String, disk: D, platform: P) -> Self {
        Self {
            name,
            limits: disk.limits(),
            engine: Engine::new(disk, platform),
            partitions: Vec::new(),
        }
    }

    /// Its size and abilities.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Its partitions, as they were when the table was read last.
    #[must_use]
    pub fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    /// Where on it a backend's `params` are, if it has them.
    pub(super) fn find(&self, params: &str) -> Option<Found> {
        gpt::find(params, &self.name, self.limits.sectors, &self.partitions)
    }

    /// The table's two copies; not the first sector, which the machine boots from.
    pub(super) fn table(&self) -> Result<Extents, &'static str> {
        let whole = Extent {
            start: 0,
            sectors: self.limits.sectors,
        };
        let backup = self.limits.sectors.saturating_sub(COPY);
        if backup <= COPY + 1 {
            return Err("the disk is too small for a partition table");
        }
        let ranges = alloc::format!("1+{COPY},{backup}+{COPY}");
        Extents::parse([ranges.as_str()], whole)
    }

    /// Reads the partition table anew. If that cannot be done, what was known of it stays.
    pub fn read_table(&mut self) {
        let sectors = self.limits.sectors;
        let Some(page) = self.engine.grants().page() else {
            return log::error!("no memory to read the partition table");
        };
        let mut patience = self.engine.grants().patience();
        let engine = &mut self.engine;
        let read = |first: u64, count: usize| {
            let mut bytes = Vec::new();
            while bytes.len() < count.checked_mul(SECTOR)? {
                let now = (count - bytes.len() / SECTOR).min(AT_ONCE) * SECTOR;
                let segment = Segment {
                    gpa: page.as_ref().address(),
                    len: now as u32,
                };
                let sector = first.checked_add((bytes.len() / SECTOR) as u64)?;
                if !engine.read_now(sector, segment, &mut patience) {
                    return None;
                }
                let mut part = alloc::vec![0; now];
                page.as_ref().read_bytes(0, &mut part).ok()?;
                bytes.extend(part);
            }
            Some(bytes)
        };
        match gpt::partitions(sectors, read) {
            Ok(partitions) => self.partitions = partitions,
            // A whole disk can be one file system.
            Err(GptError::Missing) if self.partitions.is_empty() => {}
            Err(error) if self.partitions.is_empty() => log::warn!("{}: {error}", self.name),
            Err(error) => {
                log::warn!(
                    "the partition table of {} as it was is used: {error}",
                    self.name
                );
            }
        }
        if self.engine.is_reading() {
            log::error!("{} does not answer", self.name);
            // It may still write there.
            core::mem::forget(page);
        }
    }
}
