//! All vifs: they appear and go in the store, under `backend/vif`.

use crate::vif::Vif;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use bridge::engine::{Broken, Engine};
use bridge::mac::Mac;
use bridge::switch::PortId;
use domain::store::{Store, StoreAccess};
use domain::xenbus::{XenbusState, backend_event, state};
use domain::{DomId, Errno};

const ROOT: &str = "backend/vif";
const ROOT_TOKEN: &str = "vif";

/// All vifs, by domain and handle.
#[derive(Default)]
pub struct Vifs {
    list: BTreeMap<(DomId, String), Vif>,
    new_uplink: Option<Option<Mac>>,
}

fn token(domain: DomId, handle: &str) -> String {
    format!("f/{domain}/{handle}")
}

impl Vifs {
    /// Begins to watch; what is there already comes as an event.
    ///
    /// # Errors
    /// The store's.
    pub fn start(&mut self, store: &mut Store) -> Result<(), Errno> {
        store.watch(ROOT, ROOT_TOKEN)
    }

    /// The port of the switch that an event channel belongs to.
    pub fn by_event_port(&self, port: u32) -> Option<PortId> {
        self.list
            .values()
            .find(|vif| vif.has_event_port(port))
            .map(|vif| vif.id)
    }

    /// An uplink that was connected since last asked, by its address.
    pub fn take_new_uplink(&mut self) -> Option<Option<Mac>> {
        self.new_uplink.take()
    }

    /// A watch has fired.
    pub fn on_store_event(
        &mut self,
        path: &str,
        event_token: &str,
        store: &mut Store,
        engine: &mut Engine,
    ) {
        if event_token == ROOT_TOKEN {
            match backend_event(ROOT, path) {
                // Not what we write ourselves.
                Some((_, handle, key))
                    if !handle.is_empty()
                        && !matches!(key, "" | "frontend" | "frontend-id" | "state") => {}
                Some((domain, handle, key)) if !handle.is_empty() => {
                    self.look(domain, handle, store, engine);
                    if key == "state"
                        && let Some(vif) = self.list.get_mut(&(domain, handle.to_string()))
                    {
                        vif.on_own_state(store, engine);
                    }
                }
                _ => self.scan(store, engine),
            }
            return;
        }
        let mut parts = event_token.splitn(3, '/').skip(1);
        let (Some(domain), Some(handle)) = (
            parts.next().and_then(|domain| domain.parse().ok()),
            parts.next(),
        ) else {
            return;
        };
        self.on_frontend(domain, handle, store, engine);
    }

    fn on_frontend(&mut self, domain: DomId, handle: &str, store: &mut Store, engine: &mut Engine) {
        if let Some(vif) = self.list.get_mut(&(domain, handle.to_string()))
            && vif.on_frontend(store, engine)
            && vif.uplink
        {
            self.new_uplink = Some(vif.mac);
        }
    }

    /// Compares all of the store's vifs with ours.
    fn scan(&mut self, store: &mut Store, engine: &mut Engine) {
        let mut found = alloc::vec::Vec::new();
        for domain in store.directory(ROOT).unwrap_or_default() {
            for handle in store
                .directory(&format!("{ROOT}/{domain}"))
                .unwrap_or_default()
            {
                if let Ok(domain) = domain.parse::<DomId>() {
                    found.push((domain, handle));
                }
            }
        }
        let known: alloc::vec::Vec<_> = self.list.keys().cloned().collect();
        for (domain, handle) in found.into_iter().chain(known) {
            self.look(domain, &handle, store, engine);
        }
    }

    /// Compares one vif of the store with ours.
    fn look(&mut self, domain: DomId, handle: &str, store: &mut Store, engine: &mut Engine) {
        let path = format!("{ROOT}/{domain}/{handle}");
        let key = (domain, handle.to_string());
        let there = store.exists(&format!("{path}/frontend"));
        // Only Domain-0 writes this state: the directory is new, and the one that we know has gone unseen.
        let is_new = there && state(store, &path) == XenbusState::Initialising;
        if there && !is_new && self.list.contains_key(&key) {
            return;
        }
        let token = token(domain, handle);
        if let Some(mut vif) = self.list.remove(&key) {
            vif.end(store, engine, &token);
        }
        if !there {
            return;
        }
        let Some(id) = self.free_id() else {
            return log::warn!("{path}: no more ports");
        };
        match Vif::new(&path, &token, domain, handle, id, store) {
            Ok(vif) => {
                self.list.insert(key, vif);
            }
            // It may not be complete yet: the next write below it comes here again.
            Err(errno) => log::debug!("{path}: {errno}"),
        }
    }

    fn free_id(&self) -> Option<PortId> {
        (1..=u16::MAX)
            .map(PortId)
            .find(|id| self.list.values().all(|vif| vif.id != *id))
    }

    /// A port's frontend broke the rules.
    pub fn on_broken(
        &mut self,
        id: PortId,
        broken: Broken,
        store: &mut Store,
        engine: &mut Engine,
    ) {
        if let Some(vif) = self.list.values_mut().find(|vif| vif.id == id) {
            vif.fail(store, engine, broken.0);
        }
    }
}
