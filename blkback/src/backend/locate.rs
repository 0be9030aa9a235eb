//! Which sectors a new disk is made of.

use alloc::format;
use alloc::vec::Vec;

use domain::store::{Store, StoreAccess};
use xen_abi::DomId;

use super::{Backends, Failure, Platform};
use crate::disk::Disk;
use crate::extents::{Extent, Extents, MAX_EXTENTS};
use crate::gpt::{Found, WIPE};

/// `params` of the disk that is the partition table: both copies, and nothing else. For Domain-0 only.
const TABLE: &str = "/dev/gpt";

/// Where a virtual disk is.
pub(super) struct Place {
    /// On which of our disks.
    pub unit: usize,
    pub extents: Extents,
    /// The sectors are a file's.
    pub file: bool,
}

impl<D: Disk, P: Platform> Backends<D, P> {
    /// The sectors of the disk at `path`.
    pub(super) fn find(
        &mut self,
        store: &mut Store,
        path: &str,
        params: &str,
        dom: DomId,
    ) -> Result<Place, Failure> {
        let key = |name: &str| format!("{path}/{name}");
        if params == TABLE {
            if dom != 0 {
                return Err(Failure(format!("{TABLE} is for Domain-0 only")));
            }
            // The first disk's: the machine's, if there is one.
            let first = self.units.first();
            let first = first.ok_or_else(|| Failure("there is no disk".into()))?;
            // The operator's tool has to know where the disk's end is.
            store.write_number(&key("disk-sectors"), first.limits.sectors)?;
            return Ok(Place {
                unit: 0,
                extents: first.table().map_err(|error| Failure(error.into()))?,
                file: false,
            });
        }
        // Domain-0 may have changed the table.
        for unit in &mut self.units {
            unit.read_table();
        }
        let Ok(volume) = store.read_string(&key("extents-of")) else {
            let wipe = params.starts_with(WIPE) && dom == 0;
            let (unit, extent) = self.on_disk(params, wipe)?;
            let mut extents = Extents::from(extent);
            extents.zeroes = wipe;
            return Ok(Place {
                unit,
                extents,
                file: false,
            });
        };
        // A file: Domain-0, which knows the file system, says where it is.
        let (unit, within) = self.on_disk(&volume, false)?;
        let mut lists = Vec::new();
        while let Ok(list) = store.read_string(&key(&format!("extents/{}", lists.len()))) {
            lists.push(list);
            if lists.len() > MAX_EXTENTS {
                break;
            }
        }
        let extents = Extents::parse(lists.iter().map(|list| list.as_str()), within)
            .map_err(|error| Failure(format!("{params}: {error} in its list of extents")))?;
        Ok(Place {
            unit,
            extents,
            file: true,
        })
    }

    /// The first disk that has `name`; what is not wiped only to `wipe` it.
    fn on_disk(&self, name: &str, wipe: bool) -> Result<(usize, Extent), Failure> {
        let units = self.units.iter().enumerate();
        let mut found = units.filter_map(|(index, unit)| Some((index, unit.find(name)?)));
        match found.next() {
            Some((unit, Found::Disk(extent))) => Ok((unit, extent)),
            Some((unit, Found::Unwiped(extent))) if wipe => Ok((unit, extent)),
            Some(_) => Err(Failure(format!(
                "{name:?} is not wiped yet and may hold what was there before (\"volume list\" goes on with it)"
            ))),
            None => Err(Failure(format!("there is no disk {name:?}"))),
        }
    }
}
