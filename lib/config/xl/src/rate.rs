//! `rate=10Mb/s@50ms`: how fast a vif may send.

/// A vif's transmission credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Bytes that may be sent in each interval.
    pub bytes_per_interval: u64,
    /// Microseconds.
    pub interval_usecs: u32,
}

/// Why a rate is not accepted.
pub const EXPECTED: &str = "expected a rate such as 10Mb/s or 1MB/s@20ms";

impl Rate {
    /// Reads `<number><unit>/s[@<interval>]`; units b Kb Mb Gb (bits) and B KB MB GB (bytes), decimal; intervals in us, ms
    /// or s, 50 ms if not given. `None` for anything else, zero, and what does not fit (32 bits for each number).
    #[must_use]
    pub fn parse(text: &str) -> Option<Rate> {
        let (speed, interval) = match text.split_once('@') {
            Some((speed, interval)) => (speed, interval),
            None => (text, "50ms"),
        };
        let (number, unit) = number_and_unit(speed)?;
        let bytes_per_second = match unit {
            "b/s" => number / 8,
            "Kb/s" => number * 1000 / 8,
            "Mb/s" => number * 1_000_000 / 8,
            "Gb/s" => number * 1_000_000_000 / 8,
            "B/s" => number,
            "KB/s" => number * 1000,
            "MB/s" => number * 1_000_000,
            "GB/s" => number * 1_000_000_000,
            _ => return None,
        };
        let (number, unit) = number_and_unit(interval)?;
        let interval = match unit {
            "us" | "" => number,
            "ms" => number * 1000,
            "s" => number * 1_000_000,
            _ => return None,
        };
        let interval_usecs = u32::try_from(interval).ok()?;
        if bytes_per_second == 0 || interval == 0 {
            return None;
        }
        let bytes_per_interval = bytes_per_second.checked_mul(interval)? / 1_000_000;
        Some(Rate {
            bytes_per_interval,
            interval_usecs,
        })
    }
}

/// The decimal number at the start, below 2^32 so that the units' factors fit 64 bits, and what follows.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = text.strip_suffix(unit)?.parse::<u32>().ok()?;
    Some((u64::from(number), unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_of_xens_own_test() {
        let rate = |text| Rate::parse(text).map(|r| (r.bytes_per_interval, r.interval_usecs));
        for text in [
            "16000000b/s",
            "16000000b/s@50ms",
            "2000000B/s",
            "16Mb/s",
            "2MB/s@50ms",
        ] {
            assert_eq!(rate(text), Some((100_000, 50_000)), "{text}");
        }
        assert_eq!(rate("16Kb/s"), Some((100, 50_000)));
        assert_eq!(rate("8Gb/s"), Some((50_000_000, 50_000)));
        assert_eq!(rate("1GB/s@50ms"), Some((50_000_000, 50_000)));
        assert_eq!(rate("80Mb/s@1s"), Some((10_000_000, 1_000_000)));
        let bad = [
            "foo",
            "10MB",
            "10MB/m",
            "10ZB",
            "10ZB/s",
            "4294967296b/s",
            "4294967296Gb/s",
            "0B/s",
            "10Mb/s@foo",
            "10Mb/s@10h",
            "1B/s@4294967296us",
            "1B/s@4294968ms",
            "1B/s@4295s",
            "1B/s@0us",
            "4294967295GB/s@5us",
            "4296MB/s@4294s",
            "@",
            "",
        ];
        for text in bad {
            assert_eq!(rate(text), None, "{text}");
        }
    }
}
