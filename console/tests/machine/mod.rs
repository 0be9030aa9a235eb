//! A pretended machine: domains that only exist in tables, a store without permissions, an operator who types.
#![allow(dead_code, reason = "each test file uses a part")]

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

impl Control for Pretend {
    fn domains(&mut self) -> Result<Vec<XenDomctlGetdomaininfo>, Errno> {
        Ok(self.domains.values().map(|domain| domain.info).collect())
    }
    fn domain(&mut self, domid: DomId) -> Result<XenDomctlGetdomaininfo, Errno> {
        Ok(self.get(domid)?.info)
    }
    fn vcpu(&mut self, domid: DomId, vcpu: u32) -> Result<XenDomctlGetvcpuinfo, Errno> {
        self.get(domid)?;
        Ok(XenDomctlGetvcpuinfo {
            vcpu,
            online: 1,
            blocked: 1,
            cpu: 1,
            cpu_time: 2_500_000_000,
            ..Default::default()
        })
    }
    fn affinity(&mut self, domid: DomId, vcpu: u32) -> Result<u64, Errno> {
        Ok(self
            .get(domid)?
            .affinity
            .get(&vcpu)
            .copied()
            .unwrap_or(u64::MAX))
    }
    fn set_affinity(&mut self, domid: DomId, vcpu: u32, cpus: u64) -> Result<(), Errno> {
        self.get(domid)?.affinity.insert(vcpu, cpus);
        Ok(())
    }
    fn set_weight(&mut self, domid: DomId, weight: u16, cap: u16) -> Result<(), Errno> {
        self.get(domid)?.weight = Some((weight, cap));
        Ok(())
    }
    fn weight(&mut self, domid: DomId) -> Result<u16, Errno> {
        Ok(self.get(domid)?.weight.map_or(256, |(weight, _)| weight))
    }
    fn set_max_pages(&mut self, domid: DomId, pages: u64) -> Result<(), Errno> {
        self.get(domid)?.info.max_pages = pages;
        Ok(())
    }
    fn trigger(&mut self, domid: DomId, vcpu: u32, trigger: u32) -> Result<(), Errno> {
        let domain = self.get(domid)?;
        if vcpu > domain.info.max_vcpu_id {
            return Err(Errno::ESRCH);
        }
        if trigger != 0 {
            return Err(Errno::ENOSYS);
        }
        domain.triggers.push((vcpu, trigger));
        Ok(())
    }
    fn physinfo(&mut self) -> Result<XenSysctlPhysinfo, Errno> {
        Ok(XenSysctlPhysinfo {
            nr_cpus: 2,
            max_cpu_id: 1,
            free_pages: self.free_pages,
            total_pages: 1 << 19,
            cpu_khz: 2_000_001,
            ..Default::default()
        })
    }
    fn version(&mut self) -> Version {
        Version {
            major: 4,
            minor: 17,
            extra: "-microhv".into(),
            ..Version::default()
        }
    }
    fn microhv_info(&mut self) -> Result<Info, Errno> {
        Ok(Info {
            image_bytes: 700 << 10,
            ..Default::default()
        })
    }
    fn exits(&mut self, domid: DomId) -> Result<Exits, Errno> {
        self.get(domid)?;
        let mut exits = Exits {
            events_sent: 7,
            ..Default::default()
        };
        exits.exits[1] = 5;
        exits.hypercalls[29] = 11;
        Ok(exits)
    }
    fn holdings(&mut self, domid: DomId) -> Result<Holdings, Errno> {
        let pages = self.get(domid)?.info.tot_pages;
        Ok(Holdings {
            domid,
            ports: 3,
            grants_used: 2,
            grants_mapped: 1,
            pages,
            ..Default::default()
        })
    }
    fn log(&mut self, clear: bool) -> Result<Vec<u8>, Errno> {
        let log = self.log.clone();
        if clear {
            self.log.clear();
        }
        Ok(log)
    }
    fn create_domain(&mut self, handle: [u8; 16], vcpus: u32, pages: u64) -> Result<DomId, Errno> {
        self.step("create")?;
        let domid = (1..)
            .find(|domid| !self.domains.contains_key(domid))
            .unwrap();
        let mut domain = Domain {
            pauses: 1,
            room: 1024,
            ..Domain::default()
        };
        domain.info.domain = domid;
        domain.info.handle = handle;
        domain.info.max_pages = pages;
        domain.info.nr_online_vcpus = vcpus;
        domain.info.max_vcpu_id = vcpus - 1;
        domain.info.flags = DominfFlags::HVM_GUEST | DominfFlags::PAUSED;
        self.domains.insert(domid, domain);
        Ok(domid)
    }
    fn destroy_domain(&mut self, domid: DomId) -> Result<(), Errno> {
        self.step("destroy")?;
        let domain = self.domains.remove(&domid).ok_or(Errno::ESRCH)?;
        self.free_pages += domain.info.tot_pages;
        Ok(())
    }
    fn pause_domain(&mut self, domid: DomId) -> Result<(), Errno> {
        let domain = self.get(domid)?;
        domain.pauses += 1;
        domain.info.flags |= DominfFlags::PAUSED;
        Ok(())
    }
    fn unpause_domain(&mut self, domid: DomId) -> Result<(), Errno> {
        self.step("unpause")?;
        let domain = self.get(domid)?;
        domain.pauses -= 1;
        domain.info.flags = DominfFlags::HVM_GUEST | DominfFlags::BLOCKED;
        if let Some(path) = self.ends_at_once.take() {
            self.store.insert(path, "poweroff".into());
        }
        Ok(())
    }
    fn populate(&mut self, domid: DomId, range: Range) -> Result<(), Errno> {
        self.step("populate")?;
        self.free_pages -= range.frames();
        self.get(domid)?.info.tot_pages += range.frames();
        Ok(())
    }
    fn set_memory_map(&mut self, _: DomId, map: &MemoryMap) -> Result<(), Errno> {
        assert!(map.len() >= 3);
        Ok(())
    }
    fn write_memory(&mut self, domid: DomId, gpa: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.step("write")?;
        self.get(domid)?.written.insert(gpa, bytes.len());
        Ok(())
    }
    fn seed_grants(&mut self, domid: DomId, grants: &[(u32, DomId, u64)]) -> Result<(), Errno> {
        self.step("grants")?;
        self.get(domid)?.grants = grants.to_vec();
        Ok(())
    }
    fn hvm_param(&mut self, domid: DomId, index: u32) -> Result<u64, Errno> {
        Ok(self.get(domid)?.params.get(&index).copied().unwrap_or(0))
    }
    fn set_hvm_param(&mut self, domid: DomId, index: u32, value: u64) -> Result<(), Errno> {
        self.get(domid)?.params.insert(index, value);
        Ok(())
    }
    fn alloc_unbound(&mut self, domid: DomId, _: DomId) -> Result<u32, Errno> {
        self.get(domid)?;
        self.next_port += 1;
        Ok(self.next_port)
    }
    fn set_vcpu(&mut self, domid: DomId, state: &VcpuState) -> Result<(), Errno> {
        self.step("vcpu")?;
        self.get(domid)?.vcpu = Some(*state);
        Ok(())
    }
    fn shutdown_machine(&mut self, reason: u32) -> Errno {
        self.ended = Some(reason);
        Errno::EPERM
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

/// An ustar archive of `files`.
pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (path, bytes) in files {
        let mut header = [0_u8; 512];
        header[..path.len()].copy_from_slice(path.as_bytes());
        header[100..108].copy_from_slice(b"0000644\0");
        header[108..116].copy_from_slice(b"0000000\0");
        header[116..124].copy_from_slice(b"0000000\0");
        header[124..136].copy_from_slice(format!("{:011o}\0", bytes.len()).as_bytes());
        header[136..148].copy_from_slice(b"00000000000\0");
        header[148..156].fill(b' ');
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend(header);
        out.extend(*bytes);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

/// A kernel: 64-bit ELF with one segment at 16 MiB and the PVH note.
pub fn kernel() -> Vec<u8> {
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for wide in [0_u64, 64, 0] {
        file.extend(wide.to_le_bytes());
    }
    file.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 2, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    let mut note = Vec::new();
    for word in [4_u32, 4, 18] {
        note.extend(word.to_le_bytes());
    }
    note.extend(b"Xen\0");
    note.extend(0x100_0000_u32.to_le_bytes());
    let data = 64 + 2 * 56;
    for (kind, offset, address, size, memory) in [
        (1_u32, data + 20, 0x100_0000_u64, 4_u64, 0x10_0000_u64),
        (4, data, 0, 20, 20),
    ] {
        file.extend(kind.to_le_bytes());
        file.extend(7_u32.to_le_bytes());
        for wide in [offset, 0, address, size, memory, 4] {
            file.extend(wide.to_le_bytes());
        }
    }
    file.extend(note);
    file.extend(b"code");
    file
}
