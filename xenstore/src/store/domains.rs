//! Requests about domains.

use super::request::{Links, OK};
use super::{FEATURES, Store};
use crate::client::{CONTROL_DOMAIN, Client, DomId, FIRST_RESERVED};
use crate::error::{Error, Result};
use crate::message::{number, only_string, strings};
use crate::path;
use crate::perms::parse_domid;
use crate::quota::{self, QUOTAS, Quota};
use crate::tree::View;
use crate::watch::Scope;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// DOMID_SELF, which a client may use for itself in IS_DOMAIN_INTRODUCED.
const DOMID_SELF: DomId = 0x7ff0;

/// The only argument as a domain's number.
fn only_domid(payload: &[u8]) -> Result<DomId> {
    parse_domid(only_string(payload).ok_or(Error::Einval)?)
}

impl Store {
    /// `<domid>|<gfn>|<port>|`: the store talks with the domain from now on. The frame's number is not needed: grant 1 of the
    /// domain is the ring.
    ///
    /// For a domain that is introduced already, the channel is bound again and the connection starts from nothing.
    pub(super) fn introduce(&mut self, links: &mut dyn Links, payload: &[u8]) -> Result<Vec<u8>> {
        let mut arguments = strings(payload);
        let (Some(domid), Some(_gfn), Some(port)) =
            (arguments.next(), arguments.next(), arguments.next())
        else {
            return Err(Error::Einval);
        };
        let domid = parse_domid(domid)?;
        let port = number(port).filter(|port| *port > 0).ok_or(Error::Einval)?;
        if domid == CONTROL_DOMAIN || domid >= FIRST_RESERVED {
            return Err(Error::Einval);
        }
        let features = self
            .features
            .get(&domid)
            .copied()
            .unwrap_or_else(|| self.features_of(domid));
        links.connect(domid, port, features)?;
        if self.domains.contains_key(&domid) {
            self.reset(domid);
            links.reset(domid);
        } else {
            self.connect(domid);
            self.fire_special("@introduceDomain", domid);
        }
        Ok(OK.to_vec())
    }

    pub(super) fn release_request(
        &mut self,
        links: &mut dyn Links,
        payload: &[u8],
    ) -> Result<Vec<u8>> {
        let domid = only_domid(payload)?;
        if domid == CONTROL_DOMAIN {
            return Err(Error::Einval);
        }
        if !self.domains.contains_key(&domid) {
            return Err(Error::Enoent);
        }
        self.release(links, domid);
        Ok(OK.to_vec())
    }

    /// The domain is gone: so is its connection, what it owns, and every permission that it had.
    pub(super) fn release(&mut self, links: &mut dyn Links, domid: DomId) {
        self.reset(domid);
        self.domains.remove(&domid);
        for path in self.db.paths_where(|node| node.perms.owner() == domid) {
            // Gone already if it was below one of the others.
            if self.db.get(&path).is_some() && !path.starts_with('@') && path != path::ROOT {
                let _ = self.remove_orphan(&path);
            }
        }
        for path in self.db.paths_where(|node| node.perms.clone().forget(domid)) {
            if let Some(mut node) = self.db.get(&path).cloned() {
                node.perms.forget(domid);
                self.db.put(&path, node);
            }
        }
        self.db.accounts.forget_limits(domid);
        self.features.remove(&domid);
        links.disconnect(domid);
        self.fire_special("@releaseDomain", domid);
    }

    fn remove_orphan(&mut self, path: &str) -> Result<()> {
        let doomed = View {
            db: &mut self.db,
            transaction: None,
            client: Client::CONTROL,
        }
        .doomed(path)?;
        for node in &doomed {
            let scope = if node == path {
                Scope::Subtree
            } else {
                Scope::Exact
            };
            self.fire(None, node, scope, None);
            self.db.remove(node);
        }
        View {
            db: &mut self.db,
            transaction: None,
            client: Client::CONTROL,
        }
        .unlink(path)
    }

    /// Nothing to do: that a domain has shut down is known to the control domain, not to the store.
    pub(super) fn resume(&mut self, payload: &[u8]) -> Result<Vec<u8>> {
        let domid = only_domid(payload)?;
        if self.domains.contains_key(&domid) {
            Ok(OK.to_vec())
        } else {
            Err(Error::Enoent)
        }
    }

    pub(super) fn get_domain_path(payload: &[u8]) -> Result<Vec<u8>> {
        Ok(format!("{}\0", path::home(only_domid(payload)?)).into_bytes())
    }

