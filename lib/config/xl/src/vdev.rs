//! Names of virtual disks and their numbers in xenstore.

/// A virtual disk or partition: `xvda`, `hda1`, `sdb`, `d1p2`, or the number itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Vdev {
    /// The number in xenstore and on the wire: `/local/domain/N/device/vbd/<number>`.
    pub number: u32,
}

/// Why a name is not accepted.
pub const EXPECTED: &str = "expected a virtual disk such as xvda, hda or sda1";

impl Vdev {
    /// Reads a name. Encodings: Xen's docs/man/xen-vbd-interface.7.
    #[must_use]
    pub fn parse(name: &str) -> Option<Vdev> {
        if let Some(rest) = name.strip_prefix("xvd") {
            let (disk, partition) = letters_and_partition(rest)?;
            return Vdev::xen(disk, partition);
        }
        if let Some(rest) = name.strip_prefix("hd") {
            let (disk, partition) = letters_and_partition(rest)?;
            let number = match disk {
                0..=1 => 3 << 8 | disk << 6,
                2..=3 => 22 << 8 | (disk - 2) << 6,
                _ => return None,
            };
            return (partition < 64).then_some(Vdev {
                number: number | partition,
            });
        }
        if let Some(rest) = name.strip_prefix("sd") {
            let (disk, partition) = letters_and_partition(rest)?;
            return (disk < 16 && partition < 16).then_some(Vdev {
                number: 8 << 8 | disk << 4 | partition,
            });
        }
        if let Some(rest) = name.strip_prefix('d') {
            let (disk, partition) = rest.split_once('p').unwrap_or((rest, "0"));
            let decimal = |text: &str| {
                text.bytes()
                    .all(|b| b.is_ascii_digit())
                    .then(|| text.parse::<u32>().ok())
                    .flatten()
            };
            return Vdev::xen(decimal(disk)?, decimal(partition)?);
        }
        let number = config::number::whole_as::<u32>(name)?;
        (number < 2 << 28).then_some(Vdev { number })
    }

    fn xen(disk: u32, partition: u32) -> Option<Vdev> {
        if disk < 16 && partition < 16 {
            Some(Vdev {
                number: 202 << 8 | disk << 4 | partition,
            })
        } else if disk < 1 << 20 && partition < 256 {
            Some(Vdev {
                number: 1 << 28 | disk << 8 | partition,
            })
        } else {
            None
        }
    }
}

/// `a` is disk 0, `z` 25, `aa` 26; digits behind it are the partition.
fn letters_and_partition(text: &str) -> Option<(u32, u32)> {
    let digits = text.trim_start_matches(|c: char| c.is_ascii_lowercase());
    let letters = text.strip_suffix(digits)?;
    if letters.is_empty() {
        return None;
    }
    let mut disk = 0u32;
    for letter in letters.bytes() {
        disk = disk
            .checked_mul(26)?
            .checked_add(u32::from(letter.checked_sub(b'a')?) + 1)?;
    }
    let partition = match digits {
        "" => 0,
        _ if digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0') => {
            digits.parse().ok()?
        }
        _ => return None,
    };
    Some((disk.checked_sub(1)?, partition))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_interface() {
        let cases = [
            ("xvda", 51712),
            ("xvdb", 51728),
            ("xvdb2", 51730),
            ("d0", 51712),
            ("d0p0", 51712),
            ("d1p2", 51730),
            ("xvdp15", 202 << 8 | 255),
            ("xvdq", 1 << 28 | 16 << 8),
            ("xvda16", 1 << 28 | 16),
            ("xvdtq37", 1 << 28 | 536 << 8 | 37),
            ("d536p37", 1 << 28 | 536 << 8 | 37),
            ("hda", 768),
            ("hdb1", 833),
            ("hdc", 5632),
            ("hdd", 5696),
            ("sda", 2048),
            ("sdb3", 2067),
            ("51712", 51712),
            ("0xca00", 51712),
        ];
        for (name, number) in cases {
            assert_eq!(Vdev::parse(name), Some(Vdev { number }), "{name}");
        }
        for bad in [
            "",
            "xvd",
            "xvd1",
            "hde",
            "hda64",
            "sdq",
            "sda16",
            "xvda256",
            "xvda01",
            "dp1",
            "d1p",
            "xvdA",
            "vda",
            "hdc:",
            "4294967296",
            "xvdzzzzzzzz",
        ] {
            assert_eq!(Vdev::parse(bad), None, "{bad}");
        }
    }
}
