//! Who wants to hear of which changes.

use crate::client::DomId;
use crate::path;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

/// Bytes that a watch costs besides path and token.
const OVERHEAD: usize = 160;

/// One watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Who wants to hear.
    pub domid: DomId,
    /// What it gets with each event, as it gave it.
    pub token: Box<[u8]>,
    /// Only changes at most this many levels below.
    pub depth: Option<usize>,
    /// Bytes of the path that events leave away, because the name was relative.
    pub prefix: usize,
    /// When its connection was made, then when the watch was made: events go out in this order, as Xen's daemon sends them.
    order: (u64, u64),
}

/// Which watches an event is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those on exactly the path.
    Exact,
    /// Those on the path or above it.
    Subtree,
    /// Special: those on exactly the path that set no depth.
    WithoutDepth,
    /// Special: those on exactly the path, and those above it that set a depth.
    WithDepth,
}

/// All watches, by path.
#[derive(Clone, Debug, Default)]
pub struct Watches {
    by_path: BTreeMap<Box<str>, Vec<Watch>>,
    made: u64,
}

impl Watches {
    /// Bytes that a watch takes.
    #[must_use]
    pub fn footprint(path: &str, token: &[u8]) -> usize {
        path.len() + token.len() + OVERHEAD
    }

    /// Whether `domid` has that watch already.
    #[must_use]
    pub fn contains(&self, domid: DomId, path: &str, token: &[u8]) -> bool {
        self.by_path.get(path).is_some_and(|watches| {
            watches
                .iter()
                .any(|w| w.domid == domid && *w.token == *token)
        })
    }

    /// Adds a watch; `connection` is the number of the connection it came by.
    pub fn add(
        &mut self,
        domid: DomId,
        connection: u64,
        path: &str,
        token: &[u8],
        depth: Option<usize>,
        prefix: usize,
    ) {
        self.made += 1;
        let watch = Watch {
            domid,
            token: token.into(),
            depth,
            prefix,
            order: (connection, self.made),
        };
        self.by_path.entry(path.into()).or_default().push(watch);
    }

    /// Takes a watch away; whether there was one.
    pub fn remove(&mut self, domid: DomId, path: &str, token: &[u8]) -> bool {
        let Some(watches) = self.by_path.get_mut(path) else {
            return false;
        };
        let before = watches.len();
        watches.retain(|watch| watch.domid != domid || *watch.token != *token);
        let found = watches.len() != before;
        if watches.is_empty() {
            self.by_path.remove(path);
        }
        found
    }

    /// Takes all of a domain's watches away; returns how many there were, and their bytes.
    pub fn remove_all(&mut self, domid: DomId) -> (usize, usize) {
        let (mut count, mut bytes) = (0, 0);
        self.by_path.retain(|path, watches| {
            watches.retain(|watch| {
                if watch.domid == domid {
                    count += 1;
                    bytes += Watches::footprint(path, &watch.token);
                }
                watch.domid != domid
            });
            !watches.is_empty()
        });
        (count, bytes)
    }

    /// The watches that hear of a change at `path`, in the order in which they do.
    #[must_use]
    pub fn matching(&self, path: &str, scope: Scope) -> Vec<&Watch> {
        let mut found: Vec<&Watch> = Vec::new();
        for watched in path::with_ancestors(path) {
            let levels = path::levels_below(path, watched);
            let watches = self.by_path.get(watched).into_iter().flatten();
            found.extend(watches.filter(|watch| match scope {
                Scope::Exact => levels == 0,
                Scope::Subtree => watch.depth.is_none_or(|depth| levels <= depth),
                Scope::WithoutDepth => levels == 0 && watch.depth.is_none(),
                Scope::WithDepth => levels == 0 || watch.depth.is_some_and(|depth| levels <= depth),
            }));
        }
        found.sort_by_key(|watch| watch.order);
        found
    }

    /// Paths and tokens of a domain's watches, for reports.
    #[must_use]
    pub fn of(&self, domid: DomId) -> Vec<(String, &Watch)> {
        let all = self
            .by_path
            .iter()
            .flat_map(|(path, watches)| watches.iter().map(move |watch| (path, watch)));
        all.filter(|(_, watch)| watch.domid == domid)
            .map(|(path, watch)| (String::from(&**path), watch))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(watches: &Watches, path: &str, scope: Scope) -> Vec<u8> {
        watches
            .matching(path, scope)
            .iter()
            .map(|watch| watch.token.first().copied().unwrap_or(0))
            .collect()
    }

    #[test]
    fn scopes() {
        let mut watches = Watches::default();
        watches.add(7, 2, "/a/b", b"1", None, 0);
        watches.add(5, 1, "/a", b"2", None, 0);
        watches.add(5, 1, "/", b"3", Some(1), 0);
        watches.add(5, 1, "/a", b"4", Some(0), 0);
        watches.add(5, 1, "/ab", b"5", None, 0);
        assert_eq!(
            heard(&watches, "/a/b", Scope::Subtree),
            b"21",
            "by connection, then by age"
        );
        assert_eq!(heard(&watches, "/a", Scope::Subtree), b"234");
        assert_eq!(heard(&watches, "/a/b", Scope::Exact), b"1");
        assert_eq!(heard(&watches, "/a/b/c", Scope::Subtree), b"21");
        assert_eq!(heard(&watches, "/", Scope::Subtree), b"3");
        assert!(!watches.remove(5, "/a/b", b"1") && watches.remove(7, "/a/b", b"1"));
        let bytes = Watches::footprint("/a", b"2") * 2
            + Watches::footprint("/", b"3")
            + Watches::footprint("/ab", b"5");
        assert_eq!(watches.remove_all(5), (4, bytes));
        assert!(watches.by_path.is_empty());
    }

    #[test]
    fn special_events() {
        let mut watches = Watches::default();
        watches.add(1, 1, "@releaseDomain", b"a", None, 0);
        watches.add(1, 1, "@releaseDomain", b"b", Some(1), 0);
        watches.add(1, 1, "@releaseDomain/5", b"c", None, 0);
        watches.add(1, 1, "/", b"d", None, 0);
        assert_eq!(heard(&watches, "@releaseDomain", Scope::WithoutDepth), b"a");
        assert_eq!(heard(&watches, "@releaseDomain/5", Scope::WithDepth), b"bc");
        assert_eq!(heard(&watches, "@releaseDomain/6", Scope::WithDepth), b"b");
    }
}