    pub(super) fn is_domain_introduced(&mut self, payload: &[u8]) -> Result<Vec<u8>> {
        let domid = only_domid(payload)?;
        let introduced = domid == DOMID_SELF || self.domains.contains_key(&domid);
        Ok(if introduced { b"T\0" } else { b"F\0" }.to_vec())
    }

    /// `<domid>|<target>|`: the first may do what the second may.
    pub(super) fn set_target(&mut self, payload: &[u8]) -> Result<Vec<u8>> {
        let mut arguments = strings(payload);
        let (Some(domid), Some(target)) = (arguments.next(), arguments.next()) else {
            return Err(Error::Einval);
        };
        let (domid, target) = (parse_domid(domid)?, parse_domid(target)?);
        if !self.domains.contains_key(&target) {
            return Err(Error::Enoent);
        }
        self.domains.get_mut(&domid).ok_or(Error::Enoent)?.target = Some(target);
        Ok(OK.to_vec())
    }

    /// Without an argument the client's own features, with one those of that domain.
    pub(super) fn get_feature(&mut self, domid: DomId, payload: &[u8]) -> Result<Vec<u8>> {
        let mut arguments = strings(payload);
        let asked = match (arguments.next(), arguments.next()) {
            (None, _) => domid,
            (Some(_), _) if !self.client(domid).is_privileged() => return Err(Error::Eacces),
            (Some(asked), None) => parse_domid(asked)?,
            _ => return Err(Error::Einval),
        };
        let features = self
            .features
            .get(&asked)
            .copied()
            .unwrap_or_else(|| self.features_of(asked));
        Ok(format!("{features}\0").into_bytes())
    }

    /// `<domid>|<features>|`, before the domain is introduced.
    pub(super) fn set_feature(&mut self, payload: &[u8]) -> Result<Vec<u8>> {
        let mut arguments = strings(payload);
        let (Some(domid), Some(features), None) =
            (arguments.next(), arguments.next(), arguments.next())
        else {
            return Err(Error::Einval);
        };
        let domid = parse_domid(domid)?;
        let features = number(features)
            .filter(|features| features & !FEATURES == 0)
            .ok_or(Error::Einval)?;
        if self.domains.contains_key(&domid) {
            return Err(Error::Ebusy);
        }
        self.features.insert(domid, features);
        Ok(OK.to_vec())
    }

    /// Nothing: the names of all quotas. A name: everyone's limit. A domain and a name: that domain's.
    pub(super) fn get_quota(&mut self, payload: &[u8]) -> Result<Vec<u8>> {
        let arguments: Vec<_> = strings(payload).collect();
        let (limits, name) = match arguments.as_slice() {
            [] => {
                let names: Vec<_> = QUOTAS.iter().map(|(_, name, ..)| *name).collect();
                return Ok(format!("{}\0", names.join(" ")).into_bytes());
            }
            [name] => (self.db.accounts.limits, name),
            [domid, name] => (self.db.accounts.limits_of(parse_domid(domid)?), name),
            _ => return Err(Error::Einval),
        };
        let quota = quota::by_name(name).ok_or(Error::Einval)?;
        Ok(format!("{}\0", limits.raw(quota)).into_bytes())
    }

    /// `[<domid>|]<name>|<value>|`
    pub(super) fn set_quota(&mut self, payload: &[u8]) -> Result<Vec<u8>> {
        let arguments: Vec<_> = strings(payload).collect();
        let (domid, name, value) = match arguments.as_slice() {
            [name, value] => (None, name, value),
            [domid, name, value] => (Some(parse_domid(domid)?), name, value),
            _ => return Err(Error::Einval),
        };
        let quota: Quota = quota::by_name(name).ok_or(Error::Einval)?;
        let value = number(value)
            .filter(|value| *value < u32::MAX)
            .ok_or(Error::Einval)?;
        match domid {
            None => self.db.accounts.limits.set(quota, value),
            Some(domid) => self.db.accounts.set_limit(domid, quota, value),
        }
        Ok(OK.to_vec())
    }

    /// Paths and tokens of a domain's watches, one a line, for `CONTROL`.
    pub(super) fn watch_report(&self, domid: DomId) -> String {
        let mut report = String::new();
        for (path, watch) in self.watches.of(domid) {
            report.push_str(&format!("{path} {}\n", watch.token.escape_ascii()));
        }
        report
    }
}
