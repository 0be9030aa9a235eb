//! Devices on xenbus: two directories in the store, one of each end, that name each other and carry a state.

use crate::event;
use crate::store::{Store, StoreAccess};
use crate::time::Instant;
use alloc::format;
use alloc::string::{String, ToString};
pub use xen_abi::io::xenbus::XenbusState;
use xen_abi::{DomId, Errno};

/// One end of a device, seen from that end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Our directory.
    pub path: String,
    /// The other end's directory.
    pub other_path: String,
    /// The other end's domain.
    pub other_domid: DomId,
}

impl Device {
    /// The backend end at `path` (`backend/vif/5/0` or absolute): reads `frontend` and `frontend-id`.
    pub fn backend(store: &mut Store, path: &str) -> Result<Device, Errno> {
        Self::end(store, path, "frontend")
    }

    /// The frontend end at `path` (`device/vif/0` or absolute): reads `backend` and `backend-id`.
    pub fn frontend(store: &mut Store, path: &str) -> Result<Device, Errno> {
        Self::end(store, path, "backend")
    }

    fn end(store: &mut Store, path: &str, other: &str) -> Result<Device, Errno> {
        let other_path = store.read_string(&format!("{path}/{other}"))?;
        let other_domid = store.read_number(&format!("{path}/{other}-id"))?;
        let other_domid = DomId::try_from(other_domid).map_err(|_| Errno::EINVAL)?;
        Ok(Device {
            path: path.to_string(),
            other_path,
            other_domid,
        })
    }

    /// Path of one of our keys.
    pub fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    /// Path of one of the other end's keys.
    pub fn other_key(&self, name: &str) -> String {
        format!("{}/{name}", self.other_path)
    }

    /// Our state.
    pub fn state(&self, store: &mut Store) -> XenbusState {
        state(store, &self.path)
    }

    /// The other end's state; [`XenbusState::Unknown`] if its directory is gone.
    pub fn other_state(&self, store: &mut Store) -> XenbusState {
        state(store, &self.other_path)
    }

    /// Sets our state, which is what the other end watches. No message if it is that already.
    pub fn set_state(&self, store: &mut Store, new: XenbusState) -> Result<(), Errno> {
        if self.state(store) == new {
            return Ok(());
        }
        log::debug!("{}: {new:?}", self.path);
        store.write(&self.key("state"), new.as_str())
    }

    /// Watches the other end's state with `token`.
    pub fn watch_other(&self, store: &mut Store, token: &str) -> Result<(), Errno> {
        store.watch(&self.other_key("state"), token)
    }

    /// Ends [`Self::watch_other`].
    pub fn unwatch_other(&self, store: &mut Store, token: &str) -> Result<(), Errno> {
        store.unwatch(&self.other_key("state"), token)
    }

    /// Blocks until the other end's state is one of `wanted`, or until `deadline` (`ETIMEDOUT`). For start-up code: an event loop uses
    /// [`Self::watch_other`] instead. Watch events of others are kept.
    pub fn wait_other(
        &self,
        store: &mut Store,
        wanted: &[XenbusState],
        deadline: Instant,
    ) -> Result<XenbusState, Errno> {
        let token = format!("wait:{}", self.path);
        self.watch_other(store, &token)?;
        let result = loop {
            let now = self.other_state(store);
            if wanted.contains(&now) {
                break Ok(now);
            }
            if Instant::now() >= deadline {
                break Err(Errno::ETIMEDOUT);
            }
            // What arrived together with the last reply raises no further event.
            let queued = store.queued();
            if !store.news(queued)? {
                event::wait_deferring(deadline);
            }
        };
        self.unwatch_other(store, &token)?;
        result
    }
}

/// The state in `path`/state.
pub fn state(store: &mut Store, path: &str) -> XenbusState {
    store
        .read(&format!("{path}/state"))
        .map_or(XenbusState::Unknown, |value| XenbusState::parse(&value))
}

/// Splits the path of a watch event under `backend/<kind>`: `backend/vif/5/0/state` with root `backend/vif` gives
/// `(5, "0", "state")`. Components that are missing are empty; `None` if the domain is missing or no number.
pub fn backend_event<'a>(root: &str, path: &'a str) -> Option<(DomId, &'a str, &'a str)> {
    let rest = path.strip_prefix(root)?.strip_prefix('/')?;
    let mut parts = rest.splitn(3, '/');
    let domain = parts.next()?.parse().ok()?;
    Some((
        domain,
        parts.next().unwrap_or(""),
        parts.next().unwrap_or(""),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_paths_split_into_domain_device_and_key() {
        assert_eq!(
            backend_event("backend/vif", "backend/vif/5/0/state"),
            Some((5, "0", "state"))
        );
        assert_eq!(
            backend_event("backend/vif", "backend/vif/5/0/a/b"),
            Some((5, "0", "a/b"))
        );
        assert_eq!(
            backend_event("backend/vif", "backend/vif/5"),
            Some((5, "", ""))
        );
        assert_eq!(backend_event("backend/vif", "backend/vif"), None);
        assert_eq!(backend_event("backend/vif", "backend/vifx/5"), None);
        assert_eq!(backend_event("backend/vif", "backend/vif/x/0"), None);
    }
}
