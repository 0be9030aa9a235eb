//! The tree as one request sees it: through its transaction or directly, with its client's permissions and quotas.

use super::database::Database;
use super::node::Node;
use super::transaction::Transaction;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::path::{self, ROOT};
use crate::perms::{OWNER, Perms, READ, WRITE};
use crate::quota::Quota;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

/// Access to the tree for one request. A request that fails has changed nothing, unless its transaction has failed with it.
#[derive(Debug)]
pub struct View<'a> {
    /// What everyone sees.
    pub db: &'a mut Database,
    /// The transaction that the request is part of.
    pub transaction: Option<&'a mut Transaction>,
    /// Who asks.
    pub client: Client,
}

impl View<'_> {
    fn node(&mut self, path: &str) -> Result<Option<&Node>> {
        match &mut self.transaction {
            None => Ok(self.db.get(path)),
            Some(transaction) => Ok(transaction
                .touch(self.db, self.client, path, true)?
                .node
                .as_ref()),
        }
    }

    fn set(&mut self, path: &str, node: Option<Node>) -> Result<()> {
        if let Some(transaction) = &mut self.transaction {
            return transaction.set(self.db, self.client, path, node);
        }
        match node {
            Some(node) => self.db.put(path, node),
            None => drop(self.db.remove(path)),
        }
        Ok(())
    }

    /// Checks that there is a node and that the client may do all of `want` with it.
    ///
    /// # Errors
    /// [`Error::Enoent`], [`Error::Eacces`]; the former only where the client may know.
    fn check(&mut self, path: &str, want: u8) -> Result<()> {
        let client = self.client;
        let error = match self.node(path)?.map(|node| node.perms.allowed(client)) {
            Some(allowed) if allowed & want == want => return Ok(()),
            Some(_) => Error::Eacces,
            None => Error::Enoent,
        };
        // The nearest node above decides whether the client may know what is (not) here.
        let mut above = path;
        let allowed = loop {
            above = path::parent(above);
            if let Some(node) = self.node(above)? {
                break node.perms.allowed(client);
            }
            if above == ROOT {
                break 0;
            }
        };
        Err(if allowed & want != 0 {
            error
        } else {
            Error::Eacces
        })
    }

    /// The node at `path`, which the client must be allowed to read.
    ///
    /// # Errors
    /// As [`View::check`]; quotas of the transaction.
    pub fn read(&mut self, path: &str) -> Result<&Node> {
        self.check(path, READ)?;
        self.node(path)?.ok_or(Error::Enoent)
    }

    /// Sets the value at `path`, with empty nodes above it where there are none.
    ///
    /// # Errors
    /// Permissions and quotas.
    pub fn write(&mut self, path: &str, value: &[u8]) -> Result<()> {
        match self.check(path, WRITE) {
            Ok(()) => {
                let mut node = self.node(path)?.cloned().ok_or(Error::Enoent)?;
                let before = node.footprint(path);
                node.value = value.to_vec();
                self.check_size(&node)?;
                self.db
                    .accounts
                    .check_memory(self.client, node.footprint(path).saturating_sub(before))?;
                self.set(path, Some(node))
            }
            Err(Error::Enoent) => self.create(path, value),
            Err(error) => Err(error),
        }
    }

    /// Makes an empty node unless there is one; whether there was none.
    ///
    /// # Errors
    /// Permissions and quotas.
    pub fn make_directory(&mut self, path: &str) -> Result<bool> {
        match self.check(path, WRITE) {
            Ok(()) => Ok(false),
            Err(Error::Enoent) => self.create(path, &[]).map(|()| true),
            Err(error) => Err(error),
        }
    }

    fn create(&mut self, path: &str, value: &[u8]) -> Result<()> {
        // Up to the first node that exists, then down again.
        let mut missing = vec![path];
        let mut above = path::parent(path);
        while self.node(above)?.is_none() {
            if above == ROOT {
                return Err(Error::Eio);
            }
            missing.push(above);
            above = path::parent(above);
        }
        let mut parent = self.node(above)?.cloned().ok_or(Error::Eio)?;
        // Permissions come from the parent; what a guest makes is its own.
        let mut perms = parent.perms.clone();
        if !self.client.is_privileged() {
            perms.set_owner(self.client.domid);
        }
        let top = missing.last().copied().unwrap_or(path);
        parent.children.add(path::basename(top));
        self.check_size(&parent)?;
        let nodes = self.new_nodes(path, value, &missing, &perms);
        nodes
            .iter()
            .try_for_each(|(_, node)| self.check_size(node))?;
        self.check_nodes(perms.owner(), nodes.len())?;
        let bytes: usize = nodes.iter().map(|(path, node)| node.footprint(path)).sum();
        self.db
            .accounts
            .check_memory(self.client, bytes + path::basename(top).len() + 1)?;
        self.set(above, Some(parent))?;
        nodes
            .into_iter()
            .try_for_each(|(path, node)| self.set(&path, Some(node)))
    }

    /// The nodes for `missing` paths, deepest first, each the only child of the next.
    fn new_nodes(
        &self,
        path: &str,
        value: &[u8],
        missing: &[&str],
        perms: &Perms,
    ) -> Vec<(String, Node)> {
        let mut nodes = Vec::with_capacity(missing.len());
        let mut child = None;
        for name in missing {
            let mut node = Node::new(perms.clone());
            if *name == path {
                node.value = value.to_vec();
            }
            if let Some(child) = child {
                node.children.add(path::basename(child));
            }
            child = Some(*name);
            nodes.push((name.to_string(), node));
        }
        nodes
    }

    fn check_size(&self, node: &Node) -> Result<()> {
        if self
            .db
            .accounts
            .exceeded(self.client, Quota::NodeSize, node.size())
        {
            Err(Error::Enospc)
        } else {
            Ok(())
        }
    }

    /// Whether the client may own `more` nodes.
    fn check_nodes(&self, owner: u16, more: usize) -> Result<()> {
        let pending = self
            .transaction
            .as_ref()
            .map_or(0, |transaction| transaction.nodes_of(owner));
        let nodes = self
            .db
            .accounts
            .get(owner)
            .nodes
            .saturating_add_signed(pending)
            .saturating_add(more);
        if self.db.accounts.exceeded(self.client, Quota::Nodes, nodes) {
            Err(Error::Enospc)
        } else {
            Ok(())
        }
    }

    /// The nodes that go with `path`: children before their parents, brothers in their order, `path` last. Empty when there
    /// is no such node but one above it.
    ///
    /// # Errors
    /// Permissions; [`Error::Enoent`] without a parent, [`Error::Einval`] for `/`.
    pub fn doomed(&mut self, path: &str) -> Result<Vec<String>> {
        match self.check(path, WRITE) {
            Ok(()) if path == ROOT => return Err(Error::Einval),
            Ok(()) => {}
            Err(Error::Enoent) if self.node(path::parent(path))?.is_some() => return Ok(Vec::new()),
            Err(error) => return Err(error),
        }
        self.subtree(path)
    }

    fn subtree(&mut self, path: &str) -> Result<Vec<String>> {
        let mut order = Vec::new();
        let mut stack = vec![(path.to_string(), false)];
        while let Some((path, expanded)) = stack.pop() {
            if expanded {
                order.push(path);
                continue;
            }
            let Some(node) = self.node(&path)? else {
                continue;
            };
            let children: Vec<_> = node
                .children
                .iter()
                .map(|name| (path::join(&path, name), false))
                .collect();
            stack.push((path, true));
            stack.extend(children.into_iter().rev());
        }
        Ok(order)
    }

    /// Takes one of the [`View::doomed`] away; children and parents are the caller's business.
    ///
    /// # Errors
    /// Quotas of the transaction.
    pub fn take(&mut self, path: &str) -> Result<()> {
        self.set(path, None)
    }

    /// Takes the name of a node that is gone out of its parent.
    ///
    /// # Errors
    /// Quotas of the transaction.
    pub fn unlink(&mut self, path: &str) -> Result<()> {
        let above = path::parent(path);
        let Some(mut parent) = self.node(above)?.cloned() else {
            return Ok(());
        };
        parent.children.remove(path::basename(path));
        self.set(above, Some(parent))
    }

    /// Sets the permissions at `path`; returns the old ones.
    ///
    /// # Errors
    /// [`Error::Eperm`] when a guest tries to change the owner; permissions and quotas.
    pub fn set_perms(&mut self, path: &str, perms: Perms) -> Result<Perms> {
        if self
            .db
            .accounts
            .exceeded(self.client, Quota::NodePermissions, perms.len())
        {
            return Err(Error::Enospc);
        }
        self.check(path, WRITE | OWNER)?;
        let mut node = self.node(path)?.cloned().ok_or(Error::Enoent)?;
        if !self.client.is_privileged() && perms.owner() != node.perms.owner() {
            return Err(Error::Eperm);
        }
        let old = core::mem::replace(&mut node.perms, perms);
        self.check_size(&node)?;
        self.set(path, Some(node))?;
        Ok(old)
    }
}
