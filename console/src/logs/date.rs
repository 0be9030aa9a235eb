//! Seconds as a date.

use core::fmt;

/// A moment in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    /// Year, all four digits.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
}

impl Date {
    /// The moment `seconds` after 1970-01-01 00:00.
    #[must_use]
    pub fn new(seconds: u64) -> Self {
        // Days in years that start in March, so that the odd day comes last: eras of 400 years have 146,097 days.
        let days = seconds / 86_400 + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let of_month = day - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = year + era * 400 + u64::from(month <= 2);
        let second = seconds % 86_400;
        Self {
            year: u16::try_from(year).unwrap_or(u16::MAX),
            month: month as u8,
            day: of_month as u8,
            hour: (second / 3600) as u8,
            minute: (second / 60 % 60) as u8,
            second: (second % 60) as u8,
        }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
            self.year, self.month, self.day, self.hour, self.minute, self.second
        )
    }
}

/// Nanoseconds since 1970 as each line of a log begins: `2026-11-22 10:01:33.123`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(pub u64);

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0 / 1_000_000 % 1000;
        write!(f, "{}.{milliseconds:03}", Date::new(self.0 / 1_000_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_that_date_prints() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (951_868_800, "2000-03-01 00:00:00"),
            (1_735_689_599, "2024-12-31 23:59:59"),
            (1_795_341_693, "2026-11-22 10:01:33"),
            (4_107_542_400, "2100-03-01 00:00:00"),
        ] {
            assert_eq!(Date::new(seconds).to_string(), text);
        }
        assert_eq!(
            Stamp(1_795_341_693_007_900_000).to_string(),
            "2026-11-22 10:01:33.007"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_moment_is_a_date(seconds: u64) {
            let date = Date::new(seconds);
            proptest::prop_assert!((1..=12).contains(&date.month) && (1..=31).contains(&date.day));
        }
    }
}
