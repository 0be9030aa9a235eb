//! Requests about nodes.

use super::Store;
use super::request::OK;
use crate::client::DomId;
use crate::error::{Error, Result};
use crate::message::{PAYLOAD_MAX, first_string, number, only_string, strings};
use crate::path;
use crate::perms::Perms;
use crate::quota::Quota;
use crate::tree::View;
use crate::watch::Scope;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

impl Store {
    /// Makes the name in a message absolute.
    pub(super) fn canonical(&self, domid: DomId, name: &[u8], special: bool) -> Result<String> {
        let home = self
            .domains
            .get(&domid)
            .map_or("", |domain| domain.home.as_str());
        let privileged = self.client(domid).is_privileged();
        let limit = self
            .db
            .accounts
            .limits_of(domid)
            .get(Quota::PathMax)
            .filter(|_| !privileged);
        path::canonicalize(name, home, special, limit)
    }

    /// The tree as this request sees it.
    pub(super) fn view(&mut self, domid: DomId, tx: u32) -> View<'_> {
        let client = self.client(domid);
        let transaction = self
            .domains
            .get_mut(&domid)
            .and_then(|domain| domain.transactions.get_mut(&tx));
        View {
            db: &mut self.db,
            transaction,
            client,
        }
    }

    /// Tells watches of a change, now or at the transaction's commit.
    fn changed(
        &mut self,
        domid: DomId,
        tx: u32,
        path: &str,
        scope: Scope,
        old_perms: Option<&Perms>,
    ) {
        if let Some(transaction) = self.view(domid, tx).transaction {
            transaction.note_event(path, scope == Scope::Exact);
            return;
        }
        self.fire(self.cause(domid), path, scope, old_perms);
    }

    pub(super) fn read(&mut self, domid: DomId, tx: u32, payload: &[u8]) -> Result<Vec<u8>> {
        let path = self.canonical(domid, only_string(payload).ok_or(Error::Einval)?, false)?;
        Ok(self.view(domid, tx).read(&path)?.value.clone())
    }

    pub(super) fn directory(&mut self, domid: DomId, tx: u32, payload: &[u8]) -> Result<Vec<u8>> {
        let path = self.canonical(domid, only_string(payload).ok_or(Error::Einval)?, false)?;
        let mut view = self.view(domid, tx);
        let children = view.read(&path)?.children.wire();
        // Too long a list is an error anyway, so it is not copied.
        if children.len() > PAYLOAD_MAX {
            Err(Error::E2big)
        } else {
            Ok(children.to_vec())
        }
    }

    /// `<path>|<offset>|`: the node's generation, then as many whole names from `offset` on as fit; an empty name ends
    /// the list.
    pub(super) fn directory_part(
        &mut self,
        domid: DomId,
        tx: u32,
        payload: &[u8],
    ) -> Result<Vec<u8>> {
        let mut arguments = strings(payload);
        let (Some(name), Some(offset), None) =
            (arguments.next(), arguments.next(), arguments.next())
        else {
            return Err(Error::Einval);
        };
        let path = self.canonical(domid, name, false)?;
        let offset = number(offset).ok_or(Error::Einval)?;
        let mut view = self.view(domid, tx);
        let node = view.read(&path)?;
        let mut reply = format!("{}\0", node.generation).into_bytes();
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|offset| node.children.wire().get(offset..))
            .unwrap_or_default();
        let mut taken = 0;
        for child in rest.split_inclusive(|byte| *byte == 0) {
            if reply.len() + child.len() + 1 > PAYLOAD_MAX {
                return Ok(reply);
            }
            reply.extend_from_slice(child);
            taken += child.len();
        }
        debug_assert_eq!(taken, rest.len());
        reply.push(0);
        Ok(reply)
    }

    pub(super) fn write(&mut self, domid: DomId, tx: u32, payload: &[u8]) -> Result<Vec<u8>> {
        let (name, value) = first_string(payload).ok_or(Error::Einval)?;
        let path = self.canonical(domid, name, false)?;
        self.view(domid, tx).write(&path, value)?;
        self.changed(domid, tx, &path, Scope::Subtree, None);
        Ok(OK.to_vec())
    }

    pub(super) fn mkdir(&mut self, domid: DomId, tx: u32, payload: &[u8]) -> Result<Vec<u8>> {
        let path = self.canonical(domid, only_string(payload).ok_or(Error::Einval)?, false)?;
        if self.view(domid, tx).make_directory(&path)? {
            self.changed(domid, tx, &path, Scope::Subtree, None);
        }
        Ok(OK.to_vec())
    }

    pub(super) fn rm(&mut self, domid: DomId, tx: u32, payload: &[u8]) -> Result<Vec<u8>> {
        let path = self.canonical(domid, only_string(payload).ok_or(Error::Einval)?, false)?;
        self.remove(domid, tx, &path)?;
        Ok(OK.to_vec())
    }

    /// Removes a node and everything below. Watches below hear that exactly their node went, before those above hear
    /// of the whole.
    pub(super) fn remove(&mut self, domid: DomId, tx: u32, path: &str) -> Result<()> {
        let doomed = self.view(domid, tx).doomed(path)?;
        for node in &doomed {
            let scope = if node == path {
                Scope::Subtree
            } else {
                Scope::Exact
            };
            if tx == 0 {
                // While the node is there: its permissions say who may hear.
                self.changed(domid, tx, node, scope, None);
                self.view(domid, tx).take(node)?;
            } else {
                self.view(domid, tx).take(node)?;
                self.changed(domid, tx, node, scope, None);
            }
        }
        if doomed.is_empty() {
            Ok(())
        } else {
            self.view(domid, tx).unlink(path)
        }
    }

    pub(super) fn get_perms(&mut self, domid: DomId, tx: u32, payload: &[u8]) -> Result<Vec<u8>> {
        let path = self.canonical(domid, only_string(payload).ok_or(Error::Einval)?, true)?;
        Ok(self.view(domid, tx).read(&path)?.perms.to_wire())
    }

    pub(super) fn set_perms(&mut self, domid: DomId, tx: u32, payload: &[u8]) -> Result<Vec<u8>> {
        let mut arguments = strings(payload);
        let name = arguments.next().ok_or(Error::Einval)?;
        let perms = Perms::parse(arguments)?;
        let path = self.canonical(domid, name, true)?;
        let old = self.view(domid, tx).set_perms(&path, perms)?;
        self.changed(domid, tx, &path, Scope::Subtree, Some(&old));
        Ok(OK.to_vec())
    }
}
