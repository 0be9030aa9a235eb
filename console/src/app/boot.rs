//! What Domain-0 does before its first prompt: gets to know the boot-time domains and makes them known
//! to xenstore.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use xen_abi::domctl::XenDomctlGetdomaininfo;
use xen_abi::hvm::params::{HVM_PARAM_STORE_EVTCHN, HVM_PARAM_STORE_PFN};
use xen_abi::{DomId, Errno};
use xl_config::{Mac, Uuid, Vif};

use super::{App, DOMAIN_0, DOMAIN_0_NAME};
use crate::guest::{Device, DomainEntries, Guest, domain_entries, vif_entries};
use crate::host::Host;

/// Names of the boot-time domains that others need.
pub(crate) const XENSTORE: &str = "xenstore";
pub(crate) const BLKBACK: &str = "blkback";
pub(crate) const BRIDGE: &str = "bridge";
const NETBACK: &str = "netback";
/// The bridge's name, Xen's and FreeBSD's first.
pub(crate) const BRIDGE_NAME: &str = "bridge0";
/// Folder with the guests to create at boot.
const AUTO: &str = "etc/xen/auto/";
/// How long the prompt waits for the network's uplink.
const UPLINK_WAIT: u64 = 10_000_000_000;
/// How often it looks meanwhile whether netback is still there.
const UPLINK_LOOK: u64 = 50_000_000;
/// The xenbus state of a device in use.
const CONNECTED: i64 = 4;

impl<H: Host> App<'_, H> {
    /// Finds the boot-time domains, connects them to the store, shows the prompt, creates the guests
    /// of `etc/xen/auto`, and goes on with wiping.
    pub fn start(&mut self) {
        match self.host.domains() {
            Ok(domains) => self.meet(&domains),
            Err(errno) => self.say(&format!("cannot list the domains: {errno}")),
        }
        // One may have stopped before we were listening.
        self.domains_changed();
        self.prompt();
        if !self.options.no_auto {
            self.create_auto();
        }
        self.resume_wiping_at_boot();
    }

    fn meet(&mut self, domains: &[XenDomctlGetdomaininfo]) {
        for info in domains.iter().filter(|info| info.domain != DOMAIN_0) {
            let name = match pvh::boot_domain_name(&info.handle) {
                Some(name) => name.to_string(),
                None => format!("domain-{}", info.domain),
            };
            let guest = Guest {
                name,
                handle: info.handle,
                ..Guest::default()
            };
            self.guests.insert(info.domain, guest);
        }
        if self.named(XENSTORE).is_none() {
            self.say("there is no xenstore domain: no devices, and no guests can be created");
            return;
        }
        for info in domains {
            let name = self.name_of(info.domain);
            match self.introduce(info) {
                Ok(()) => self.step(&format!(
                    "domain {}, {name}: {} KiB, known to xenstore",
                    info.domain,
                    info.tot_pages * 4
                )),
                Err(errno) => self.say(&format!(
                    "{name}: cannot be made known to xenstore: {errno}"
                )),
            }
        }
        // Nobody waits for one that has stopped already.
        self.domains_changed();
        self.connect_uplink();
        self.mount();
        self.look_for_unwiped();
    }

    /// A step of the boot, for those who want to know each (`boot_verbose`).
    pub(super) fn step(&mut self, line: &str) {
        if self.options.boot_verbose {
            self.say(line);
        }
    }

    /// Writes a boot-time domain's nodes and connects its ring.
    fn introduce(&mut self, info: &XenDomctlGetdomaininfo) -> Result<(), Errno> {
        let domid = info.domain;
        let name = self.name_of(domid);
        let ring = if domid == DOMAIN_0 || name == XENSTORE {
            None // Domain-0's is what we speak through, and the store needs none
        } else {
            let gfn = self.host.hvm_param(domid, HVM_PARAM_STORE_PFN)?;
            let port = self.host.hvm_param(domid, HVM_PARAM_STORE_EVTCHN)?;
            let port = u32::try_from(port).map_err(|_| Errno::EINVAL)?;
            (gfn != 0 && port != 0).then_some((gfn, port))
        };
        let uuid = Uuid(info.handle).to_string();
        let vcpus = info.max_vcpu_id.saturating_add(1);
        let entries = domain_entries(&DomainEntries {
            domid,
            name: &name,
            uuid: &uuid,
            memory: info.tot_pages * 4,
            max_memory: info.max_pages * 4,
            vcpus,
            max_vcpus: vcpus,
            store: ring,
            console: None,
            kernel: &format!("/boot/{name}"),
        });
        self.host.store_apply(&entries)?;
        match ring {
            Some((gfn, port)) => self.host.store_introduce(domid, gfn, port),
            None => Ok(()),
        }
    }

    /// Connects netback's wire to the bridge. Netback is the frontend: so a frame is copied by the
    /// bridge once, from a guest's page to netback's (docs/architecture.md).
    fn connect_uplink(&mut self) {
        let (Some(netback), Some(bridge)) = (self.named(NETBACK), self.named(BRIDGE)) else {
            return;
        };
        let vif = Device {
            kind: "vif",
            number: 0,
            frontend: netback,
            backend: bridge,
        };
        // As Linux's vif interfaces: nothing is ever sent to this address.
        let mac = Mac([0xfe, 0xff, 0xff, 0xff, 0xff, 0xff]);
        let entries = vif_entries(&vif, &Vif::default(), mac, BRIDGE_NAME, true);
        if let Err(errno) = self.host.store_apply(&entries) {
            self.say(&format!("cannot connect netback to the bridge: {errno}"));
            return;
        }
        let deadline = self.host.now().saturating_add(UPLINK_WAIT);
        let path = format!("{}/state", vif.backend_path());
        let state = loop {
            let moment = self.host.now().saturating_add(UPLINK_LOOK).min(deadline);
            let state = self.wait_for(&path, moment, |state| state >= CONNECTED);
            if !self.guests.contains_key(&netback) {
                // It had no NIC, and has said so.
                return self.forget_device(&vif, true);
            }
            if state >= CONNECTED || self.host.now() >= deadline {
                break state;
            }
        };
        if state != CONNECTED {
            self.say("the network's uplink is not connected yet");
        } else {
            self.step("the network's uplink is connected");
        }
        if let Some(guest) = self.guests.get_mut(&netback) {
            guest.devices.push(vif);
        }
    }

    fn create_auto(&mut self) {
        let sources: Vec<String> = self
            .paths()
            .into_iter()
            .map(|(path, _)| path)
            .filter(|path| path.starts_with(AUTO) && path.ends_with(".cfg"))
            .collect();
        for source in sources {
            self.notice(&format!("creating /{source}"));
            match self.create_from_file(&source, &[], false) {
                Ok(domid) => {
                    let name = self.name_of(domid);
                    self.notice(&format!("{name} runs as domain {domid}"));
                }
                Err(error) => {
                    for line in error.message.lines() {
                        self.notice(line);
                    }
                }
            }
        }
    }

    /// The domain that serves devices of one kind.
    pub(crate) fn backend(&self, given: Option<&str>, default: &str) -> Result<DomId, String> {
        let name = given.unwrap_or(default);
        let by_number = name
            .parse()
            .ok()
            .filter(|domid| self.guests.contains_key(domid));
        by_number
            .or_else(|| self.named(name))
            .filter(|&domid| domid != DOMAIN_0)
            .ok_or_else(|| match name {
                DOMAIN_0_NAME | "0" => "Domain-0 serves no devices".to_string(),
                _ => format!("there is no backend domain '{name}'"),
            })
    }
}
