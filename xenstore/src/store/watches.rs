//! Requests about watches.

use super::Store;
use super::request::OK;
use crate::client::DomId;
use crate::error::{Error, Result};
use crate::message::{number, strings};
use crate::path;
use crate::quota::Quota;
use crate::watch::Watches;
use alloc::vec::Vec;
use xen_abi::io::xs_wire::XENSTORE_SERVER_FEATURE_WATCHDEPTH;

impl Store {
    /// `<path>|<token>|[<depth>|]`. The first event, behind the reply, has the name as the client gave it.
    pub(super) fn watch<'a>(
        &mut self,
        domid: DomId,
        payload: &'a [u8],
        first_event: &mut Option<(&'a str, &'a [u8])>,
    ) -> Result<Vec<u8>> {
        let mut arguments = strings(payload);
        let (Some(name), Some(token)) = (arguments.next(), arguments.next()) else {
            return Err(Error::Einval);
        };
        let depth = match (arguments.next(), arguments.next()) {
            (None, _) => None,
            (Some(depth), None)
                if self.features_of(domid) & XENSTORE_SERVER_FEATURE_WATCHDEPTH != 0 =>
            {
                let depth = number(depth).and_then(|depth| usize::try_from(depth).ok());
                Some(depth.ok_or(Error::Einval)?)
            }
            _ => return Err(Error::Einval),
        };
        let path = self.canonical(domid, name, true)?;
        if self.watches.contains(domid, &path, token) {
            return Err(Error::Eexist);
        }
        let client = self.client(domid);
        let count = self.db.accounts.get(domid).watches + 1;
        if self.db.accounts.exceeded(client, Quota::Watches, count) {
            return Err(Error::Enospc);
        }
        let bytes = Watches::footprint(&path, token);
        self.db.accounts.check_memory(client, bytes)?;
        let domain = self.domains.get(&domid).ok_or(Error::Enoent)?;
        let name = core::str::from_utf8(name).map_err(|_| Error::Einval)?;
        let prefix = if path::is_relative(name) {
            domain.home.len() + 1
        } else {
            0
        };
        self.watches
            .add(domid, domain.connection, &path, token, depth, prefix);
        self.db.accounts.charge(domid, bytes);
        self.db
            .accounts
            .change(domid, |account| account.watches = count);
        *first_event = Some((name, token));
        Ok(OK.to_vec())
    }

    /// `<path>|<token>|`
    pub(super) fn unwatch(&mut self, domid: DomId, payload: &[u8]) -> Result<Vec<u8>> {
        let mut arguments = strings(payload);
        let (Some(name), Some(token), None) =
            (arguments.next(), arguments.next(), arguments.next())
        else {
            return Err(Error::Einval);
        };
        let path = self.canonical(domid, name, true)?;
        if !self.watches.remove(domid, &path, token) {
            return Err(Error::Enoent);
        }
        self.db
            .accounts
            .discharge(domid, Watches::footprint(&path, token));
        self.db.accounts.change(domid, |account| {
            account.watches = account.watches.saturating_sub(1)
        });
        Ok(OK.to_vec())
    }
}
