//! One vif: the backend's half of a network device on xenbus.

use crate::domain_host::now;
use crate::rings::GrantedRings;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use bridge::deliver::Receiver;
use bridge::engine::Engine;
use bridge::mac::Mac;
use bridge::switch::PortId;
use core::time::Duration;
use domain::event::Port;
use domain::grant;
use domain::store::{Store, StoreAccess};
use domain::xenbus::{Device, XenbusState};
use domain::{DomId, Errno};
use xen_abi::grant_table::GrantRef;

/// One vif.
pub struct Vif {
    device: Device,
    /// Its port of the switch.
    pub id: PortId,
    /// `vif<domain>.<handle>`, for the log.
    pub name: String,
    /// The address that the store named when it was connected.
    pub mac: Option<Mac>,
    /// It leads to the NIC.
    pub uplink: bool,
    event_ports: Option<(u32, Option<u32>)>,
    talk: Talk,
}

/// How much may be said of a vif: its frontend decides how often it comes and goes.
struct Talk {
    left: u8,
    since: Duration,
}

impl Talk {
    /// Lines at once, and after how long they are granted anew.
    const LINES: u8 = 20;
    const PAUSE: Duration = Duration::from_secs(60);

    fn may(&mut self) -> bool {
        let now = now();
        if now.saturating_sub(self.since) >= Self::PAUSE {
            *self = Self {
                left: Self::LINES,
                since: now,
            };
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

/// What we can do, as Linux's netfront asks for it.
const FEATURES: [(&str, &str); 5] = [
    ("feature-rx-copy", "1"),
    ("feature-rx-flip", "0"),
    ("feature-sg", "1"),
    ("feature-gso-tcpv4", "1"),
    ("feature-split-event-channels", "1"),
];

impl Vif {
    /// The vif at `path` (`backend/vif/D/N`): announces what we can do and waits for the frontend.
    ///
    /// # Errors
    /// The store's.
    pub fn new(
        path: &str,
        token: &str,
        domain: DomId,
        handle: &str,
        id: PortId,
        store: &mut Store,
    ) -> Result<Self, Errno> {
        let device = Device::backend(store, path)?;
        let this = Self {
            id,
            name: format!("vif{domain}.{handle}"),
            mac: None,
            uplink: false,
            event_ports: None,
            talk: Talk {
                left: Talk::LINES,
                since: now(),
            },
            device,
        };
        this.announce(store)?;
        this.device.watch_other(store, token)?;
        Ok(this)
    }

    fn announce(&self, store: &mut Store) -> Result<(), Errno> {
        for (name, value) in FEATURES {
            store.write(&self.device.key(name), value)?;
        }
        self.device.set_state(store, XenbusState::InitWait)
    }

    /// Is it connected, and are these its event channels?
    pub fn has_event_port(&self, port: u32) -> bool {
        self.event_ports
            .is_some_and(|(first, second)| first == port || second == Some(port))
    }

    /// Is it connected?
    pub fn is_connected(&self) -> bool {
        self.event_ports.is_some()
    }

    /// The frontend's state has changed, or may have. True: it has just been connected.
    pub fn on_frontend(&mut self, store: &mut Store, engine: &mut Engine) -> bool {
        let outcome = match self.device.other_state(store) {
            XenbusState::Initialising => self.reopen(store),
            XenbusState::Initialised | XenbusState::Connected if !self.is_connected() => {
                let connected = self.connect(store, engine);
                if let Err(errno) = &connected {
                    if self.talk.may() {
                        log::warn!("{}: cannot be connected: {errno}", self.name);
                    }
                    let _ = store.write(&self.device.key("error"), errno.to_string());
                    let _ = self.device.set_state(store, XenbusState::Closing);
                }
                return connected.is_ok();
            }
            XenbusState::Closing => {
                self.disconnect(engine, "its frontend closes");
                self.device.set_state(store, XenbusState::Closing)
            }
            // Gone altogether: its domain is being destroyed.
            XenbusState::Closed | XenbusState::Unknown => {
                self.disconnect(engine, "its frontend has closed");
                self.device.set_state(store, XenbusState::Closed)
            }
            _ => Ok(()),
        };
        if let Err(errno) = outcome {
            log::debug!("{}: {errno}", self.name);
        }
        false
    }

    /// A frontend that starts over (its domain or its driver did) finds a backend that waits.
    fn reopen(&mut self, store: &mut Store) -> Result<(), Errno> {
        let wanted = store.read_number_or(&self.device.key("online"), 1) != 0;
        match self.device.state(store) {
            XenbusState::Closed | XenbusState::Closing if wanted && !self.is_connected() => {
                self.announce(store)
            }
            _ => Ok(()),
        }
    }

    /// Our own state was changed, by Domain-0: it wants the vif to end.
    pub fn on_own_state(&mut self, store: &mut Store, engine: &mut Engine) {
        if self.device.state(store) != XenbusState::Closing {
            return;
        }
        // We write this state ourselves when the frontend closes; then it is not offline.
        let offline = store.read_number_or(&self.device.key("online"), 1) == 0;
        if self.is_connected() || offline {
            self.disconnect(engine, "it is taken away");
            let _ = self.device.set_state(store, XenbusState::Closed);
        }
    }

    fn text(&self, store: &mut Store, name: &str) -> String {
        store
            .read_string(&self.device.key(name))
            .unwrap_or_default()
    }

    fn number(&self, store: &mut Store, name: &str) -> Result<u32, Errno> {
        u32::try_from(store.read_number(&self.device.other_key(name))?).map_err(|_| Errno::EINVAL)
    }

    fn flag(&self, store: &mut Store, name: &str) -> bool {
        store.read_number_or(&self.device.other_key(name), 0) == 1
    }

    fn connect(&mut self, store: &mut Store, engine: &mut Engine) -> Result<(), Errno> {
        if !self.flag(store, "request-rx-copy") {
            return Err(Errno::EOPNOTSUPP);
        }
        if store.read_number_or(&self.device.other_key("multi-queue-num-queues"), 1) > 1 {
            return Err(Errno::EINVAL);
        }
        self.uplink = self.text(store, "uplink").trim() == "1";
        // The address of a guest is Domain-0's to say; that of the NIC, the NIC's.
        let mac = match self.uplink {
            true => store
                .read_string(&self.device.other_key("mac"))
                .unwrap_or_default(),
            false => self.text(store, "mac"),
        };
        self.mac = Mac::parse(&mac).filter(|mac| !mac.is_group());
        let domain = self.device.other_domid;
        let transmit: GrantRef = self.number(store, "tx-ring-ref")?;
        let receive: GrantRef = self.number(store, "rx-ring-ref")?;
        let receiver = Receiver {
            scatter_gather: self.flag(store, "feature-sg"),
            segmentation: self.flag(store, "feature-gso-tcpv4"),
            blank_checksum: !self.flag(store, "feature-no-csum-offload"),
        };
        let (first, second) = match self.number(store, "event-channel") {
            Ok(port) => (Port::bind_interdomain(domain, port)?, None),
            Err(_) => {
                let first = self.number(store, "event-channel-tx")?;
                let second = self.number(store, "event-channel-rx")?;
                (
                    Port::bind_interdomain(domain, first)?,
                    Some(Port::bind_interdomain(domain, second)?),
                )
            }
        };
        let event_ports = (first.number(), second.as_ref().map(Port::number));
        let transmit = grant::map_range(domain, &[transmit], false)?;
        let receive = grant::map_range(domain, &[receive], false)?;
        let rings = GrantedRings::new(transmit, receive, first, second)?;
        let unique = engine.add(
            self.id,
            domain,
            self.mac,
            self.uplink,
            receiver,
            Box::new(rings),
        );
        self.event_ports = Some(event_ports);
        self.device.set_state(store, XenbusState::Connected)?;
        if self.talk.may() {
            log::info!(
                "{} ({}) joins bridge0{}: scatter-gather {}, TSO {}, checksum offload {}",
                self.name,
                self.mac.unwrap_or(Mac([0; 6])),
                if self.uplink { " as uplink" } else { "" },
                on(receiver.scatter_gather),
                on(receiver.segmentation),
                on(receiver.blank_checksum)
            );
        }
        if !unique {
            log::warn!("{}: another vif has its address", self.name);
        }
        Ok(())
    }

    /// Ends the connection: rings unmapped, event channels closed.
    pub fn disconnect(&mut self, engine: &mut Engine, why: &str) {
        if self.event_ports.take().is_some()
            && let Some(counters) = engine.remove(self.id)
            && self.talk.may()
        {
            log::info!("{} leaves bridge0 ({why}): {counters}", self.name);
        }
    }

    /// Ends the connection of a frontend that broke the rules.
    pub fn fail(&mut self, store: &mut Store, engine: &mut Engine, why: &str) {
        if self.talk.may() {
            log::warn!("{}: its frontend wrote {why}", self.name);
        }
        self.disconnect(engine, "protocol broken");
        let _ = self.device.set_state(store, XenbusState::Closed);
    }

    /// The vif's directory is gone.
    pub fn end(&mut self, store: &mut Store, engine: &mut Engine, token: &str) {
        self.disconnect(engine, "it is gone");
        let _ = self.device.unwatch_other(store, token);
    }
}

const fn on(flag: bool) -> &'static str {
    if flag { "on" } else { "off" }
}
