//! A pretended machine: domains that only exist in tables, a store without permissions, an operator who types.
#![allow(dead_code, reason = "each test file uses a part")]

mod control;
mod files;
mod ustar;

pub use files::kernel;
pub use ustar::tar;

use std::collections::{BTreeMap, VecDeque};

use console::host::{
    ConsoleError, Consoles, Control, Disk, DiskOffer, Events, Machine, Store, Version,
};
use pvh::{MemoryMap, Range, VcpuState};
use xen_abi::domctl::{DominfFlags, XenDomctlGetdomaininfo, XenDomctlGetvcpuinfo};
use xen_abi::microhv::{Exits, Holdings, Info};
use xen_abi::sysctl::XenSysctlPhysinfo;
use xen_abi::{DomId, Errno};

/// One domain of the pretended machine.
#[derive(Clone, Default)]
pub struct Domain {
    pub info: XenDomctlGetdomaininfo,
    pub params: BTreeMap<u32, u64>,
    pub written: BTreeMap<u64, usize>,
    pub grants: Vec<(u32, DomId, u64)>,
    pub vcpu: Option<VcpuState>,
    pub pauses: i32,
    pub affinity: BTreeMap<u32, u64>,
    pub weight: Option<(u16, u16)>,
    pub triggers: Vec<(u32, u32)>,
    pub says: VecDeque<u8>,
    pub hears: Vec<u8>,
    pub room: usize,
}

#[derive(Default)]
pub struct Pretend {
    pub domains: BTreeMap<DomId, Domain>,
    pub store: BTreeMap<String, String>,
    pub introduced: BTreeMap<DomId, (u64, u32)>,
    pub screen: Vec<u8>,
    /// The same, as it was printed.
    pub prints: Vec<Vec<u8>>,
    pub typed: Vec<u8>,
    pub now: u64,
    pub free_pages: u64,
    pub open: Vec<DomId>,
    /// How many requests to shut down guests take and forget.
    pub forgotten: u32,
    pub ended: Option<u32>,
    /// The step that the hypervisor refuses.
    pub refuse: Option<&'static str>,
    /// What backends do with a new device: state, and error if any.
    pub backend_state: u32,
    pub backend_error: Option<String>,
    /// Frontends do not let go of their devices: backends close only when the frontend's half has gone.
    pub frontends_hold: bool,
    /// Domain-0's own disks, in the order in which it asks for them, with their sizes in sectors.
    pub disks: VecDeque<(Box<dyn Disk>, u64)>,
    pub sectors: u64,
    /// Sectors of the machine's disk.
    pub whole: u64,
    pub next_port: u32,
    pub next_random: u64,
    pub domains_event: bool,
    pub log: Vec<u8>,
    /// A node that says `poweroff` as soon as a guest runs.
    pub ends_at_once: Option<String>,
    /// A guest that reboots as soon as Domain-0 asks for a disk.
    pub reboots_at_offer: Option<DomId>,
    /// The second serial port.
    pub line_in: Vec<u8>,
    pub line_out: Vec<u8>,
    /// What comes after that.
    pub line_later: Vec<u8>,
    pub watches: std::collections::BTreeSet<String>,
}

impl Pretend {
    /// A machine with the boot-time domains.
    pub fn new() -> Self {
        let mut machine = Self {
            free_pages: 1 << 18,
            backend_state: 2,
            next_port: 10,
            ..Self::default()
        };
        let names = ["", "xenstore", "netback", "blkback", "bridge"];
        for (domid, name) in (0..).zip(names) {
            let mut domain = Domain::default();
            domain.info.domain = domid;
            domain.info.flags = DominfFlags::HVM_GUEST | DominfFlags::BLOCKED;
            domain.info.tot_pages = 16 * 256;
            domain.info.nr_online_vcpus = 1;
            domain.info.handle = pvh::boot_domain_handle(name);
            domain.params.insert(1, 0xfeffe);
            domain.params.insert(2, 3);
            machine.domains.insert(domid, domain);
        }
        machine.domains.get_mut(&0).unwrap().info.flags = DominfFlags::RUNNING;
        machine
    }

