//! Requests about transactions.

use super::Store;
use super::request::OK;
use crate::client::DomId;
use crate::error::{Error, Result};
use crate::message::only_string;
use crate::quota::Quota;
use crate::tree::Transaction;
use crate::watch::Scope;
use alloc::format;
use alloc::vec::Vec;

/// Most transactions of the control domain, which has no quota: so that a mistake there does not fill the store.
const CONTROL_LIMIT: usize = 1000;

impl Store {
    pub(super) fn has_transaction(&self, domid: DomId, tx: u32) -> bool {
        self.domains
            .get(&domid)
            .is_some_and(|domain| domain.transactions.contains_key(&tx))
    }

    pub(super) fn transaction_start(&mut self, domid: DomId, tx: u32) -> Result<Vec<u8>> {
        if tx != 0 {
            return Err(Error::Ebusy);
        }
        let client = self.client(domid);
        let domain = self.domains.get_mut(&domid).ok_or(Error::Enoent)?;
        let count = domain.transactions.len() + 1;
        if self
            .db
            .accounts
            .exceeded(client, Quota::Transactions, count)
            || count > CONTROL_LIMIT
        {
            return Err(Error::Enospc);
        }
        // There are far fewer transactions than numbers, so this ends; 0 means "none" on the wire.
        while domain.next_transaction == 0
            || domain.transactions.contains_key(&domain.next_transaction)
        {
            domain.next_transaction = domain.next_transaction.wrapping_add(1);
        }
        let id = domain.next_transaction;
        domain.next_transaction = id.wrapping_add(1);
        domain.transactions.insert(id, Transaction::default());
        self.db
            .accounts
            .change(domid, |account| account.transactions = count);
        Ok(format!("{id}\0").into_bytes())
    }

    /// `T|` commits, `F|` discards. Whatever comes of it, the transaction is over.
    pub(super) fn transaction_end(
        &mut self,
        domid: DomId,
        tx: u32,
        payload: &[u8],
    ) -> Result<Vec<u8>> {
        let commit = match only_string(payload) {
            Some(b"T") => true,
            Some(b"F") => false,
            _ => return Err(Error::Einval),
        };
        let client = self.client(domid);
        let domain = self.domains.get_mut(&domid).ok_or(Error::Enoent)?;
        let transaction = domain.transactions.remove(&tx).ok_or(Error::Enoent)?;
        let count = domain.transactions.len();
        self.db
            .accounts
            .change(domid, |account| account.transactions = count);
        if !commit {
            transaction.discard(&mut self.db, client);
            return Ok(OK.to_vec());
        }
        let events = transaction.commit(&mut self.db, client)?;
        let cause = self.cause(domid);
        for event in events {
            let scope = if event.exact {
                Scope::Exact
            } else {
                Scope::Subtree
            };
            self.fire(cause, &event.path, scope, event.old_perms.as_ref());
        }
        Ok(OK.to_vec())
    }
}
