//! The xenbus side: one virtual disk for each directory under `backend/vbd`, from its appearance to its end.
//!
//! Domain-0 makes the directory (`frontend`, `params`, `mode`, ...); we add what we can do and go to `InitWait`. When the
//! frontend has published its rings we map them and go to `Connected`; when it closes, or vanishes, we let go of everything,
//! and wait for it to come again if it can. Everything that must survive us is in the store.

mod connect;
mod locate;
mod sharing;
mod unit;

pub use unit::Unit;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use domain::SharedMemory;
use domain::store::{Store, StoreAccess};
use domain::xenbus::{Device, XenbusState, backend_event};
use xen_abi::grant_table::GrantRef;
use xen_abi::{DomId, Errno};

use crate::disk::Disk;
use crate::engine::{ConnectionId, Notify};
use crate::extents::Extents;
use crate::pages::Grants;

/// Where our devices are in the store, relative to our own directory.
const ROOT: &str = "backend/vbd";
/// The token of the watch on [`ROOT`]; those on frontends have the device's name.
const TOKEN: &str = ROOT;

/// What the xenbus side needs of the runtime, besides mapping pages.
pub trait Platform: Grants + Clone {
    /// A mapped ring.
    type Ring: AsRef<SharedMemory>;
    /// A bound event channel; closed when dropped.
    type Port: Notify;
    /// A page of our own.
    type Own: AsRef<SharedMemory>;

    /// A page for the disk to write to; its memory's address is its DMA address.
    fn page(&mut self) -> Option<Self::Own>;

    /// What waits a moment at each call, for something to complete, and says at last that it has been long enough.
    fn patience(&mut self) -> impl FnMut() -> bool + use<Self>;

    /// Maps the pages of a ring.
    ///
    /// # Errors
    /// They are not granted, or there is no room.
    fn map_ring(&mut self, dom: DomId, references: &[GrantRef]) -> Result<Self::Ring, Errno>;

    /// Binds to a frontend's event channel; gives our own port's number too.
    ///
    /// # Errors
    /// The channel does not wait for us.
    fn bind(&mut self, dom: DomId, port: u32) -> Result<(Self::Port, u32), Errno>;
}

/// A frontend's device, as the store's directories name it: domain and device number.
type Key = (DomId, String);

/// One virtual disk.
struct Vbd {
    device: Device,
    /// Which of the disks it is on.
    unit: usize,
    extents: Extents,
    /// The sectors are a file's on Domain-0's own disk.
    file: bool,
    /// Others may use the same sectors, by the operator's word.
    shared: bool,
    cdrom: bool,
    connection: Option<ConnectionId>,
    ports: Vec<u32>,
    /// The connection ends; then we go to this state, or the device is forgotten.
    ending: Option<Ending>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    To(XenbusState),
    Forget,
}

/// All virtual disks on all our disks.
pub struct Backends<D, P: Platform> {
    platform: P,
    units: Vec<Unit<D, P>>,
    vbds: BTreeMap<Key, Vbd>,
    /// Directories that named no disk of ours; looked at again when they have gone and come.
    refused: BTreeSet<Key>,
    /// Connections whose ring made no sense, with the disks that they are to.
    failed: Vec<(usize, ConnectionId)>,
}

/// Why a device cannot go on: what the log and the store's `error` key say.
struct Failure(String);

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self(errno.to_string())
    }
}

impl<D: Disk, P: Platform> Backends<D, P> {
    /// No virtual disks yet, on disks with the given names: `vd0`, `md0`.
    #[must_use]
    pub fn new(disks: impl IntoIterator<Item = (String, D)>, platform: P) -> Self {
        let units = disks.into_iter();
        Self {
            units: units
                .map(|(name, disk)| Unit::new(name, disk, platform.clone()))
                .collect(),
            platform,
            vbds: BTreeMap::new(),
            refused: BTreeSet::new(),
            failed: Vec::new(),
        }
    }

    /// The disks.
    pub fn units(&mut self) -> &mut [Unit<D, P>] {
        &mut self.units
    }

