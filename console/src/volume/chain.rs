//! Chains of clusters, where the library does not let us see them (Microsoft FAT specification 1.03, sections 3 and 4).

use alloc::vec::Vec;

use super::cache::{Areas, Cache};
use crate::host::{DiskError, SECTOR};

/// Bits of a table entry that count.
const MASK: u32 = 0x0fff_ffff;
/// Entries from here on end a chain.
const END: u32 = 0x0fff_fff8;

/// Where things are, from the boot sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    table: u64,
    tables: u64,
    sectors_per_table: u64,
    sectors_per_cluster: u64,
    clusters: u32,
    /// First cluster of the root folder.
    pub root: u32,
}

impl Geometry {
    /// Reads a boot sector; `None` unless it is one of FAT32 with sectors of 512 bytes.
    pub fn parse(boot: &[u8; SECTOR]) -> Option<Self> {
        let byte = |at: usize| boot.get(at).copied().unwrap_or(0);
        let half = |at: usize| u16::from_le_bytes([byte(at), byte(at + 1)]);
        let word = |at: usize| u32::from(half(at)) | u32::from(half(at + 2)) << 16;
        // Number of root entries and 16-bit size of the table are zero in FAT32 only.
        if half(510) != 0xaa55 || half(11) as usize != SECTOR || half(17) != 0 || half(22) != 0 {
            return None;
        }
        let total = match half(19) {
            0 => word(32).into(),
            small => u64::from(small),
        };
        let mut geometry = Self {
            table: half(14).into(),
            tables: byte(16).into(),
            sectors_per_table: word(36).into(),
            sectors_per_cluster: byte(13).into(),
            clusters: 0,
            root: word(44),
        };
        if geometry.table == 0 || !(1..=2).contains(&geometry.tables) || byte(13) == 0 {
            return None;
        }
        let data = total.checked_sub(geometry.areas().clusters)?;
        let clusters = data / geometry.sectors_per_cluster;
        // Each has an entry in the table.
        let entries = geometry.sectors_per_table * (SECTOR as u64 / 4);
        geometry.clusters = u32::try_from(clusters.min(entries.saturating_sub(2))).ok()?;
        Some(geometry)
    }

    /// Sectors at which the areas begin.
    pub fn areas(&self) -> Areas {
        Areas {
            table: self.table,
            clusters: self.table + self.tables * self.sectors_per_table,
        }
    }

    /// First sector and number of sectors of a cluster.
    pub fn sectors_of(&self, cluster: u32) -> (u64, u64) {
        let index = u64::from(cluster).saturating_sub(2);
        (
            self.areas().clusters + index * self.sectors_per_cluster,
            self.sectors_per_cluster,
        )
    }

    fn is_cluster(&self, cluster: u32) -> bool {
        cluster >= 2 && cluster - 2 < self.clusters
    }

    fn entry(&self, cluster: u32, table: u64) -> u64 {
        (self.table + table * self.sectors_per_table) * SECTOR as u64 + u64::from(cluster) * 4
    }

    fn next(&self, cache: &mut Cache, cluster: u32) -> Result<u32, DiskError> {
        let mut bytes = [0; 4];
        cache.read(self.entry(cluster, 0), &mut bytes)?;
        Ok(u32::from_le_bytes(bytes) & MASK)
    }

    /// The cluster itself, if there is such a one.
    pub fn cluster(&self, cluster: u32) -> Option<u32> {
        Some(cluster).filter(|&cluster| self.is_cluster(cluster))
    }

    /// The cluster behind this one in its chain.
    pub fn behind(&self, cache: &mut Cache, cluster: u32) -> Result<Option<u32>, DiskError> {
        Ok(self.cluster(self.next(cache, cluster)?))
    }

    /// The clusters of the chain that starts with `first`; a chain that makes no sense ends where it ceases to.
    pub fn chain(&self, cache: &mut Cache, first: u32) -> Result<Vec<u32>, DiskError> {
        let mut chain = Vec::new();
        let mut cluster = first;
        while self.is_cluster(cluster) && chain.len() <= self.clusters as usize {
            chain.push(cluster);
            cluster = self.next(cache, cluster)?;
        }
        Ok(chain)
    }

    /// Ends the chain that starts with `first` where a file of `size` bytes ends, in memory; gives how many clusters that
    /// freed.
    pub fn trim(&self, cache: &mut Cache, first: u32, size: u64) -> Result<usize, DiskError> {
        let chain = self.chain(cache, first)?;
        let needed = size.div_ceil(self.sectors_per_cluster * SECTOR as u64);
        let needed = usize::try_from(needed).unwrap_or(usize::MAX);
        let (Some(last), Some(extra)) = (
            needed.checked_sub(1).and_then(|index| chain.get(index)),
            chain.get(needed..),
        ) else {
            return Ok(0);
        };
        if extra.is_empty() {
            return Ok(0);
        }
        for table in 0..self.tables {
            cache.write(self.entry(*last, table), &(END | 7).to_le_bytes())?;
            for cluster in extra {
                cache.write(self.entry(*cluster, table), &0_u32.to_le_bytes())?;
            }
        }
        Ok(extra.len())
    }
}
