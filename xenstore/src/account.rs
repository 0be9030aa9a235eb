//! What each domain uses, and all of them together.

use crate::client::{CONTROL_DOMAIN, Client, DomId};
use crate::error::{Error, Result};
use crate::quota::{Limits, Quota};
use alloc::collections::BTreeMap;

/// What one domain uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Nodes that it owns.
    pub nodes: usize,
    /// Bytes of its nodes, watches, transactions and messages.
    pub memory: usize,
    /// Watches.
    pub watches: usize,
    /// Open transactions.
    pub transactions: usize,
    /// Its own limits, where they differ from everyone's.
    pub limits: Option<Limits>,
}

/// Every domain's account.
///
/// The store's own domain has little memory. So that the allocator never fails, all accounts together stop at a total:
/// guests at three quarters of it, the control domain, which must be able to clean up, at the whole.
#[derive(Clone, Debug)]
pub struct Accounts {
    accounts: BTreeMap<DomId, Account>,
    /// Limits of every domain that has none of its own.
    pub limits: Limits,
    total: usize,
    total_limit: usize,
}

impl Accounts {
    /// Nobody uses anything; `total_limit` bytes are there for all.
    #[must_use]
    pub fn new(total_limit: usize) -> Self {
        Accounts {
            accounts: BTreeMap::new(),
            limits: Limits::default(),
            total: 0,
            total_limit,
        }
    }

    /// What `domid` uses.
    #[must_use]
    pub fn get(&self, domid: DomId) -> Account {
        self.accounts.get(&domid).copied().unwrap_or_default()
    }

    /// Bytes that all domains use together.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }

    /// The limits that hold for `domid`.
    #[must_use]
    pub fn limits_of(&self, domid: DomId) -> Limits {
        self.accounts
            .get(&domid)
            .and_then(|account| account.limits)
            .unwrap_or(self.limits)
    }

    /// Changes one limit of one domain.
    pub fn set_limit(&mut self, domid: DomId, quota: Quota, value: u32) {
        let mut limits = self.limits_of(domid);
        limits.set(quota, value);
        self.change(domid, |account| account.limits = Some(limits));
    }

    /// Whether `client` may not have `value` of `quota`; the control domain may have anything.
    #[must_use]
    pub fn exceeded(&self, client: Client, quota: Quota, value: usize) -> bool {
        !client.is_privileged() && self.limits_of(client.domid).exceeded(quota, value)
    }

    /// Whether `client` may use `bytes` more.
    ///
    /// # Errors
    /// [`Error::Enospc`] for its own quota, [`Error::Enomem`] when the store is full.
    pub fn check_memory(&self, client: Client, bytes: usize) -> Result<()> {
        let memory = self.get(client.domid).memory.saturating_add(bytes);
        if self.exceeded(client, Quota::Memory, memory) {
            return Err(Error::Enospc);
        }
        let limit = if client.is_privileged() {
            self.total_limit
        } else {
            self.total_limit / 4 * 3
        };
        if self.total.saturating_add(bytes) > limit {
            Err(Error::Enomem)
        } else {
            Ok(())
        }
    }

    /// Books `bytes` on `domid`'s account.
    pub fn charge(&mut self, domid: DomId, bytes: usize) {
        self.total = self.total.saturating_add(bytes);
        self.change(domid, |account| {
            account.memory = account.memory.saturating_add(bytes)
        });
    }

    /// Takes `bytes` back.
    pub fn discharge(&mut self, domid: DomId, bytes: usize) {
        self.total = self.total.saturating_sub(bytes);
        self.change(domid, |account| {
            account.memory = account.memory.saturating_sub(bytes)
        });
    }

    /// Changes an account; one with nothing on it is forgotten.
    pub fn change(&mut self, domid: DomId, change: impl FnOnce(&mut Account)) {
        let account = self.accounts.entry(domid).or_default();
        change(account);
        if *account == Account::default() && domid != CONTROL_DOMAIN {
            self.accounts.remove(&domid);
        }
    }

    /// Forgets a domain's own limits.
    pub fn forget_limits(&mut self, domid: DomId) {
        self.change(domid, |account| account.limits = None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_and_the_total() {
        let mut accounts = Accounts::new(1000);
        let guest = Client {
            domid: 5,
            target: None,
        };
        assert_eq!(accounts.check_memory(guest, 751), Err(Error::Enomem));
        accounts.charge(5, 700);
        assert_eq!(accounts.check_memory(guest, 50), Ok(()));
        assert_eq!(
            accounts.check_memory(
                Client {
                    domid: 6,
                    target: None
                },
                51
            ),
            Err(Error::Enomem)
        );
        assert_eq!(accounts.check_memory(Client::CONTROL, 300), Ok(()));
        assert_eq!(
            accounts.check_memory(Client::CONTROL, 301),
            Err(Error::Enomem)
        );
        accounts.set_limit(5, Quota::Memory, 710);
        assert_eq!(accounts.check_memory(guest, 11), Err(Error::Enospc));
        accounts.forget_limits(5);
        accounts.discharge(5, 700);
        assert_eq!((accounts.total(), accounts.accounts.len()), (0, 0));
    }
}
