//! Sectors that are to be a volume's and may hold what was there before, a destroyed guest's data perhaps: a partition of a type
//! of its own, which blkback gives to nobody but Domain-0. The table is the record of it, so a power cut changes nothing.

use gpt_disk_types::{GptPartitionEntry, GptPartitionName, GptPartitionType, Guid, LbaLe};
use xen_abi::microhv::VOLUME_UNWIPED;

use super::{Partition, Table, TableError, VOLUME};

/// See [`VOLUME_UNWIPED`].
pub(super) const UNWIPED: GptPartitionType = GptPartitionType(Guid::from_bytes(VOLUME_UNWIPED));

impl Table {
    /// The first place that is to be wiped.
    #[must_use]
    pub fn unwiped(&self) -> Option<Partition> {
        let mut all = self.partitions().into_iter();
        all.find(|partition| partition.unwiped)
    }

    /// `place` holds nothing but zeros now: it becomes the volume of its name, or a part of that.
    ///
    /// # Errors
    /// The table has no such place any more.
    pub fn wiped(&mut self, place: &Partition) -> Result<(), TableError> {
        if !place.unwiped || !self.partitions().contains(place) {
            return Err(TableError::Missing);
        }
        match self.volume(&place.name) {
            Err(TableError::Unwiped) => self.entry(place)?.partition_type_guid = VOLUME,
            Ok(volume) => {
                *self.entry(place)? = GptPartitionEntry::default();
                // Another program may have moved the volume's end meanwhile.
                if volume.first.saturating_add(volume.sectors) == place.first {
                    let end = place.first.saturating_add(place.sectors);
                    self.entry(&volume)?.ending_lba = LbaLe::from_u64(end.saturating_sub(1));
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    pub(super) fn add_unwiped(
        &mut self,
        name: &str,
        (first, sectors): (u64, u64),
        unique: Guid,
    ) -> Result<(), TableError> {
        let name = name.parse::<GptPartitionName>();
        let name = name.map_err(|_| TableError::Name)?;
        let entry = self.entries.iter_mut().find(|entry| !entry.is_used());
        *entry.ok_or(TableError::Full)? = GptPartitionEntry {
            partition_type_guid: UNWIPED,
            unique_partition_guid: unique,
            starting_lba: LbaLe::from_u64(first),
            ending_lba: LbaLe::from_u64(first.saturating_add(sectors).saturating_sub(1)),
            attributes: Default::default(),
            name,
        };
        Ok(())
    }
}
