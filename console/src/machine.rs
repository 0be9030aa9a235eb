//! The traits of [`console::host`] over the runtime of our domains.

mod blkfront;
mod consoles;
mod control;
mod store;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use console::host::{Channel, Events, Machine};
use domain::control::ForeignWindow;
use domain::serial::Serial;
use domain::xen_abi::xen::{VIRQ_CONSOLE, VIRQ_DOM_EXC};
use domain::{Errno, Instant, Port, event};

use consoles::GuestConsoles;

/// Pages of another domain that are looked at together: 2 MiB.
const WINDOW_PAGES: usize = 512;

/// The machine as Domain-0 sees it.
pub struct Real {
    input: Port,
    domains: Port,
    store: domain::store::Store,
    /// It does not answer any more.
    store_lost: bool,
    window: ForeignWindow,
    consoles: GuestConsoles,
    /// None if the machine has none, or the hypervisor uses it.
    serial: Option<Serial>,
    random: u64,
}

impl Real {
    /// Binds what Domain-0 needs.
    ///
    /// # Errors
    /// When the hypervisor refuses: this is not Domain-0 then.
    pub fn new() -> Result<Self, Errno> {
        Ok(Self {
            input: Port::bind_virq(VIRQ_CONSOLE)?,
            domains: Port::bind_virq(VIRQ_DOM_EXC)?,
            store: connect()?,
            store_lost: false,
            window: ForeignWindow::new(WINDOW_PAGES)?,
            consoles: GuestConsoles::default(),
            serial: Serial::open(),
            random: 0,
        })
    }

    fn collect(&mut self) -> Events {
        let mut events = Events::default();
        for port in event::take_pending() {
            if port == self.input.number() {
                events.input = true;
            } else if port == self.domains.number() {
                events.domains = true;
            } else if port == self.store.port() {
                while let Ok(Some(_)) = self.store.next_event() {
                    events.store = true;
                }
            } else if self.consoles.has_port(port) {
                events.consoles = true;
            } else if self
                .serial
                .as_ref()
                .is_some_and(|serial| serial.port() == port)
            {
                events.channel = true;
            }
        }
        events
    }
}

/// The store answers within moments; a Domain-0 that waits for a dead one would be of no use.
fn connect() -> Result<domain::store::Store, Errno> {
    const PATIENCE: Duration = Duration::from_secs(30);
    let mut store = domain::store::Store::connect()?;
    store.set_patience(PATIENCE);
    Ok(store)
}

impl Channel for Real {
    fn channel_receive(&mut self) -> Vec<u8> {
        let serial = self.serial.as_mut();
        serial.map_or(Vec::new(), Serial::receive)
    }

    fn channel_send(&mut self, output: &mut VecDeque<u8>) {
        match &mut self.serial {
            Some(serial) => serial.send(output),
            None => output.clear(),
        }
    }
}

impl Machine for Real {
    fn print(&mut self, bytes: &[u8]) {
        // The hypervisor takes all of it; there is nobody to tell if it does not.
        let _ = domain::console::write_bytes(bytes);
    }

    fn typed(&mut self) -> Vec<u8> {
        let mut typed = Vec::new();
        let mut buffer = [0; 256];
        while let Ok(count @ 1..) = domain::console::read(&mut buffer) {
            typed.extend_from_slice(buffer.get(..count).unwrap_or_default());
        }
        typed
    }

    fn now(&mut self) -> u64 {
        Instant::now().as_nanos()
    }

    fn wait(&mut self, deadline: Option<u64>) -> Events {
        let deadline = deadline.map(Instant::from_nanos);
        loop {
            let events = self.collect();
            let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if events != Events::default() || late {
                return events;
            }
            event::wait(deadline);
        }
    }

    fn random(&mut self) -> u64 {
        // SplitMix64 over the clock: unique, not secret.
        let wall = domain::time::wall_clock().as_nanos() as u64;
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ wall ^ self.now();
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
