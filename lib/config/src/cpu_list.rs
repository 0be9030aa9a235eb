//! Sets of host CPUs: `all`, `0-3,5,^1`.

use crate::number;
use crate::span::Span;

/// CPUs that a list can name: 0 to 255, as many as x2APIC ids below 256.
pub const LIMIT: u32 = 256;

/// Why a CPU list is not accepted.
pub const EXPECTED: &str = "expected CPUs below 256, such as 0-3,5,^1 or all";

/// A set of host CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CpuList {
    words: [u64; 4],
}

impl CpuList {
    /// Every CPU.
    pub const ALL: CpuList = CpuList {
        words: [u64::MAX; 4],
    };

    /// Reads xl.cfg(5)'s CPULIST without its NUMA forms: `all`, numbers, `a-b` ranges, `^` to take away.
    ///
    /// # Errors
    /// The part of `text` that is no such thing; all of `text` when the set is empty.
    pub fn parse(text: Span<'_>) -> Result<CpuList, Span<'_>> {
        let mut list = CpuList::default();
        for part in text.split(',') {
            let word = part.text.trim();
            let (take_away, range) = match word.strip_prefix('^') {
                Some(range) => (true, range),
                None => (false, word),
            };
            let (first, last) = if range == "all" {
                (0, LIMIT - 1)
            } else {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                match (
                    number::whole_as::<u32>(first),
                    number::whole_as::<u32>(last),
                ) {
                    (Some(first), Some(last)) if first <= last && last < LIMIT => (first, last),
                    _ => return Err(part),
                }
            };
            for cpu in first..=last {
                list.set(cpu, !take_away);
            }
        }
        if list.is_empty() { Err(text) } else { Ok(list) }
    }

    fn set(&mut self, cpu: u32, present: bool) {
        if let Some(word) = self.words.get_mut(cpu as usize / 64) {
            let bit = 1u64 << (cpu % 64);
            *word = if present { *word | bit } else { *word & !bit };
        }
    }

    /// Whether `cpu` is in the set; CPUs from [`LIMIT`] on never are.
    #[must_use]
    pub fn contains(&self, cpu: u32) -> bool {
        self.words
            .get(cpu as usize / 64)
            .is_some_and(|word| word >> (cpu % 64) & 1 == 1)
    }

    /// Whether no CPU is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words == [0; 4]
    }

    /// The set as 64-bit words, CPU 0 in bit 0 of the first.
    #[must_use]
    pub fn words(&self) -> [u64; 4] {
        self.words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpus(text: &str) -> Option<Vec<u32>> {
        CpuList::parse(Span::new(text))
            .ok()
            .map(|list| (0..300).filter(|cpu| list.contains(*cpu)).collect())
    }

    #[test]
    fn lists_of_the_manual() {
        assert_eq!(cpus("0-3,5,^1"), Some(vec![0, 2, 3, 5]));
        assert_eq!(cpus("2"), Some(vec![2]));
        assert_eq!(cpus("3-8,^5"), Some(vec![3, 4, 6, 7, 8]));
        assert_eq!(cpus("all,^7").map(|c| c.len()), Some(255));
        assert_eq!(CpuList::parse(Span::new("all")), Ok(CpuList::ALL));
    }

    #[test]
    fn bad_lists_name_the_part() {
        for bad in ["", "1,", "3-1", "256", "a", "^", "0,^0", "1-", "-1"] {
            assert_eq!(cpus(bad), None, "{bad}");
        }
        let error = CpuList::parse(Span::new("0-3,x")).expect_err("x is no CPU");
        assert_eq!((error.text, error.column), ("x", 5));
    }
}
