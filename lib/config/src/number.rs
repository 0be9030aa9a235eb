//! Integers as Xen reads them: decimal, `0x` hexadecimal, or octal with a leading `0`.

/// Reads the digits at the start of `text`; returns the number and what follows it.
///
/// `None` without a digit at the start, or when the number needs more than 64 bits.
/// Source: Xen's docs/misc/xen-command-line.pandoc, "Integer".
#[must_use]
pub fn leading(text: &str) -> Option<(u64, &str)> {
    let (radix, digits) =
        if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            (16, hex)
        } else if text.len() > 1
            && text.starts_with('0')
            && text
                .get(1..2)
                .is_some_and(|c| c.bytes().all(|b| b.is_ascii_digit()))
        {
            (8, text)
        } else {
            (10, text)
        };
    let end = digits
        .find(|c: char| !c.is_digit(radix))
        .unwrap_or(digits.len());
    let (number, rest) = digits.split_at_checked(end)?;
    if number.is_empty() {
        return None;
    }
    Some((u64::from_str_radix(number, radix).ok()?, rest))
}

/// The whole of `text` as one integer.
#[must_use]
pub fn whole(text: &str) -> Option<u64> {
    leading(text)
        .filter(|(_, rest)| rest.is_empty())
        .map(|(number, _)| number)
}

/// The whole of `text` as one integer of a smaller type.
#[must_use]
pub fn whole_as<T: TryFrom<u64>>(text: &str) -> Option<T> {
    whole(text).and_then(|number| T::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases() {
        assert_eq!(whole("10"), Some(10));
        assert_eq!(whole("0x1F"), Some(31));
        assert_eq!(whole("010"), Some(8));
        assert_eq!(whole("0"), Some(0));
        assert_eq!(leading("64M"), Some((64, "M")));
        for bad in [
            "",
            "x",
            "0x",
            "09",
            "-1",
            "+1",
            "18446744073709551616",
            "1 ",
        ] {
            assert_eq!(whole(bad), None, "{bad}");
        }
        assert_eq!(whole_as::<u8>("256"), None);
    }
}