    /// What is on the screen, then cleared.
    pub fn seen(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.screen))
            .unwrap()
            .replace('\r', "")
    }

    /// A guest says something on its console.
    pub fn says(&mut self, domid: DomId, text: &str) {
        self.domains
            .get_mut(&domid)
            .unwrap()
            .says
            .extend(text.bytes());
    }

    /// A domain shuts down.
    pub fn shut_down(&mut self, domid: DomId, reason: u32) {
        let domain = self.domains.get_mut(&domid).unwrap();
        let flags = DominfFlags::SHUTDOWN.bits() | reason << 16;
        domain.info.flags = DominfFlags::from_bits_retain(flags);
        self.domains_event = true;
    }

    fn step(&self, step: &'static str) -> Result<(), Errno> {
        if self.refuse == Some(step) {
            Err(Errno::ENOMEM)
        } else {
            Ok(())
        }
    }

    fn get(&mut self, domid: DomId) -> Result<&mut Domain, Errno> {
        self.domains.get_mut(&domid).ok_or(Errno::ESRCH)
    }

    /// Backends look at their new devices.
    fn backends(&mut self) {
        let new: Vec<String> = self
            .store
            .iter()
            .filter(|(path, value)| {
                path.contains("/backend/v") && path.ends_with("/state") && *value == "1"
            })
            .map(|(path, _)| path.clone())
            .collect();
        for path in new {
            let uplink = self.store.contains_key(&path.replace("/state", "/uplink"));
            let state = if uplink { 4 } else { self.backend_state };
            self.store.insert(path.clone(), state.to_string());
            if let Some(error) = &self.backend_error {
                self.store
                    .insert(path.replace("/state", "/hotplug-error"), error.clone());
            }
        }
        let own: Vec<String> = self
            .store
            .iter()
            .filter(|(path, value)| {
                path.starts_with("/local/domain/0/device/vbd/")
                    && path.ends_with("/state")
                    && *value == "3"
            })
            .map(|(path, _)| path.replace("/state", "/backend"))
            .collect();
        for back in own {
            let back = self.store[&back].clone();
            self.store
                .insert(format!("{back}/sectors"), self.sectors.to_string());
            self.store
                .insert(format!("{back}/disk-sectors"), self.whole.to_string());
            self.store.insert(format!("{back}/state"), "4".into());
        }
        let closing: Vec<String> = self
            .store
            .iter()
            .filter(|(path, value)| {
                path.contains("/backend/v") && path.ends_with("/state") && *value == "5"
            })
            .map(|(path, _)| path.clone())
            .collect();
        for path in closing {
            let front = self.store.get(&path.replace("/state", "/frontend"));
            let there =
                front.is_some_and(|front| self.store.contains_key(&format!("{front}/state")));
            if self.frontends_hold && there {
                continue;
            }
            self.store.insert(path, "6".into());
        }
    }
}

impl console::host::Logging for Pretend {
    fn disk_offer(&mut self, _: DomId) -> Result<DiskOffer, Errno> {
        let (disk, sectors) = self.disks.pop_front().ok_or(Errno::ENODEV)?;
        self.sectors = sectors;
        if let Some(domid) = self.reboots_at_offer.take() {
            self.shut_down(domid, 1);
        }
        Ok(DiskOffer {
            ring: 9,
            port: 9,
            disk,
        })
    }
}

impl console::host::Channel for Pretend {
    fn channel_send(&mut self, output: &mut VecDeque<u8>) {
        self.line_out.extend(output.drain(..));
    }
    fn channel_receive(&mut self) -> Vec<u8> {
        std::mem::replace(&mut self.line_in, std::mem::take(&mut self.line_later))
    }
}

