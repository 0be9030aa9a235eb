//! What xenstore says of a domain and its devices: paths, values and permissions as libxl writes them
//! (Xen `docs/misc/xenstore-paths.pandoc`).

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use xen_abi::DomId;
use xl_config::{Disk, Mac, Vif};

use crate::host::Permission;

/// Bytes of console output that a backend may keep, as libxl writes it.
const CONSOLE_LIMIT: u32 = 1 << 20;

/// One node. Permissions, where there are any, are set after the value; nodes below inherit them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Absolute path.
    pub path: String,
    /// `None` for a node that only has to be there.
    pub value: Option<String>,
    /// Owner first; empty: inherited.
    pub permissions: Vec<Permission>,
}

/// A device of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// `vbd` or `vif`.
    pub kind: &'static str,
    /// Its number.
    pub number: u32,
    /// The domain that has it.
    pub frontend: DomId,
    /// The domain that serves it.
    pub backend: DomId,
}

impl Device {
    /// Path of the frontend's half.
    #[must_use]
    pub fn frontend_path(&self) -> String {
        format!(
            "/local/domain/{}/device/{}/{}",
            self.frontend, self.kind, self.number
        )
    }

    /// Path of the backend's half.
    #[must_use]
    pub fn backend_path(&self) -> String {
        format!(
            "/local/domain/{}/backend/{}/{}/{}",
            self.backend, self.kind, self.frontend, self.number
        )
    }

    /// Path of libxl's own record of it.
    #[must_use]
    pub fn record_path(&self) -> String {
        format!(
            "/libxl/{}/device/{}/{}",
            self.frontend, self.kind, self.number
        )
    }
}

/// Facts about a domain for [`domain_entries`].
#[derive(Clone, Copy, Debug)]
pub struct DomainEntries<'a> {
    /// Number.
    pub domid: DomId,
    /// Name.
    pub name: &'a str,
    /// UUID as text.
    pub uuid: &'a str,
    /// KiB of memory.
    pub memory: u64,
    /// KiB at most.
    pub max_memory: u64,
    /// vCPUs that are online at the start.
    pub vcpus: u32,
    /// vCPUs at most.
    pub max_vcpus: u32,
    /// Frame and port of the xenstore ring.
    pub store: Option<(u64, u32)>,
    /// Frame and port of the console, for domains that have one in Domain-0.
    pub console: Option<(u64, u32)>,
    /// Path of the kernel.
    pub kernel: &'a str,
}

/// Collects entries.
#[derive(Default)]
struct Entries(Vec<Entry>);

impl Entries {
    fn node(&mut self, path: impl Into<String>, permissions: &[Permission]) {
        let permissions = permissions.to_vec();
        self.0.push(Entry {
            path: path.into(),
            value: None,
            permissions,
        });
    }

    fn value(&mut self, path: impl Into<String>, value: impl ToString) {
        let value = Some(value.to_string());
        self.0.push(Entry {
            path: path.into(),
            value,
            permissions: Vec::new(),
        });
    }
}

