//! bridge0's own interface.

use crate::domain_host::{DomainHost, now};
use bridge::engine::Engine;
use bridge::interface::{Event, Interface};
use bridge::mac::Mac;
use bridge::settings::{self, Address};
use core::time::Duration;

/// The interface, started or not.
pub struct OwnInterface {
    address: Address,
    running: Option<Interface>,
    has_uplink: bool,
}

impl OwnInterface {
    /// As the command line wants it. Until there is an uplink only an address that is written there works: a lease cannot come from
    /// elsewhere.
    pub fn new(cmdline: &str, engine: &mut Engine) -> Self {
        let address = settings::address(cmdline);
        if address == Address::None {
            log::info!("bridge0 has no address (ifconfig_bridge0 names none)");
        }
        let mut interface = Self {
            address,
            running: None,
            has_uplink: false,
        };
        if matches!(address, Address::Fixed { .. }) {
            interface.run(None, engine);
        }
        interface
    }

    /// There is an uplink, whose NIC has the address `uplink`.
    pub fn start(&mut self, uplink: Option<Mac>, engine: &mut Engine) {
        if !self.has_uplink && self.address != Address::None {
            self.has_uplink = true;
            self.run(uplink, engine);
        }
    }

    fn run(&mut self, uplink: Option<Mac>, engine: &mut Engine) {
        let now = now();
        let [.., a, b, c] = uplink.map_or([0, 0, 0, 0, 0, 1], |mac| mac.0);
        // A locally administered address of its own, the same at every boot of the same machine.
        let mac = Mac([0x02, b'b', b'r', a, b, c]);
        engine.set_local_address(mac);
        let seed = u64::try_from(now.as_nanos())
            .unwrap_or_default()
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        log::info!(
            "bridge0: address {mac}{}",
            if self.address == Address::Dhcp {
                ", asking for a lease"
            } else {
                ""
            }
        );
        self.running = Some(Interface::new(mac, self.address, seed, now));
    }

    /// Hands frames in both directions.
    pub fn work(&mut self, engine: &mut Engine, host: &mut DomainHost) {
        let Some(interface) = &mut self.running else {
            host.local.clear();
            return;
        };
        for frame in host.local.drain(..) {
            interface.receive(&frame);
        }
        match interface.poll(now()) {
            Some(Event::Address(address, Some(router))) => {
                log::info!("bridge0: lease {address}, router {router}")
            }
            Some(Event::Address(address, None)) => {
                log::info!("bridge0: lease {address}, no router")
            }
            Some(Event::Lost) => log::debug!("bridge0: no lease"),
            None => {}
        }
        while let Some(frame) = interface.transmit() {
            engine.send_local(&frame, host);
        }
    }

    /// When it wants to work again.
    pub fn deadline(&mut self) -> Option<Duration> {
        self.running.as_mut()?.deadline(now())
    }
}
