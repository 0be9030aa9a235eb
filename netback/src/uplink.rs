//! The frontend's half of bridge0's uplink on xenbus: connects when bridge is ready, and again after bridge was restarted.

use crate::link::Link;
use crate::nic::Nic;
use alloc::format;
use domain::Errno;
use domain::store::{Store, StoreAccess};
use domain::xenbus::{Device, XenbusState};

const ROOT: &str = "device/vif";
const ROOT_TOKEN: &str = "vif";
const OTHER_TOKEN: &str = "bridge";

/// The uplink: connected, or waiting for bridge.
#[derive(Default)]
pub struct Uplink {
    device: Option<Device>,
    link: Option<Link>,
    /// bridge has connected since we did: if it waits again, it has started over.
    complete: bool,
}

impl Uplink {
    /// Begins to watch; what is there already comes as an event.
    pub fn start(&mut self, store: &mut Store) -> Result<(), Errno> {
        store.watch(ROOT, ROOT_TOKEN)
    }

    /// A watch has fired.
    pub fn on_store_event(&mut self, path: &str, token: &str, store: &mut Store, nic: &mut Nic) {
        // Not what we write ourselves.
        let matters = token == OTHER_TOKEN
            || path.split('/').count() <= 3
            || path.ends_with("/backend")
            || path.ends_with("/backend-id");
        if matters && let Err(errno) = self.follow(store, nic) {
            log::debug!("uplink: {errno}");
        }
    }

    fn follow(&mut self, store: &mut Store, nic: &mut Nic) -> Result<(), Errno> {
        let there = store.directory(ROOT).unwrap_or_default().into_iter().next();
        let there =
            there.and_then(|handle| Device::frontend(store, &format!("{ROOT}/{handle}")).ok());
        if there != self.device {
            self.disconnect(nic, "the store names another bridge");
            if let Some(old) = self.device.take() {
                let _ = old.unwatch_other(store, OTHER_TOKEN);
            }
            if let Some(new) = &there {
                new.watch_other(store, OTHER_TOKEN)?;
            }
            self.device = there;
        }
        let Some(device) = self.device.clone() else {
            return Ok(());
        };
        match device.other_state(store) {
            XenbusState::InitWait if self.link.is_some() && !self.complete => Ok(()),
            XenbusState::InitWait => {
                self.disconnect(nic, "bridge starts over");
                self.connect(&device, store, nic)
            }
            XenbusState::Connected => {
                self.complete = true;
                Ok(())
            }
            XenbusState::Closing | XenbusState::Closed | XenbusState::Unknown
                if self.link.is_some() =>
            {
                self.disconnect(nic, "bridge has closed");
                device.set_state(store, XenbusState::Closed)
            }
            // Ready for the next bridge.
            XenbusState::Closed if device.state(store) == XenbusState::Closed => {
                device.set_state(store, XenbusState::Initialising)
            }
            _ => Ok(()),
        }
    }

    fn connect(&mut self, device: &Device, store: &mut Store, nic: &mut Nic) -> Result<(), Errno> {
        let link = Link::new(device.other_domid, nic)?;
        let (transmit, receive, port) = link.references();
        let [a, b, c, d, e, g] = nic.mac;
        let mac = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}");
        store.transaction(|store| {
            store.write_number(&device.key("tx-ring-ref"), transmit.into())?;
            store.write_number(&device.key("rx-ring-ref"), receive.into())?;
            store.write_number(&device.key("event-channel"), port.into())?;
            // Checksums and segmentation are done here where the NIC cannot: the data is here anyway.
            for feature in [
                "request-rx-copy",
                "feature-rx-notify",
                "feature-sg",
                "feature-gso-tcpv4",
            ] {
                store.write(&device.key(feature), "1")?;
            }
            store.write(&device.key("mac"), &mac)
        })?;
        self.link = Some(link);
        self.complete = false;
        // Buffers are there before bridge looks.
        self.work(store, nic);
        device.set_state(store, XenbusState::Connected)?;
        log::info!(
            "uplink: connected with bridge in domain {}",
            device.other_domid
        );
        Ok(())
    }

    fn disconnect(&mut self, nic: &mut Nic, why: &str) {
        if let Some(link) = self.link.take() {
            link.end(nic);
            log::info!("uplink: disconnected, {why}");
        }
    }

    /// Moves packets; true if there were some.
    pub fn work(&mut self, store: &mut Store, nic: &mut Nic) -> bool {
        let Some(link) = &mut self.link else {
            // Nobody wants what comes in.
            while let Some(received) = nic.received() {
                nic.give_back(received.page);
            }
            nic.pump();
            nic.refill();
            return false;
        };
        match link.work(nic) {
            Ok(moved) => moved,
            Err(broken) => {
                log::warn!("uplink: bridge wrote {}", broken.0);
                self.disconnect(nic, "protocol broken");
                if let Some(device) = &self.device {
                    let _ = device.set_state(store, XenbusState::Closed);
                }
                false
            }
        }
    }

    /// Has bridge something for us? If not, it will notify.
    pub fn has_news(&mut self) -> bool {
        self.link.as_mut().is_some_and(Link::has_news)
    }
}
