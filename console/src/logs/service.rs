//! Lines of the hypervisor's log that are a domain's: `(dN) [   12.345678] NAME: text`, as microhv's `console::guest_write`
//! prints them.

use xen_abi::DomId;

/// Domain, and what follows its prefix; `None` if the line is nobody's.
#[must_use]
pub fn domain_line(line: &str) -> Option<(DomId, &str)> {
    let (domid, rest) = line.strip_prefix("(d")?.split_once(") ")?;
    Some((domid.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_belongs_to_the_domain_in_its_prefix() {
        let line = "(d3) [    1.234567] blkback: partition 1";
        assert_eq!(
            domain_line(line),
            Some((3, "[    1.234567] blkback: partition 1"))
        );
        for other in [
            "(XEN) [ 1.0] (d3) x",
            "(d) x",
            "(d3)x",
            "(d99999) x",
            "",
            "(dx) y",
        ] {
            assert_eq!(domain_line(other), None);
        }
    }
}