/// Nodes of the domain itself.
#[must_use]
pub fn domain_entries(domain: &DomainEntries<'_>) -> Vec<Entry> {
    let DomainEntries {
        domid, name, uuid, ..
    } = *domain;
    // What the domain may read, what it may write too, and what it may not see.
    let read_only = [Permission::none(0), Permission::read(domid)];
    let its_own = [Permission::none(domid)];
    let hidden = [Permission::none(0)];

    let mut entries = Entries::default();
    let home = format!("/local/domain/{domid}");
    let vm = format!("/vm/{uuid}");
    let libxl = format!("/libxl/{domid}");
    entries.node(home.as_str(), &read_only);
    entries.node(vm.as_str(), &read_only);
    entries.node(libxl.as_str(), &hidden);
    entries.value(format!("{home}/vm"), &vm);
    entries.value(format!("{home}/name"), name);
    entries.value(format!("{home}/domid"), domid);
    for node in ["cpu", "memory", "device", "control"] {
        entries.node(format!("{home}/{node}"), &read_only);
    }
    for node in [
        "control/shutdown",
        "control/feature-poweroff",
        "control/feature-reboot",
        "control/feature-suspend",
        "control/sysrq",
        "data",
        "drivers",
        "feature",
        "attr",
    ] {
        entries.node(format!("{home}/{node}"), &its_own);
    }
    entries.value(
        format!("{home}/control/platform-feature-multiprocessor-suspend"),
        1,
    );
    entries.value(
        format!("{home}/control/platform-feature-xs_reset_watches"),
        1,
    );
    entries.value(format!("{home}/memory/static-max"), domain.max_memory);
    entries.value(format!("{home}/memory/target"), domain.memory);
    entries.value(format!("{home}/memory/videoram"), 0);
    for vcpu in 0..domain.max_vcpus {
        let state = if vcpu < domain.vcpus {
            "online"
        } else {
            "offline"
        };
        entries.value(format!("{home}/cpu/{vcpu}/availability"), state);
    }
    entries.value(format!("{vm}/uuid"), uuid);
    entries.value(format!("{vm}/name"), name);
    entries.value(format!("{vm}/image/ostype"), "linux");
    entries.value(format!("{vm}/image/kernel"), domain.kernel);
    entries.value(format!("{libxl}/type"), "pvh");
    if let Some((gfn, port)) = domain.store {
        entries.value(format!("{home}/store/ring-ref"), gfn);
        entries.value(format!("{home}/store/port"), port);
    }
    if let Some((gfn, port)) = domain.console {
        console_entries(&mut entries, domid, gfn, port);
    }
    entries.0
}

fn console_entries(entries: &mut Entries, domid: DomId, gfn: u64, port: u32) {
    let front = format!("/local/domain/{domid}/console");
    let back = format!("/local/domain/0/backend/console/{domid}/0");
    entries.node(
        front.as_str(),
        &[Permission::none(0), Permission::read(domid)],
    );
    entries.value(format!("{front}/backend"), &back);
    entries.value(format!("{front}/backend-id"), 0);
    entries.value(format!("{front}/type"), "xenconsoled");
    entries.value(format!("{front}/output"), "pty");
    entries.value(format!("{front}/tty"), "");
    entries.value(format!("{front}/limit"), CONSOLE_LIMIT);
    entries.value(format!("{front}/ring-ref"), gfn);
    entries.value(format!("{front}/port"), port);
    entries.node(
        back.as_str(),
        &[Permission::none(0), Permission::read(domid)],
    );
    entries.value(format!("{back}/frontend"), &front);
    entries.value(format!("{back}/frontend-id"), domid);
    entries.value(format!("{back}/online"), 1);
    entries.value(format!("{back}/state"), 1);
    entries.value(format!("{back}/protocol"), "vt100");
}

/// The directories of both halves with what every device has in them, and libxl's record.
fn device(device: &Device) -> Entries {
    let mut entries = Entries::default();
    let (front, back, record) = (
        device.frontend_path(),
        device.backend_path(),
        device.record_path(),
    );
    let (frontend, backend) = (device.frontend, device.backend);
    entries.value(format!("{record}/frontend"), &front);
    entries.value(format!("{record}/backend"), &back);
    // Each end owns its half and reads the other.
    entries.node(
        back.as_str(),
        &[Permission::none(backend), Permission::read(frontend)],
    );
    entries.node(
        front.as_str(),
        &[Permission::none(frontend), Permission::read(backend)],
    );
    entries.value(format!("{front}/backend"), &back);
    entries.value(format!("{front}/backend-id"), backend);
    entries.value(format!("{back}/frontend"), &front);
    entries.value(format!("{back}/frontend-id"), frontend);
    entries.value(format!("{back}/online"), 1);
    entries
}

/// `state` comes last in each half: a watcher that sees it finds the rest.
fn finish(mut entries: Entries, device: &Device) -> Vec<Entry> {
    entries.value(format!("{}/state", device.frontend_path()), 1);
    entries.value(format!("{}/state", device.backend_path()), 1);
    entries.0
}

/// Bytes of a value; xenstore's largest is 2048.
const LIST_MAX: usize = 1900;

