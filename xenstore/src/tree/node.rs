//! One node.

use crate::perms::Perms;
use alloc::vec::Vec;

/// Bytes that a node costs besides its contents: its place in the map, three vectors, the allocator's rounding.
const OVERHEAD: usize = 200;

/// A node's contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Number of the change that it has seen last; unique in the store.
    pub generation: u64,
    /// Who may do what.
    pub perms: Perms,
    /// The value.
    pub value: Vec<u8>,
    /// Names of its children.
    pub children: Children,
}

impl Node {
    /// A node without value and children.
    #[must_use]
    pub fn new(perms: Perms) -> Self {
        Node {
            generation: 0,
            perms,
            value: Vec::new(),
            children: Children::default(),
        }
    }

    /// Bytes that count against the quota of node sizes: contents, permissions at 8 bytes each, and a header of 16 (as in
    /// Xen's daemon).
    #[must_use]
    pub fn size(&self) -> usize {
        16 + 8 * self.perms.len() + self.value.len() + self.children.wire().len()
    }

    /// Bytes of memory that it takes under `path`.
    #[must_use]
    pub fn footprint(&self, path: &str) -> usize {
        self.size() + path.len() + OVERHEAD
    }
}

/// Names of a node's children, in the order in which they came: as a message has them, each with its nul.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Children {
    names: Vec<u8>,
}

impl Children {
    /// The names with their nuls.
    #[must_use]
    pub fn wire(&self) -> &[u8] {
        &self.names
    }

    /// The names.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.names
            .split(|byte| *byte == 0)
            .filter_map(|name| core::str::from_utf8(name).ok())
            .filter(|name| !name.is_empty())
    }

    /// Adds a name behind the others.
    pub fn add(&mut self, name: &str) {
        self.names.extend_from_slice(name.as_bytes());
        self.names.push(0);
    }

    /// Takes a name away.
    pub fn remove(&mut self, name: &str) {
        let mut at = 0;
        for candidate in self.names.split(|byte| *byte == 0) {
            let end = at + candidate.len() + 1;
            if candidate == name.as_bytes() && end <= self.names.len() {
                self.names.drain(at..end);
                return;
            }
            at = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_keep_their_order() {
        let mut children = Children::default();
        for name in ["a", "bc", "b", "d"] {
            children.add(name);
        }
        children.remove("b");
        children.remove("x");
        children.remove("");
        assert_eq!(children.wire(), b"a\0bc\0d\0");
        assert_eq!(children.iter().collect::<Vec<_>>(), ["a", "bc", "d"]);
        for name in ["a", "d", "bc"] {
            children.remove(name);
        }
        assert_eq!(children, Children::default());
    }
}