    /// Asks the store for news of devices; the first come at once.
    ///
    /// # Errors
    /// The store's.
    pub fn watch(&mut self, store: &mut Store) -> Result<(), Errno> {
        store.watch(ROOT, TOKEN)
    }

    /// Serves the rings whose event channel is `port`; false if it is none of theirs.
    pub fn serve(&mut self, port: u32) -> bool {
        let Some(vbd) = self.vbds.values().find(|vbd| vbd.ports.contains(&port)) else {
            return false;
        };
        if let Some(id) = vbd.connection
            && let Some(unit) = self.units.get_mut(vbd.unit)
            && let Err(error) = unit.engine.serve(id)
        {
            log::error!("{}: {error}", vbd.device.path);
            self.failed.push((vbd.unit, id));
        }
        true
    }

    /// Something changed at `path`, in a directory that the watch with `token` is for.
    pub fn changed(&mut self, store: &mut Store, path: &str, token: &str) {
        // A watch on a frontend is named after our directory for it.
        let ours = if token == TOKEN { path } else { token };
        match backend_event(ROOT, ours) {
            Some((dom, "", _)) => self.consider_all(store, Some(dom)),
            Some((dom, device, "" | "state" | "frontend")) => {
                self.consider(store, &(dom, device.to_string()))
            }
            // Mostly what we write ourselves.
            Some(_) => {}
            None => self.consider_all(store, None),
        }
    }

