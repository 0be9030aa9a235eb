//! The one thing that microhv reads in AML: the package `\_S5`, whose numbers turn the machine off.

/// ACPI 6.5, 20.2: NameOp, PackageOp, and how small integers are written.
const NAME_OP: u8 = 0x08;
const PACKAGE_OP: u8 = 0x12;
const ZERO_OP: u8 = 0x00;
const ONE_OP: u8 = 0x01;
const BYTE_PREFIX: u8 = 0x0a;

/// The values of SLP_TYPa and SLP_TYPb in the first package named `_S5` (ACPI 6.5, 7.4.2).
pub fn s5(aml: &[u8]) -> Option<[u8; 2]> {
    (0..aml.len()).find_map(|at| {
        let after = aml.get(at..)?.strip_prefix(b"_S5_")?;
        let before = aml.get(..at)?;
        let named = before.ends_with(&[NAME_OP]) || before.ends_with(&[NAME_OP, b'\\']);
        if !named {
            return None;
        }
        let package = after.strip_prefix(&[PACKAGE_OP])?;
        // The package's length: bits 6 and 7 of the first byte say how many bytes follow it.
        let lead = usize::from(package.first()? >> 6);
        let (count, elements) = package.get(lead + 1..)?.split_first()?;
        if *count == 0 {
            return None;
        }
        let (first, rest) = integer(elements)?;
        let second = if *count > 1 {
            integer(rest).map_or(first, |found| found.0)
        } else {
            first
        };
        Some([first, second])
    })
}

fn integer(bytes: &[u8]) -> Option<(u8, &[u8])> {
    match bytes {
        [value @ (ZERO_OP | ONE_OP), rest @ ..] => Some((*value, rest)),
        [BYTE_PREFIX, value, rest @ ..] => Some((*value, rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn packages_are_found_in_both_notations() {
        // As in QEMU's q35: Name (_S5, Package (0x04) { Zero, Zero, Zero, Zero }).
        let qemu = b"xxxx\x08_S5_\x12\x06\x04\x00\x00\x00\x00";
        assert_eq!(s5(qemu), Some([0, 0]));
        let bytes = b"_S5_\x08\\_S5_\x12\x0a\x04\x0a\x05\x0a\x07\x00\x00";
        assert_eq!(s5(bytes), Some([5, 7]));
        assert_eq!(s5(b"\x08_S5_\x12\x06\x00\x00"), None);
        assert_eq!(s5(b"\x08_S5_"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..20), at in 0usize..20) {
            bytes.splice(at.min(bytes.len())..at.min(bytes.len()), *b"\x08_S5_\x12");
            let _ = s5(&bytes);
        }
    }
}
