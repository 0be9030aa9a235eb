//! Ethernet addresses.

use core::fmt;

/// A unicast Ethernet address; prints as `00:16:3e:74:34:32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Reads six groups of one or two hexadecimal digits with colons between. `None` for anything else, for
    /// multicast addresses and for the zero address: no interface can have them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Mac> {
        let mut bytes = [0; 6];
        let mut groups = text.split(':');
        for byte in &mut bytes {
            let group = groups.next()?;
            if group.is_empty() || group.len() > 2 || !group.bytes().all(|b| b.is_ascii_hexdigit())
            {
                return None;
            }
            *byte = u8::from_str_radix(group, 16).ok()?;
        }
        let multicast = bytes.first().is_some_and(|first| first & 1 == 1);
        (groups.next().is_none() && !multicast && bytes != [0; 6]).then_some(Mac(bytes))
    }

    /// An address in Xen's range 00:16:3e from 24 arbitrary bits, as xl makes for a vif without one.
    #[must_use]
    pub fn in_xens_range(bits: u32) -> Mac {
        let [_, high, middle, low] = bits.to_be_bytes();
        Mac([0x00, 0x16, 0x3e, high & 0x7f, middle, low])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let colon = if index == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02x}")?;
        }
        Ok(())
    }
}
