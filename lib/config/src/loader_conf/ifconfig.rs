//! `ifconfig_<interface>` of rc.conf(5), as far as a bridge needs it.

use crate::span::Span;
use core::net::Ipv4Addr;

/// One setting of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting<'a> {
    /// `addm X`: X is a member of the bridge.
    Member(&'a str),
    /// `DHCP`, or `SYNCDHCP` (wait for the lease before going on).
    Dhcp {
        /// Whether start-up waits for the lease.
        synchronous: bool,
    },
    /// `inet A.B.C.D/N` or `inet A.B.C.D netmask A.B.C.D`.
    Address {
        /// The interface's own address.
        address: Ipv4Addr,
        /// Bits of the network part, 0 to 32.
        prefix: u8,
    },
    /// `up`.
    Up,
    /// A word that means nothing here.
    Unknown(Span<'a>),
    /// A word whose argument is missing or wrong.
    Malformed(Span<'a>, &'static str),
}

/// The settings of one interface, in the file's order.
#[derive(Clone, Debug)]
pub struct Ifconfig<'a> {
    rest: Span<'a>,
}

impl<'a> Ifconfig<'a> {
    pub(super) fn new(text: Span<'a>) -> Self {
        Ifconfig { rest: text }
    }

    fn word(&mut self) -> Option<Span<'a>> {
        let start = self.rest.text.trim_start_matches([' ', '\t']);
        let after = start.trim_start_matches(|c| c != ' ' && c != '\t');
        let word = self.rest.at(start.strip_suffix(after)?);
        self.rest = self.rest.at(after);
        (!word.text.is_empty()).then_some(word)
    }

    fn address(&mut self, keyword: Span<'a>) -> Setting<'a> {
        let Some(word) = self.word() else {
            return Setting::Malformed(keyword, "expected an IPv4 address behind inet");
        };
        if let Some((address, prefix)) = word.split_once('/') {
            return match (address.text.parse(), prefix.text.parse::<u8>()) {
                (Ok(address), Ok(prefix)) if prefix <= 32 => Setting::Address { address, prefix },
                _ => Setting::Malformed(word, "expected an IPv4 address such as 192.0.2.1/24"),
            };
        }
        let (Ok(address), Some("netmask"), Some(mask)) =
            (word.text.parse(), self.word().map(|w| w.text), self.word())
        else {
            return Setting::Malformed(word, "expected an IPv4 address such as 192.0.2.1/24");
        };
        match mask.text.parse::<Ipv4Addr>().map(u32::from) {
            Ok(bits) if bits.leading_ones() + bits.trailing_zeros() == 32 || bits == 0 => {
                Setting::Address {
                    address,
                    prefix: u8::try_from(bits.leading_ones()).unwrap_or(32),
                }
            }
            _ => Setting::Malformed(mask, "expected a netmask such as 255.255.255.0"),
        }
    }
}

impl<'a> Iterator for Ifconfig<'a> {
    type Item = Setting<'a>;

    fn next(&mut self) -> Option<Setting<'a>> {
        let word = self.word()?;
        Some(match word.text {
            "addm" => match self.word() {
                Some(member) => Setting::Member(member.text),
                None => Setting::Malformed(word, "expected an interface behind addm"),
            },
            text if text.eq_ignore_ascii_case("SYNCDHCP") => Setting::Dhcp { synchronous: true },
            text if text.eq_ignore_ascii_case("DHCP") => Setting::Dhcp { synchronous: false },
            "inet" => self.address(word),
            "up" => Setting::Up,
            _ => Setting::Unknown(word),
        })
    }
}
