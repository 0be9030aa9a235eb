//! All nodes that everyone sees.

use super::node::Node;
use crate::account::Accounts;
use crate::client::{CONTROL_DOMAIN, DOMID_ANY};
use crate::path::ROOT;
use crate::perms::{Perm, Perms, READ};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

/// The nodes by path, and what their owners are charged for them.
///
/// Every node but `/` and the special ones is in its parent's list of children, and every name in such a list is a node.
#[derive(Clone, Debug)]
pub struct Database {
    nodes: BTreeMap<Box<str>, Node>,
    generation: u64,
    /// Who uses how much.
    pub accounts: Accounts,
}

impl Database {
    /// The nodes that are there before anyone asks; `memory` bytes for everything that clients make the store keep.
    #[must_use]
    pub fn new(memory: usize) -> Self {
        let mut database = Database {
            nodes: BTreeMap::new(),
            generation: 0,
            accounts: Accounts::new(memory),
        };
        let control = || Perms::owned_by(CONTROL_DOMAIN);
        // Every domain may know that another one is gone: backends and frontends depend on it (Xen: n0,r<any>).
        let anyone = vec![
            Perm {
                domid: CONTROL_DOMAIN,
                access: 0,
            },
            Perm {
                domid: DOMID_ANY,
                access: READ,
            },
        ];
        let release = Perms::new(anyone).unwrap_or(control());
        for (path, perms, child) in [
            (ROOT, control(), Some("tool")),
            ("/tool", control(), Some("xenstored")),
            ("/tool/xenstored", control(), None),
            ("@introduceDomain", control(), None),
            ("@releaseDomain", release, None),
        ] {
            let mut node = Node::new(perms);
            child.into_iter().for_each(|name| node.children.add(name));
            database.put(path, node);
        }
        database
    }

    /// The node at `path`.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// A number that no node and no transaction had before.
    pub fn next_generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    /// Sets the node at `path`, with a new generation. Parents are the caller's business.
    pub fn put(&mut self, path: &str, node: Node) {
        let mut node = node;
        node.generation = self.next_generation();
        let owner = node.perms.owner();
        self.accounts.charge(owner, node.footprint(path));
        self.accounts.change(owner, |account| account.nodes += 1);
        let old = match self.nodes.get_mut(path) {
            Some(place) => Some(core::mem::replace(place, node)),
            None => self.nodes.insert(path.into(), node),
        };
        if let Some(old) = old {
            self.uncharge(path, &old);
        }
    }

    /// Takes the node at `path` away. Parents and children are the caller's business.
    pub fn remove(&mut self, path: &str) -> Option<Node> {
        let node = self.nodes.remove(path)?;
        self.uncharge(path, &node);
        Some(node)
    }

    fn uncharge(&mut self, path: &str, node: &Node) {
        let owner = node.perms.owner();
        self.accounts.discharge(owner, node.footprint(path));
        self.accounts.change(owner, |account| {
            account.nodes = account.nodes.saturating_sub(1)
        });
    }

    /// Paths of the nodes for which `wanted` holds, in no order that means anything.
    #[must_use]
    pub fn paths_where(&self, wanted: impl Fn(&Node) -> bool) -> Vec<String> {
        self.nodes
            .iter()
            .filter(|(_, node)| wanted(node))
            .map(|(path, _)| String::from(&**path))
            .collect()
    }

    /// Number of nodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Never: `/` is always there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Whether the tree is whole: every child has its parent and every parent its children. For tests and `CONTROL check`.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        let listed = self.nodes.iter().all(|(path, node)| {
            node.children.iter().all(|name| {
                self.nodes
                    .contains_key(crate::path::join(path, name).as_str())
            })
        });
        let names: usize = self
            .nodes
            .values()
            .map(|node| node.children.iter().count())
            .sum();
        // Three nodes are in no list: "/" and the two special ones.
        listed && names + 3 == self.nodes.len()
    }
}
