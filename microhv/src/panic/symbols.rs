//! Names for addresses: `boot/microhv.sym` of the boot archive, lines `%016x name` in ascending
//! order.

use spin::Once;

/// Hexadecimal digits of an address.
const DIGITS: usize = 16;

static SYMBOLS: Once<&'static [u8]> = Once::new();

/// Remembers the file for backtraces.
pub(crate) fn set(file: &'static [u8]) {
    SYMBOLS.call_once(|| file);
}

/// The function in which `address` lies, and how far in it; `None` without the file.
pub fn name(address: u64) -> Option<(&'static str, u64)> {
    lookup(SYMBOLS.get()?, address)
}

/// The last line of `file` whose address is not above `address`. The file is searched by halves;
/// one that is not in order, or no such file at all, gives a wrong name or none.
pub fn lookup(file: &[u8], address: u64) -> Option<(&str, u64)> {
    let (mut low, mut high) = (0, file.len());
    let mut found = None;
    while low < high {
        let middle = low + (high - low) / 2;
        let newline = |byte: &u8| *byte == b'\n';
        let before = file.get(low..middle)?.iter().rposition(newline);
        let start = before.map_or(low, |at| low + at + 1);
        let behind = file.get(middle..high)?.iter().position(newline);
        let end = behind.map_or(high, |at| middle + at);
        match parse(file.get(start..end)?) {
            Some((at, name)) if at <= address => {
                found = Some((name, address - at));
                low = end + 1;
            }
            Some(_) => high = start,
            None => return None,
        }
    }
    found
}

fn parse(line: &[u8]) -> Option<(u64, &str)> {
    let line = core::str::from_utf8(line).ok()?;
    let (digits, name) = line.split_at_checked(DIGITS)?;
    Some((
        u64::from_str_radix(digits, 16).ok()?,
        name.strip_prefix(' ')?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: &[u8] =
        b"ffffffff80200000 first\nffffffff80200010 a::b<c d>\nffffffff80200100 last\n";

    #[test]
    fn the_function_before_the_address_is_found() {
        let at = |offset: u64| lookup(FILE, 0xffff_ffff_8020_0000 + offset);
        assert_eq!(at(0), Some(("first", 0)));
        assert_eq!(at(0xf), Some(("first", 0xf)));
        assert_eq!(at(0x10), Some(("a::b<c d>", 0)));
        assert_eq!(at(0xff), Some(("a::b<c d>", 0xef)));
        assert_eq!(at(0x1234), Some(("last", 0x1134)));
        assert_eq!(lookup(FILE, 5), None);
        assert_eq!(lookup(b"", 5), None);
        assert_eq!(
            lookup(b"ffffffff80200000 only", u64::MAX).unwrap().0,
            "only"
        );
    }

    proptest! {
        #[test]
        fn every_line_is_found(addresses in proptest::collection::btree_set(any::<u64>(), 1..60)) {
            let text: String = addresses.iter().map(|a| format!("{a:016x} f{a}\n")).collect();
            for address in &addresses {
                let name = format!("f{address}");
                prop_assert_eq!(lookup(text.as_bytes(), *address), Some((name.as_str(), 0)));
            }
        }

        #[test]
        fn no_file_makes_it_panic(file in proptest::collection::vec(any::<u8>(), 0..80), address in any::<u64>()) {
            let _ = lookup(&file, address);
        }
    }
}