    /// Looks at all devices, or all of one frontend domain: those in the store, and those that were.
    fn consider_all(&mut self, store: &mut Store, only: Option<DomId>) {
        let mut keys: Vec<Key> = self
            .vbds
            .keys()
            .filter(|key| only.is_none_or(|dom| key.0 == dom))
            .cloned()
            .collect();
        let domains = match only {
            Some(dom) => Vec::from([dom]),
            None => store
                .directory(ROOT)
                .unwrap_or_default()
                .iter()
                .filter_map(|name| name.parse().ok())
                .collect(),
        };
        for dom in domains {
            for device in store
                .directory(&format!("{ROOT}/{dom}"))
                .unwrap_or_default()
            {
                keys.push((dom, device));
            }
        }
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            self.consider(store, &key);
        }
    }

    /// Does what the two ends' states call for.
    fn consider(&mut self, store: &mut Store, key: &Key) {
        let path = format!("{ROOT}/{}/{}", key.0, key.1);
        // Domain-0 writes `state` last, and is the only one to write this one: the directory is new.
        let is_new = domain::xenbus::state(store, &path) == XenbusState::Initialising;
        if is_new && self.vbds.contains_key(key) {
            // The one that we know has gone unseen. When it has ended we come here again.
            return self.end(store, key, Ending::Forget);
        }
        if !self.vbds.contains_key(key) {
            if !store.exists(&format!("{path}/state")) {
                self.refused.remove(key);
                return;
            }
            if self.refused.contains(key) && !is_new {
                return;
            }
            match self.appear(store, &path) {
                Ok(Some(vbd)) => drop(self.vbds.insert(key.clone(), vbd)),
                // What is in its way is about to end.
                Ok(None) => return,
                Err(failure) => {
                    report(store, &path, &failure);
                    self.refused.insert(key.clone());
                    // As the hotplug scripts of Xen's say it to the toolstack.
                    let _ = store.write(&format!("{path}/hotplug-error"), &failure.0);
                    // So that the guest goes on without it.
                    let _ = store.write(&format!("{path}/state"), XenbusState::Closed.as_str());
                    return;
                }
            }
        }
        let Some(vbd) = self.vbds.get(key) else {
            return;
        };
        if !store.exists(&format!("{path}/frontend")) {
            return self.end(store, key, Ending::Forget);
        }
        let (ours, theirs) = (vbd.device.state(store), vbd.device.other_state(store));
        let connected = vbd.connection.is_some();
        let wanted = store.read_number_or(&format!("{path}/online"), 1) != 0;
        match theirs {
            // Domain-0 takes it away, and no frontend has taken it up.
            XenbusState::Initialising | XenbusState::InitWait
                if !wanted && !connected && ours == XenbusState::Closing =>
            {
                self.end(store, key, Ending::To(XenbusState::Closed));
            }
            XenbusState::Initialised | XenbusState::Connected
                if !connected && ours == XenbusState::InitWait =>
            {
                if let Err(failure) = self.connect(store, key) {
                    report(store, &path, &failure);
                    self.end(store, key, Ending::To(XenbusState::Closing));
                }
            }
            XenbusState::Closing => self.end(store, key, Ending::To(XenbusState::Closing)),
            XenbusState::Closed | XenbusState::Unknown => {
                self.end(store, key, Ending::To(XenbusState::Closed))
            }
            // A frontend that starts anew, after one that has gone.
            XenbusState::Initialising if wanted && !connected && ours != XenbusState::InitWait => {
                self.end(store, key, Ending::To(XenbusState::InitWait));
            }
            _ => {}
        }
    }

    /// Begins the end of a connection; [`Self::settle`] does the rest when its requests are done.
    fn end(&mut self, store: &mut Store, key: &Key, ending: Ending) {
        let Some(vbd) = self.vbds.get_mut(key) else {
            return;
        };
        if let Some(id) = vbd.connection
            && let Some(unit) = self.units.get_mut(vbd.unit)
        {
            unit.engine.close(id);
        }
        // Once the directory has gone, its state does not matter any more.
        if vbd.ending != Some(Ending::Forget) {
            vbd.ending = Some(ending);
        }
        self.settle(store);
    }

    /// Ends what can end now. To be called after each round of completions.
    pub fn settle(&mut self, store: &mut Store) {
        for (unit, id) in core::mem::take(&mut self.failed) {
            let key = self
                .vbds
                .iter()
                .find(|(_, vbd)| vbd.unit == unit && vbd.connection == Some(id))
                .map(|(key, _)| key.clone());
            if let Some(key) = key {
                let path = format!("{ROOT}/{}/{}", key.0, key.1);
                report(
                    store,
                    &path,
                    &Failure("the ring makes no sense".to_string()),
                );
                if let Some(unit) = self.units.get_mut(unit) {
                    unit.engine.close(id);
                }
                if let Some(vbd) = self.vbds.get_mut(&key) {
                    vbd.ending = vbd.ending.or(Some(Ending::To(XenbusState::Closing)));
                }
            }
        }
        let ready = |vbd: &Vbd| {
            let unit = self.units.get(vbd.unit);
            let idle = |id| unit.is_none_or(|unit| unit.engine.is_idle(id));
            vbd.ending.is_some() && vbd.connection.is_none_or(idle)
        };
        let keys: Vec<Key> = self
            .vbds
            .iter()
            .filter(|(_, vbd)| ready(vbd))
            .map(|(key, _)| key.clone())
            .collect();
        let mut forgotten = false;
        for key in keys {
            let Some(vbd) = self.vbds.get_mut(&key) else {
                continue;
            };
            if let Some(id) = vbd.connection.take()
                && let Some(unit) = self.units.get_mut(vbd.unit)
            {
                log::info!(
                    "{}: disconnected after {:?}",
                    vbd.device.path,
                    unit.engine.counts(id)
                );
                unit.engine.disconnect(id);
                vbd.ports.clear();
            }
            match vbd.ending.take() {
                Some(Ending::To(state)) => {
                    // The directory may have gone in the meantime.
                    if let Err(errno) = vbd.device.set_state(store, state) {
                        log::debug!("{}: {errno}", vbd.device.path);
                    }
                }
                Some(Ending::Forget) | None => {
                    let _ = vbd.device.unwatch_other(store, &vbd.device.path);
                    self.vbds.remove(&key);
                    forgotten = true;
                }
            }
        }
        if forgotten {
            // Another of the same name, or one that had to wait for this one's sectors.
            self.consider_all(store, None);
        }
    }
}

/// Says in the log and in the store (`error/backend/...`, as Linux does) why a device cannot go on.
fn report(store: &mut Store, path: &str, failure: &Failure) {
    log::error!("{path}: {}", failure.0);
    if let Err(errno) = store.write(&format!("error/{path}/error"), &failure.0) {
        log::debug!("error/{path}: {errno}");
    }
}
