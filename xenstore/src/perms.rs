//! Who may do what with a node.

use crate::client::{Client, DomId};
use crate::error::{Error, Result};
use alloc::vec;
use alloc::vec::Vec;

/// May read the value, the children and the permissions.
pub const READ: u8 = 1;
/// May change the value, make and remove children, and remove the node.
pub const WRITE: u8 = 2;
/// May change the permissions.
pub const OWNER: u8 = 4;

/// What one domain may do; the wire has a letter and the number, `r5`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Perm {
    /// Whom it is about.
    pub domid: DomId,
    /// [`READ`] and [`WRITE`].
    pub access: u8,
}

/// A node's permissions: never empty. The first entry names the owner, who may do everything, and says what those may
/// who have no entry of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Perms {
    entries: Vec<Perm>,
}

impl Perms {
    /// Owned by `owner`, closed to everyone else but the control domain.
    #[must_use]
    pub fn owned_by(owner: DomId) -> Self {
        Perms {
            entries: vec![Perm {
                domid: owner,
                access: 0,
            }],
        }
    }

    /// `entries`, of which there must be one.
    ///
    /// # Errors
    /// [`Error::Einval`] when there is none.
    pub fn new(entries: Vec<Perm>) -> Result<Self> {
        if entries.is_empty() {
            Err(Error::Einval)
        } else {
            Ok(Perms { entries })
        }
    }

    /// The owner.
    #[must_use]
    pub fn owner(&self) -> DomId {
        self.entries.first().map_or(0, |first| first.domid)
    }

    /// Gives the node to another owner.
    pub fn set_owner(&mut self, owner: DomId) {
        if let Some(first) = self.entries.first_mut() {
            first.domid = owner;
        }
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Never: there is always an owner.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What `client` may do: [`READ`], [`WRITE`], [`OWNER`].
    #[must_use]
    pub fn allowed(&self, client: Client) -> u8 {
        if client.is_privileged() || client.is(self.owner()) {
            return READ | WRITE | OWNER;
        }
        let own = self
            .entries
            .iter()
            .skip(1)
            .find(|entry| client.is(entry.domid));
        own.or(self.entries.first()).map_or(0, |entry| entry.access)
    }

    /// Takes away every entry but the owner's that is for `domid`; whether there was one.
    pub fn forget(&mut self, domid: DomId) -> bool {
        let before = self.entries.len();
        let mut first = true;
        self.entries
            .retain(|entry| core::mem::take(&mut first) || entry.domid != domid);
        self.entries.len() != before
    }

    /// Reads the strings of a message.
    ///
    /// # Errors
    /// [`Error::Einval`] for a string that is no permission, or none at all.
    pub fn parse<'a>(strings: impl Iterator<Item = &'a [u8]>) -> Result<Perms> {
        let entries = strings.map(parse_one).collect::<Result<Vec<_>>>()?;
        Perms::new(entries)
    }

    /// The strings of a message, each with its nul.
    #[must_use]
    pub fn to_wire(&self) -> Vec<u8> {
        let mut wire = Vec::new();
        for entry in &self.entries {
            let letter = match entry.access & (READ | WRITE) {
                0 => 'n',
                READ => 'r',
                WRITE => 'w',
                _ => 'b',
            };
            wire.extend_from_slice(alloc::format!("{letter}{}\0", entry.domid).as_bytes());
        }
        wire
    }
}

fn parse_one(string: &[u8]) -> Result<Perm> {
    let (letter, digits) = string.split_first().ok_or(Error::Einval)?;
    let access = match letter {
        b'n' => 0,
        b'r' => READ,
        b'w' => WRITE,
        b'b' => READ | WRITE,
        _ => return Err(Error::Einval),
    };
    Ok(Perm {
        domid: parse_domid(digits)?,
        access,
    })
}

/// A domain's number as messages have it: decimal, at most 65535.
///
/// # Errors
/// [`Error::Einval`] for anything else.
pub fn parse_domid(digits: &[u8]) -> Result<DomId> {
    if digits.is_empty() || digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Error::Einval);
    }
    core::str::from_utf8(digits)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(Error::Einval)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::DOMID_ANY;

    fn perms(text: &str) -> Result<Perms> {
        Perms::parse(text.split(' ').map(str::as_bytes))
    }

    #[test]
    fn strings() {
        for text in ["n0", "r5 b7", "w1 n2 r65535"] {
            let wire = perms(text).map(|p| String::from_utf8(p.to_wire()).expect("ASCII"));
            assert_eq!(
                wire.as_deref(),
                Ok(format!("{}\0", text.replace(' ', "\0")).as_str())
            );
        }
        for bad in ["", "x1", "r", "r-1", "r65536", "r1x", "r 1"] {
            assert_eq!(perms(bad), Err(Error::Einval), "{bad}");
        }
    }

    #[test]
    fn who_may_what() {
        let allowed =
            |text, domid, target| perms(text).expect("good").allowed(Client { domid, target });
        let all = READ | WRITE | OWNER;
        assert_eq!(allowed("n5 r6 w7", 5, None), all, "the owner");
        assert_eq!(allowed("n5 r6 w7", 0, None), all, "the control domain");
        assert_eq!(allowed("n5 r6 w7", 6, None), READ);
        assert_eq!(allowed("n5 r6 w7", 7, None), WRITE);
        assert_eq!(allowed("n5 r6 w7", 8, None), 0);
        assert_eq!(
            allowed("r5 n6", 8, None),
            READ,
            "the first entry is the default"
        );
        assert_eq!(
            allowed("r5 n6", 6, None),
            0,
            "an own entry replaces the default"
        );
        assert_eq!(allowed("n5 r6", 9, Some(5)), all, "the target's rights");
        assert_eq!(allowed(&format!("n0 r{DOMID_ANY}"), 9, None), READ);
    }

    #[test]
    fn the_dead_are_forgotten() {
        let mut some = perms("n5 r6 w5 b6").expect("good");
        assert!(some.forget(6) && !some.forget(6) && some.forget(5));
        assert_eq!(some, perms("n5").expect("good"));
    }
}
