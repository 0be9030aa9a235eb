//! What the command line says about bridge0: rc.conf's `ifconfig_bridge0`, handed on by microhv.

use core::net::Ipv4Addr;

/// Where bridge0's own address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Address {
    /// It has none: a switch only.
    #[default]
    None,
    /// From a DHCP server (`DHCP`, `SYNCDHCP`).
    Dhcp,
    /// As written (`inet A.B.C.D/N` or `inet A.B.C.D netmask A.B.C.D`).
    Fixed {
        /// The address.
        address: Ipv4Addr,
        /// Bits of the network part, 0 to 32.
        prefix: u8,
    },
}

/// The words of `ifconfig_bridge0=...` on the command line: quoted, or up to the next `name=value`.
fn words(cmdline: &str) -> impl Iterator<Item = &str> {
    const NAME: &str = "ifconfig_bridge0=";
    let at = cmdline
        .find(NAME)
        .map_or("", |at| &cmdline[at + NAME.len()..]);
    let (text, quoted) = match at.strip_prefix('"') {
        Some(rest) => (rest.split('"').next().unwrap_or(rest), true),
        None => (at, false),
    };
    text.split_ascii_whitespace()
        .take_while(move |word| quoted || !word.contains('='))
}

/// Reads the address from the command line; words that mean nothing here (`addm`, members, `up`) are passed over.
#[must_use]
pub fn address(cmdline: &str) -> Address {
    let mut words = words(cmdline);
    while let Some(word) = words.next() {
        if word.eq_ignore_ascii_case("DHCP") || word.eq_ignore_ascii_case("SYNCDHCP") {
            return Address::Dhcp;
        }
        if word == "inet" {
            return fixed(&mut words).unwrap_or_default();
        }
    }
    Address::None
}

fn fixed<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Address> {
    let word = words.next()?;
    if let Some((address, prefix)) = word.split_once('/') {
        let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
        return Some(Address::Fixed {
            address: address.parse().ok()?,
            prefix,
        });
    }
    if words.next()? != "netmask" {
        return None;
    }
    let mask = u32::from(words.next()?.parse::<Ipv4Addr>().ok()?);
    let prefix = mask.leading_ones();
    (mask.checked_shl(prefix).unwrap_or(0) == 0).then_some(Address::Fixed {
        address: word.parse().ok()?,
        prefix: prefix as u8,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_among_other_words() {
        assert_eq!(
            address("domid=4 ifconfig_bridge0=addm em0 SYNCDHCP loglvl=all"),
            Address::Dhcp
        );
        assert_eq!(
            address("ifconfig_bridge0=\"addm em0 up DHCP\" x=1"),
            Address::Dhcp
        );
        let fixed = Address::Fixed {
            address: Ipv4Addr::new(192, 0, 2, 1),
            prefix: 24,
        };
        assert_eq!(
            address("ifconfig_bridge0=\"inet 192.0.2.1/24 addm em0\""),
            fixed
        );
        assert_eq!(
            address("ifconfig_bridge0=inet 192.0.2.1 netmask 255.255.255.0"),
            fixed
        );
        for none in [
            "",
            "x=DHCP",
            "ifconfig_bridge0=up x=1 DHCP",
            "ifconfig_bridge0=inet 192.0.2.1/33",
        ] {
            assert_eq!(address(none), Address::None, "{none}");
        }
        assert_eq!(
            address("ifconfig_bridge0=inet 192.0.2.1 netmask 255.0.255.0"),
            Address::None
        );
        let any = Address::Fixed {
            address: Ipv4Addr::new(192, 0, 2, 1),
            prefix: 0,
        };
        assert_eq!(
            address("ifconfig_bridge0=inet 192.0.2.1 netmask 0.0.0.0"),
            any
        );
    }
}
