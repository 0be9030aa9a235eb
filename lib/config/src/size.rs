//! Sizes with a suffix: `64M`, `2G`, `512K`.

use crate::number;

/// Why a size is not accepted.
pub const EXPECTED: &str = "expected a size such as 64M or 2G";

/// Reads a size at the start of `text`; returns it in bytes, and what follows.
///
/// Suffixes `T G M K B`, either case; a number without one is in **KiB**, as in Xen.
/// `None` when there is no number or it does not fit 64 bits.
/// Source: Xen's docs/misc/xen-command-line.pandoc, "Size".
#[must_use]
pub fn leading(text: &str) -> Option<(u64, &str)> {
    let (number, rest) = number::leading(text)?;
    let mut characters = rest.chars();
    let (shift, after) = match characters.next() {
        Some('T' | 't') => (40, characters.as_str()),
        Some('G' | 'g') => (30, characters.as_str()),
        Some('M' | 'm') => (20, characters.as_str()),
        Some('K' | 'k') => (10, characters.as_str()),
        Some('B' | 'b') => (0, characters.as_str()),
        _ => (10, rest),
    };
    number.checked_mul(1 << shift).map(|bytes| (bytes, after))
}

/// The whole of `text` as a size in bytes.
#[must_use]
pub fn whole(text: &str) -> Option<u64> {
    leading(text)
        .filter(|(_, rest)| rest.is_empty())
        .map(|(bytes, _)| bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes() {
        assert_eq!(whole("64M"), Some(64 << 20));
        assert_eq!(whole("2g"), Some(2 << 30));
        assert_eq!(whole("512K"), Some(512 << 10));
        assert_eq!(whole("1T"), Some(1 << 40));
        assert_eq!(whole("100B"), Some(100));
        assert_eq!(whole("0x10M"), Some(16 << 20));
        assert_eq!(whole("4"), Some(4096), "without a suffix Xen means KiB");
        for bad in ["", "M", "64Q", "64MB", "-64M", "16777216T", "64 M"] {
            assert_eq!(whole(bad), None, "{bad}");
        }
    }
}