impl Store for Pretend {
    fn store_apply(&mut self, entries: &[console::guest::Entry]) -> Result<(), Errno> {
        self.step("store")?;
        for entry in entries {
            let value = entry.value.clone();
            let own = entry.path.contains("/backend/vbd/0/") && entry.path.ends_with("/params");
            assert!(
                !own || !self.store.contains_key(&entry.path),
                "{} is in use",
                entry.path
            );
            match value {
                Some(value) => drop(self.store.insert(entry.path.clone(), value)),
                None => drop(self.store.entry(entry.path.clone()).or_default()),
            }
        }
        Ok(())
    }
    fn store_read(&mut self, path: &str) -> Result<String, Errno> {
        self.store.get(path).cloned().ok_or(Errno::ENOENT)
    }
    fn store_list(&mut self, path: &str) -> Result<Vec<String>, Errno> {
        let prefix = format!("{}/", path.trim_end_matches('/'));
        let below = self
            .store
            .keys()
            .filter_map(|key| key.strip_prefix(&prefix));
        let mut names: Vec<String> = below
            .filter_map(|rest| rest.split('/').next().map(String::from))
            .collect();
        names.dedup();
        Ok(names)
    }
    fn store_write(&mut self, path: &str, value: &str) -> Result<(), Errno> {
        self.store.insert(path.into(), value.into());
        Ok(())
    }
    fn store_remove(&mut self, path: &str) -> Result<(), Errno> {
        let below = format!("{path}/");
        let before = self.store.len();
        self.store
            .retain(|node, _| node != path && !node.starts_with(&below));
        if self.store.len() == before {
            Err(Errno::ENOENT)
        } else {
            Ok(())
        }
    }
    fn store_watch(&mut self, path: &str) -> Result<(), Errno> {
        if self.watches.insert(path.into()) {
            Ok(())
        } else {
            Err(Errno::EEXIST)
        }
    }
    fn store_unwatch(&mut self, path: &str) {
        assert!(self.watches.remove(path), "no watch on {path}");
    }
    fn store_lost(&mut self) {
        self.refuse = Some("store");
    }
    fn store_introduce(&mut self, domid: DomId, gfn: u64, port: u32) -> Result<(), Errno> {
        self.introduced.insert(domid, (gfn, port));
        Ok(())
    }
    fn store_release(&mut self, domid: DomId) -> Result<(), Errno> {
        self.introduced
            .remove(&domid)
            .map(|_| ())
            .ok_or(Errno::ENOENT)
    }
}

impl Consoles for Pretend {
    fn console_open(&mut self, domid: DomId, _: u32) -> Result<(), ConsoleError> {
        self.step("console").map_err(ConsoleError::Refused)?;
        self.open.push(domid);
        Ok(())
    }
    fn console_close(&mut self, domid: DomId) {
        self.open.retain(|&open| open != domid);
    }
    fn console_take(&mut self, domid: DomId) -> Result<Vec<u8>, ConsoleError> {
        if !self.open.contains(&domid) {
            return Err(ConsoleError::Absent);
        }
        let domain = self.get(domid).map_err(ConsoleError::Refused)?;
        Ok(domain.says.drain(..).collect())
    }
    fn console_put(&mut self, domid: DomId, input: &[u8]) -> Result<usize, ConsoleError> {
        let domain = self.get(domid).map_err(ConsoleError::Refused)?;
        let given = input.len().min(domain.room);
        domain.room -= given;
        domain.hears.extend(&input[..given]);
        Ok(given)
    }
}

impl Machine for Pretend {
    fn print(&mut self, bytes: &[u8]) {
        self.screen.extend(bytes);
        self.prints.push(bytes.to_vec());
    }
    fn typed(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.typed)
    }
    fn now(&mut self) -> u64 {
        self.now += 1000;
        self.now
    }
    fn wait(&mut self, deadline: Option<u64>) -> Events {
        self.backends();
        if let Some(deadline) = deadline
            && self.line_in.is_empty()
        {
            self.now = self.now.max(deadline);
        }
        // Guests that are asked to shut down do so.
        let asked: Vec<(DomId, String)> = self
            .store
            .iter()
            .filter_map(|(path, value)| {
                let domid = path
                    .strip_prefix("/local/domain/")?
                    .strip_suffix("/control/shutdown")?;
                (!value.is_empty()).then(|| (domid.parse().unwrap(), value.clone()))
            })
            .collect();
        for (domid, how) in asked {
            self.store.insert(
                format!("/local/domain/{domid}/control/shutdown"),
                String::new(),
            );
            if self.forgotten > 0 {
                self.forgotten -= 1;
            } else if self.domains.contains_key(&domid) {
                self.shut_down(domid, u32::from(how == "reboot"));
            }
        }
        Events {
            input: !self.typed.is_empty(),
            consoles: self.domains.values().any(|domain| !domain.says.is_empty())
                || deadline.is_none(),
            domains: std::mem::take(&mut self.domains_event),
            store: false,
            channel: !self.line_in.is_empty(),
        }
    }
    fn random(&mut self) -> u64 {
        self.next_random = self
            .next_random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        self.next_random
    }
}
