//! Numbers that units know things by: domain ids, their tags for cached translations, and entries of tables.

/// Numbers handed out at most: of domain ids, domains with devices at one time.
pub const LIMIT: usize = 256;

/// The ids in use, a bit each.
#[derive(Debug)]
pub struct Ids {
    used: [u64; LIMIT / 64],
    limit: u32,
}

impl Ids {
    /// All numbers, from 0 on.
    pub const ALL: Self = Self {
        used: [0; LIMIT / 64],
        limit: LIMIT as u32,
    };

    /// Ids below `limit`; id 0 is never used (reserved with caching mode by VT-d, 6.2.2.1; the blocked devices of AMD-Vi have it).
    pub fn new(limit: u32) -> Self {
        Self {
            used: [1, 0, 0, 0],
            limit: limit.min(LIMIT as u32),
        }
    }

    /// Takes a free id.
    #[must_use]
    pub fn take(&mut self) -> Option<u16> {
        let word = self.used.iter().position(|word| *word != u64::MAX)?;
        let bit = self.used[word].trailing_ones();
        let id = word as u32 * 64 + bit;
        if id >= self.limit {
            return None;
        }
        self.used[word] |= 1 << bit;
        Some(id as u16)
    }

    /// Makes an id free again.
    pub fn give_back(&mut self, id: u16) {
        if let Some(word) = self.used.get_mut(usize::from(id) / 64) {
            *word &= !(1 << (id % 64));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_come_back() {
        let mut ids = Ids::new(65536);
        let all: std::vec::Vec<u16> = core::iter::from_fn(|| ids.take()).collect();
        assert_eq!(all, (1..256).collect::<std::vec::Vec<u16>>());
        ids.give_back(77);
        ids.give_back(9999);
        assert_eq!(ids.take(), Some(77));
        assert_eq!(ids.take(), None);
    }

    #[test]
    fn the_units_limit_counts() {
        let mut ids = Ids::new(16);
        assert_eq!(core::iter::from_fn(|| ids.take()).count(), 15);
    }
}