/// Nodes that say where on the partition `volume` the file is that a disk is made of: ranges of sectors by the first and their
/// number (docs/disk.md). They belong before those of [`vbd_entries`].
#[must_use]
pub fn extent_entries(vbd: &Device, volume: &str, ranges: &[(u64, u64)]) -> Vec<Entry> {
    let back = vbd.backend_path();
    let mut entries = Entries::default();
    entries.value(format!("{back}/extents-of"), volume);
    let mut lists: Vec<String> = Vec::new();
    for (first, count) in ranges {
        let range = format!("{first}+{count}");
        match lists.last_mut() {
            Some(list) if list.len() + range.len() < LIST_MAX => {
                list.push(',');
                list.push_str(&range);
            }
            _ => lists.push(range),
        }
    }
    for (index, list) in lists.iter().enumerate() {
        entries.value(format!("{back}/extents/{index}"), list);
    }
    entries.0
}

/// Nodes of a disk.
#[must_use]
pub fn vbd_entries(vbd: &Device, disk: &Disk, bootable: bool) -> Vec<Entry> {
    let mut entries = device(vbd);
    let (front, back) = (vbd.frontend_path(), vbd.backend_path());
    let kind = if disk.cdrom { "cdrom" } else { "disk" };
    let target = disk.target.as_deref().unwrap_or_default();
    let discard = disk.discard.unwrap_or(disk.writable);
    entries.value(format!("{front}/virtual-device"), vbd.number);
    // Linux takes no CD drives as a PVH guest, for HVM guests have emulated ones; it takes a disk for reading.
    entries.value(format!("{front}/device-type"), "disk");
    entries.value(
        format!("{front}/trusted"),
        u8::from(disk.trusted != Some(false)),
    );
    entries.value(format!("{back}/removable"), u8::from(disk.cdrom));
    entries.value(format!("{back}/bootable"), u8::from(bootable));
    entries.value(format!("{back}/dev"), &disk.vdev);
    let file = disk.is_file();
    entries.value(format!("{back}/type"), if file { "file" } else { "phy" });
    entries.value(format!("{back}/params"), target);
    entries.value(
        format!("{back}/mode"),
        match (disk.writable, disk.shared) {
            (true, true) => "w!",
            (true, false) => "w",
            (false, _) => "r",
        },
    );
    entries.value(format!("{back}/device-type"), kind);
    entries.value(format!("{back}/discard-enable"), u8::from(discard));
    entries.value(
        format!("{back}/direct-io-safe"),
        u8::from(disk.direct_io_safe),
    );
    finish(entries, vbd)
}

/// Nodes of a network interface; `uplink` for the one that leads out of the machine.
#[must_use]
pub fn vif_entries(
    device_: &Device,
    vif: &Vif,
    mac: Mac,
    bridge: &str,
    uplink: bool,
) -> Vec<Entry> {
    let mut entries = device(device_);
    let (front, back) = (device_.frontend_path(), device_.backend_path());
    let handle = device_.number;
    let mtu = vif.mtu.unwrap_or(1500);
    for half in [&front, &back] {
        entries.value(format!("{half}/handle"), handle);
        entries.value(format!("{half}/mac"), mac);
        entries.value(format!("{half}/mtu"), mtu);
    }
    entries.value(
        format!("{front}/trusted"),
        u8::from(vif.trusted != Some(false)),
    );
    entries.value(format!("{back}/bridge"), bridge);
    entries.value(format!("{back}/type"), "vif");
    entries.value(
        format!("{back}/script"),
        vif.script.as_deref().unwrap_or_default(),
    );
    let name = format!("vif{}.{handle}", device_.frontend);
    entries.value(
        format!("{back}/vifname"),
        vif.vifname.as_deref().unwrap_or(&name),
    );
    if let Some(ip) = &vif.ip {
        entries.value(format!("{back}/ip"), ip);
    }
    if let Some(rate) = vif.rate {
        let rate = format!("{},{}", rate.bytes_per_interval, rate.interval_usecs);
        entries.value(format!("{back}/rate"), rate);
    }
    if uplink {
        entries.value(format!("{back}/uplink"), 1);
    }
    finish(entries, device_)
}

#[cfg(test)]
mod tests;
