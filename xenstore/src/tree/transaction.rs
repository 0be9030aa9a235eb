//! Changes that wait for their commit.
//!
//! A transaction copies each node when it first touches it, and works on the copies. At the end, every node that was
//! read must be as it was (same generation); then the copies that were changed replace the nodes, at once.

use super::database::Database;
use super::node::Node;
use crate::client::{Client, DomId};
use crate::error::{Error, Result};
use crate::perms::Perms;
use crate::quota::Quota;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

/// Bytes that one touched node costs besides the copy.
const OVERHEAD: usize = 120;

/// A change that watches may want to hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What changed.
    pub path: String,
    /// Only watches on exactly this path hear it: a node that went with its parent.
    pub exact: bool,
    /// Its permissions before, as far as there were any.
    pub old_perms: Option<Perms>,
}

#[derive(Debug)]
pub(super) struct Touched {
    /// The node's generation when it was touched first; `None`: it did not exist.
    base: Option<u64>,
    /// The first touch was to read, so the node must not change until the commit.
    check: bool,
    /// The node as the transaction sees it.
    pub(super) node: Option<Node>,
    modified: bool,
    /// `Some(exact)`: there is an event at the commit.
    event: Option<bool>,
    old_perms: Option<Perms>,
    /// Place in the order of first touches.
    sequence: usize,
}

/// One open transaction.
#[derive(Debug, Default)]
pub struct Transaction {
    touched: BTreeMap<Box<str>, Touched>,
    /// Nodes more (or fewer) of each owner after the commit.
    nodes: BTreeMap<DomId, isize>,
    created: bool,
    failed: bool,
    charged: usize,
}

impl Transaction {
    /// How many nodes more `domid` would own after the commit.
    #[must_use]
    pub fn nodes_of(&self, domid: DomId) -> isize {
        self.nodes.get(&domid).copied().unwrap_or(0)
    }

    /// The transaction's copy of a node; makes it if this is the first touch.
    pub(super) fn touch(
        &mut self,
        db: &mut Database,
        client: Client,
        path: &str,
        check: bool,
    ) -> Result<&mut Touched> {
        if !self.touched.contains_key(path) {
            let original = db.get(path);
            let bytes = OVERHEAD + original.map_or(path.len(), |node| node.footprint(path));
            let full =
                db.accounts
                    .exceeded(client, Quota::TransactionNodes, self.touched.len() + 1);
            if let Some(error) = full
                .then_some(Error::Enospc)
                .or(db.accounts.check_memory(client, bytes).err())
            {
                self.failed = true;
                return Err(error);
            }
            let touched = Touched {
                base: original.map(|node| node.generation),
                check,
                node: original.cloned(),
                modified: false,
                event: None,
                old_perms: original.map(|node| node.perms.clone()),
                sequence: self.touched.len(),
            };
            db.accounts.charge(client.domid, bytes);
            self.charged += bytes;
            self.touched.insert(path.into(), touched);
        }
        self.touched.get_mut(path).ok_or(Error::Eio)
    }

    /// Replaces (or with `None` removes) the transaction's copy.
    pub(super) fn set(
        &mut self,
        db: &mut Database,
        client: Client,
        path: &str,
        node: Option<Node>,
    ) -> Result<()> {
        let touched = self.touch(db, client, path, false)?;
        let old = touched
            .node
            .as_ref()
            .map(|node| (node.perms.owner(), node.footprint(path)));
        let new = node
            .as_ref()
            .map(|node| (node.perms.owner(), node.footprint(path)));
        touched.node = node;
        touched.modified = true;
        if let Some((owner, _)) = old {
            *self.nodes.entry(owner).or_default() -= 1;
        }
        if let Some((owner, _)) = new {
            *self.nodes.entry(owner).or_default() += 1;
        }
        self.created |= old.is_none() && new.is_some();
        let (old, new) = (
            old.map_or(0, |(_, bytes)| bytes),
            new.map_or(0, |(_, bytes)| bytes),
        );
        let (more, less) = (
            new.saturating_sub(old),
            old.saturating_sub(new).min(self.charged),
        );
        db.accounts.charge(client.domid, more);
        db.accounts.discharge(client.domid, less);
        self.charged = self.charged + more - less;
        Ok(())
    }

    /// Notes that watches hear of `path` at the commit. An event for a subtree replaces one for exactly the node.
    pub fn note_event(&mut self, path: &str, exact: bool) {
        if let Some(touched) = self.touched.get_mut(path) {
            touched.event = Some(touched.event.unwrap_or(true) && exact);
        }
    }

    /// Makes the changes everyone's; returns what watches hear of, in the order in which the nodes were touched first.
    ///
    /// # Errors
    /// [`Error::Eagain`] when a node that was read has changed since; [`Error::Enospc`] or [`Error::Enomem`] for the
    /// limits of `client`; nothing is changed then.
    pub fn commit(mut self, db: &mut Database, client: Client) -> Result<Vec<Event>> {
        db.accounts
            .discharge(client.domid, core::mem::take(&mut self.charged));
        self.check(db, client)?;
        let mut touched: Vec<_> = self
            .touched
            .into_iter()
            .filter(|(_, touched)| touched.modified)
            .collect();
        touched.sort_by_key(|(_, touched)| touched.sequence);
        let mut events = Vec::new();
        for (path, touched) in touched {
            match touched.node {
                Some(node) => db.put(&path, node),
                None => drop(db.remove(&path)),
            }
            if let Some(exact) = touched.event {
                events.push(Event {
                    path: String::from(path),
                    exact,
                    old_perms: touched.old_perms,
                });
            }
        }
        Ok(events)
    }

    fn check(&self, db: &Database, client: Client) -> Result<()> {
        if self.failed {
            return Err(Error::Enomem);
        }
        if self.created && !client.is_privileged() {
            for (domid, more) in self.nodes.iter().filter(|(_, more)| **more > 0) {
                let nodes = db.accounts.get(*domid).nodes.saturating_add_signed(*more);
                if db.accounts.limits_of(*domid).exceeded(Quota::Nodes, nodes) {
                    return Err(Error::Enospc);
                }
            }
        }
        let unchanged = |path: &str, touched: &Touched| {
            !touched.check || touched.base == db.get(path).map(|node| node.generation)
        };
        if self
            .touched
            .iter()
            .all(|(path, touched)| unchanged(path, touched))
        {
            Ok(())
        } else {
            Err(Error::Eagain)
        }
    }

    /// Gives everything back without a change.
    pub fn discard(self, db: &mut Database, client: Client) {
        db.accounts.discharge(client.domid, self.charged);
    }
}
