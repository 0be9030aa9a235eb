//! The wall clock in the machine's CMOS (Motorola MC146818 data sheet).

/// A moment as the clock's registers give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers {
    /// Second, minute, hour, day of month, month, year, as read.
    pub fields: [u8; 6],
    /// Status register B: bit 1 is 24 hours, bit 2 binary.
    pub status_b: u8,
}

impl Registers {
    /// Seconds since 1970-01-01 UTC. `None` if the registers hold no date.
    pub fn seconds(&self) -> Option<u64> {
        let binary = self.status_b & 4 != 0;
        let number = |raw: u8| {
            if binary {
                Some(u64::from(raw))
            } else {
                (raw & 0xf < 10 && raw >> 4 < 10)
                    .then(|| u64::from(raw >> 4) * 10 + u64::from(raw & 0xf))
            }
        };
        let [second, minute, hour, day, month, year] = self.fields;
        let (second, minute) = (number(second)?, number(minute)?);
        let twelve = self.status_b & 2 == 0;
        let mut hours = number(if twelve { hour & 0x7f } else { hour })?;
        if twelve {
            hours = hours % 12 + if hour & 0x80 != 0 { 12 } else { 0 };
        }
        let (day, month, year) = (number(day)?, number(month)?, 2000 + number(year)?);
        let valid = second < 60
            && minute < 60
            && hours < 24
            && (1..=31).contains(&day)
            && (1..=12).contains(&month);
        valid.then(|| days(year, month, day) * 86_400 + hours * 3600 + minute * 60 + second)
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar: years start in March, so that the
/// leap day comes last.
const fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

/// Reads the clock. `None` if it is not there or gives no date.
pub fn read() -> Option<u64> {
    use super::cpu::{inb, outb};
    fn register(index: u8) -> u8 {
        outb(0x70, index);
        inb(0x71)
    }
    let all = || Registers {
        fields: [0, 2, 4, 7, 8, 9].map(register),
        status_b: register(0xb),
    };
    // Status register A, bit 7: an update is under way. Two equal readings had none between them.
    for _ in 0..10_000 {
        if register(0xa) & 0x80 != 0 {
            continue;
        }
        let first = all();
        if register(0xa) & 0x80 == 0 && first == all() {
            return first.seconds();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_become_seconds() {
        // date -u -d '2026-11-22 13:45:59' +%s
        let bcd = Registers {
            fields: [0x59, 0x45, 0x13, 0x22, 0x11, 0x26],
            status_b: 2,
        };
        assert_eq!(bcd.seconds(), Some(1_795_355_159));
        let binary = Registers {
            fields: [59, 45, 0x81, 22, 11, 26],
            status_b: 4,
        };
        assert_eq!(binary.seconds(), Some(1_795_355_159));
        // date -u -d '2028-02-29' +%s
        let leap = Registers {
            fields: [0, 0, 0, 0x29, 2, 0x28],
            status_b: 2,
        };
        assert_eq!(leap.seconds(), Some(1_835_395_200));
        let midnight = Registers {
            fields: [0, 0, 0x12, 1, 1, 0x30],
            status_b: 0,
        };
        assert_eq!(midnight.seconds(), Some(1_893_456_000));
        let absent = Registers {
            fields: [0xff; 6],
            status_b: 0xff,
        };
        assert_eq!(absent.seconds(), None);
    }
}
