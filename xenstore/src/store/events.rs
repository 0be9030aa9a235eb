//! From changes to messages.

use super::{EVENT_TIMEOUT, Store};
use crate::client::{CONTROL_DOMAIN, Client, DomId};
use crate::message::{Header, PAYLOAD_MAX};
use crate::output::Cause;
use crate::path;
use crate::perms::{Perms, READ};
use crate::watch::Scope;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;
use xen_abi::io::xs_wire;

impl Store {
    /// Tells everyone who watches that `path` has changed.
    ///
    /// A client hears of it if it may read the node, could read it before (`old_perms`), or may read the node above.
    pub(super) fn fire(
        &mut self,
        cause: Option<Cause>,
        path: &str,
        scope: Scope,
        old_perms: Option<&Perms>,
    ) {
        let node = self.db.get(path).map(|node| node.perms.clone());
        let above = node
            .as_ref()
            .and_then(|_| self.db.get(path::parent(path)))
            .map(|node| node.perms.clone());
        let perms: Vec<&Perms> = [old_perms, node.as_ref(), above.as_ref()]
            .into_iter()
            .flatten()
            .collect();
        self.fire_readable(cause, path, scope, &perms);
    }

    /// [`Store::fire`] where any of `perms` gives the right to hear of it.
    fn fire_readable(&mut self, cause: Option<Cause>, path: &str, scope: Scope, perms: &[&Perms]) {
        let mut permitted: BTreeMap<DomId, bool> = BTreeMap::new();
        let mut events = Vec::new();
        for watch in self.watches.matching(path, scope) {
            let domid = watch.domid;
            let may_hear = *permitted.entry(domid).or_insert_with(|| {
                let client: Client = self.client(domid);
                perms.iter().any(|perms| perms.allowed(client) & READ != 0)
            });
            if may_hear {
                events.push((domid, watch.prefix, watch.token.clone()));
            }
        }
        for (domid, prefix, token) in events {
            self.send_event(cause, domid, path.get(prefix..).unwrap_or(path), &token);
        }
    }

    /// Puts one event into a client's queue. It is lost when the client's memory is used up: nothing can be reported
    /// to it, and nobody else may suffer.
    pub(super) fn send_event(
        &mut self,
        cause: Option<Cause>,
        domid: DomId,
        path: &str,
        token: &[u8],
    ) {
        let mut payload = Vec::with_capacity(path.len() + token.len() + 2);
        for part in [path.as_bytes(), token] {
            payload.extend_from_slice(part);
            payload.push(0);
        }
        if payload.len() > PAYLOAD_MAX {
            return;
        }
        let header = Header {
            kind: xs_wire::XS_WATCH_EVENT,
            ..Header::default()
        };
        let bytes = header.with_payload(&payload);
        let client = self.client(domid);
        let Some(domain) = self.domains.get_mut(&domid) else {
            return;
        };
        // Special events are never alike: two of them are two domains.
        let footprint = if path.starts_with('@') {
            Some(bytes.len())
        } else {
            domain.output.event_footprint(&bytes)
        };
        let Some(footprint) = footprint else { return };
        if self.db.accounts.check_memory(client, footprint).is_err() {
            self.note_lost_event(domid);
            return;
        }
        let deadline = (!client.is_privileged()).then(|| self.now.saturating_add(EVENT_TIMEOUT));
        let footprint = domain.output.push_event(bytes, cause, deadline);
        self.db.accounts.charge(domid, footprint);
        if let Some((causer, request)) = cause
            && let Some(causer) = self.domains.get_mut(&causer)
        {
            *causer.pending.entry(request).or_default() += 1;
        }
    }

    /// Tells of a domain that came or went: `name` alone, and `name/<domid>` to those who want the number.
    pub(super) fn fire_special(&mut self, name: &str, domid: DomId) {
        let Some(perms) = self.db.get(name).map(|node| node.perms.clone()) else {
            return;
        };
        self.fire_readable(None, name, Scope::WithoutDepth, &[&perms]);
        self.fire_readable(
            None,
            &format!("{name}/{domid}"),
            Scope::WithDepth,
            &[&perms],
        );
    }

    /// Who must wait until events have been taken: the guest whose request made them.
    pub(super) fn cause(&self, domid: DomId) -> Option<Cause> {
        let domain = self.domains.get(&domid)?;
        (domid != CONTROL_DOMAIN).then_some((domid, domain.requests))
    }
}
