//! Which sectors a new disk is made of.

use alloc::format;
use alloc::vec::Vec;

use domain::store::{Store, StoreAccess};
use xen_abi::DomId;

use super::{Backends, Failure, Platform};
use crate::disk::{Disk, Segment};
use crate::extents::{Extent, Extents, MAX_EXTENTS};
use crate::gpt;

/// `params` of the disk that is the partition table: both copies, and nothing else. For Domain-0 only.
const TABLE: &str = "/dev/gpt";
/// Sectors of a copy of the table: 128 entries and the header.
const COPY: u64 = 33;
/// Bytes of a sector, and sectors of the page that the table is read through.
const SECTOR: usize = 512;
const AT_ONCE: usize = 8;

impl<D: Disk, P: Platform> Backends<D, P> {
    /// The sectors of the disk at `path`, and whether they are a file's.
    pub(super) fn find(
        &mut self,
        store: &mut Store,
        path: &str,
        params: &str,
        dom: DomId,
    ) -> Result<(Extents, bool), Failure> {
        let key = |name: &str| format!("{path}/{name}");
        if params == TABLE {
            if dom != 0 {
                return Err(Failure(format!("{TABLE} is for Domain-0 only")));
            }
            // The operator's tool has to know where the disk's end is.
            store.write_number(&key("disk-sectors"), self.limits.sectors)?;
            return Ok((self.table()?, false));
        }
        // Domain-0 may have changed the table.
        self.read_table();
        let Ok(volume) = store.read_string(&key("extents-of")) else {
            return Ok((self.on_disk(params)?.into(), false));
        };
        // A file: Domain-0, which knows the file system, says where it is.
        let within = self.on_disk(&volume)?;
        let mut lists = Vec::new();
        while let Ok(list) = store.read_string(&key(&format!("extents/{}", lists.len()))) {
            lists.push(list);
            if lists.len() > MAX_EXTENTS {
                break;
            }
        }
        let extents = Extents::parse(lists.iter().map(|list| list.as_str()), within)
            .map_err(|error| Failure(format!("{params}: {error} in its list of extents")))?;
        Ok((extents, true))
    }

    fn on_disk(&self, name: &str) -> Result<Extent, Failure> {
        gpt::find(name, self.limits.sectors, &self.partitions)
            .ok_or_else(|| Failure(format!("there is no disk {name:?}")))
    }

    /// The table's two copies; not the first sector, which the machine boots from.
    fn table(&self) -> Result<Extents, Failure> {
        let whole = Extent {
            start: 0,
            sectors: self.limits.sectors,
        };
        let backup = self.limits.sectors.saturating_sub(COPY);
        if backup <= COPY + 1 {
            return Err(Failure(
                "the disk is too small for a partition table".into(),
            ));
        }
        let ranges = format!("1+{COPY},{backup}+{COPY}");
        Extents::parse([ranges.as_str()], whole).map_err(|error| Failure(error.into()))
    }

    /// Reads the partition table anew. If that cannot be done, what was known of it stays.
    fn read_table(&mut self) {
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
            Err(error) => log::warn!("the partition table as it was is used: {error}"),
        }
        if self.engine.is_reading() {
            log::error!("the disk does not answer");
            // It may still write there.
            core::mem::forget(page);
        }
    }
}
