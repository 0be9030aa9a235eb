//! A domain's configuration as JSON: `xl list -l`, `xl create -n`. Names and values are libxl's
//! (`libxl_domain_config`); what has its default value is left out, as there.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use xen_abi::domctl::XenDomctlGetdomaininfo;
use xl_config::disk::Format;
use xl_config::{Affinity, Disk, DomainConfig, DomainType, Uuid, Vif};

use super::json::Json;
use crate::app::App;
use crate::guest::Device;
use crate::host::Host;

/// CPUs that an affinity speaks of.
const CPUS: u32 = 64;

/// What differs between a configuration and the domain that runs from it.
pub(super) struct Now {
    name: String,
    uuid: Option<Uuid>,
    /// KiB.
    max_memory: u64,
    target: u64,
    vcpus: Vec<u32>,
    max_vcpus: u32,
    weight: u32,
}

/// What is to become of `config`.
pub(super) fn planned(config: &DomainConfig) -> Json {
    let now = Now {
        name: config.name.clone(),
        uuid: config.uuid,
        max_memory: config.maxmem.unwrap_or(0) * 1024,
        target: config.memory.unwrap_or(0) * 1024,
        vcpus: (0..config.vcpus).collect(),
        max_vcpus: config.maxvcpus,
        weight: config.cpu_weight,
    };
    let disks = config.disks.iter().map(disk).collect();
    let nics = config.vifs.iter().enumerate().map(|(index, vif)| {
        let devid = vif.devid.unwrap_or(index as u32);
        nic(devid, vif.mac.map(|mac| mac.to_string()), vif)
    });
    whole(&now, Some(config), disks, nics.collect())
}

/// A domain that is there.
pub(super) fn running<H: Host>(app: &mut App<'_, H>, info: &XenDomctlGetdomaininfo) -> Json {
    let domid = info.domain;
    let home = format!("/local/domain/{domid}");
    let max_vcpus = info.max_vcpu_id.wrapping_add(1);
    let mut vcpus = Vec::new();
    for vcpu in 0..max_vcpus {
        let state = app
            .host
            .store_read(&format!("{home}/cpu/{vcpu}/availability"));
        if state.map_or(vcpu == 0, |state| state != "offline") {
            vcpus.push(vcpu);
        }
    }
    let number = |number: i64, otherwise: u64| u64::try_from(number).unwrap_or(otherwise);
    let held = info.tot_pages.saturating_mul(4);
    let target = number(app.store_number(&format!("{home}/memory/target")), held);
    let most = number(
        app.store_number(&format!("{home}/memory/static-max")),
        target,
    );
    let now = Now {
        name: app.name_of(domid),
        uuid: Some(Uuid(info.handle)),
        max_memory: most,
        target,
        vcpus,
        max_vcpus,
        weight: app.host.weight(domid).map_or(256, u32::from),
    };
    let guest = app.guests.get(&domid);
    let config = guest.and_then(|guest| guest.config.clone());
    let devices = guest.map(|guest| guest.devices.clone()).unwrap_or_default();
    let (mut disks, mut nics) = (Vec::new(), Vec::new());
    for device in &devices {
        if device.kind == "vbd" {
            disks.push(attached_disk(app, device));
        } else {
            nics.push(attached_nic(app, device));
        }
    }
    let config = whole(&now, config.as_ref(), disks, nics);
    Json::Map(vec![
        ("domid", Json::from(u32::from(domid))),
        ("config", config),
    ])
}

fn whole(now: &Now, config: Option<&DomainConfig>, disks: Vec<Json>, nics: Vec<Json>) -> Json {
    let kind = match config.and_then(|config| config.domain_type) {
        Some(DomainType::Pv) => "pv",
        Some(DomainType::Hvm) => "hvm",
        _ => "pvh",
    };
    let mut c_info = vec![
        ("type", Json::from(kind)),
        ("name", now.name.clone().into()),
    ];
    if let Some(uuid) = now.uuid {
        c_info.push(("uuid", uuid.to_string().into()));
    }
    let numbers = |numbers: &[u32]| Json::List(numbers.iter().copied().map(Json::from).collect());
    let mut b_info = vec![
        ("max_vcpus", Json::from(now.max_vcpus)),
        ("avail_vcpus", numbers(&now.vcpus)),
    ];
    if let Some(affinity) = config.and_then(|config| config.cpus.as_ref()) {
        let of = |vcpu: u32| {
            let cpus = affinity.of(vcpu as usize).words().first().copied();
            let cpus = cpus.unwrap_or(0);
            let set: Vec<u32> = (0..CPUS).filter(|cpu| cpus >> cpu & 1 == 1).collect();
            numbers(&set)
        };
        let named = match affinity {
            Affinity::All(_) => now.max_vcpus,
            Affinity::PerVcpu(lists) => now.max_vcpus.min(lists.len() as u32),
        };
        b_info.push((
            "vcpu_hard_affinity",
            Json::List((0..named).map(of).collect()),
        ));
    }
    b_info.push(("max_memkb", now.max_memory.into()));
    b_info.push(("target_memkb", now.target.into()));
    let sched = vec![
        ("sched", Json::from("credit2")),
        ("weight", Json::from(now.weight)),
    ];
    b_info.push(("sched_params", Json::Map(sched)));
    if let Some(config) = config {
        let texts = [
            ("bootloader", config.bootloader.as_deref()),
            ("kernel", config.kernel.as_deref()),
            ("cmdline", Some(config.cmdline.as_str())),
            ("ramdisk", config.ramdisk.as_deref()),
        ];
        for (name, text) in texts {
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                b_info.push((name, text.into()));
            }
        }
    }
    b_info.push(("type.pvh", Json::Map(Vec::new())));
    let mut all = vec![("c_info", Json::Map(c_info)), ("b_info", Json::Map(b_info))];
    if !disks.is_empty() {
        all.push(("disks", Json::List(disks)));
    }
    if !nics.is_empty() {
        all.push(("nics", Json::List(nics)));
    }
    if let Some(config) = config {
        for (name, action) in [
            ("on_poweroff", config.on_poweroff),
            ("on_reboot", config.on_reboot),
            ("on_watchdog", config.on_watchdog),
            ("on_crash", config.on_crash),
            ("on_soft_reset", config.on_soft_reset),
        ] {
            all.push((name, action.to_string().replace('-', "_").into()));
        }
    }
    Json::Map(all)
}

fn disk(disk: &Disk) -> Json {
    let format = match disk.format {
        Format::Raw => "raw",
        Format::Qcow => "qcow",
        Format::Qcow2 => "qcow2",
        Format::Vhd => "vhd",
        Format::Qed => "qed",
        Format::Empty => "empty",
    };
    let mut members = Vec::new();
    if let Some(backend) = &disk.backend {
        members.push(("backend_domname", Json::from(backend.as_str())));
    }
    if let Some(target) = &disk.target {
        members.push(("pdev_path", target.as_str().into()));
    }
    members.push(("vdev", disk.vdev.as_str().into()));
    members.push(("backend", "phy".into()));
    members.push(("format", format.into()));
    if let Some(script) = &disk.script {
        members.push(("script", script.as_str().into()));
    }
    if disk.cdrom {
        members.push(("removable", 1_u32.into()));
        members.push(("is_cdrom", 1_u32.into()));
    }
    if disk.writable {
        members.push(("readwrite", 1_u32.into()));
    }
    Json::Map(members)
}

fn nic(devid: u32, mac: Option<String>, vif: &Vif) -> Json {
    let mut members = vec![("devid", Json::from(devid))];
    if let Some(mtu) = vif.mtu {
        members.push(("mtu", mtu.into()));
    }
    if let Some(mac) = mac {
        members.push(("mac", mac.into()));
    }
    if let Some(ip) = &vif.ip {
        members.push(("ip", ip.as_str().into()));
    }
    if let Some(bridge) = &vif.bridge {
        members.push(("bridge", bridge.as_str().into()));
    }
    members.push(("nictype", "vif".into()));
    Json::Map(members)
}

/// A disk as the store has it.
fn attached_disk<H: Host>(app: &mut App<'_, H>, device: &Device) -> Json {
    let back = device.backend_path();
    let mut read = |name: &str| app.host.store_read(&format!("{back}/{name}")).ok();
    let (target, vdev) = (read("params"), read("dev"));
    let (mode, kind) = (read("mode"), read("device-type"));
    let mut members = vec![("backend_domid", Json::from(u32::from(device.backend)))];
    for (name, text) in [("pdev_path", target), ("vdev", vdev)] {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            members.push((name, text.into()));
        }
    }
    members.push(("backend", "phy".into()));
    members.push(("format", "raw".into()));
    if kind.as_deref() == Some("cdrom") {
        members.push(("removable", 1_u32.into()));
        members.push(("is_cdrom", 1_u32.into()));
    }
    if mode.is_some_and(|mode| mode.starts_with('w')) {
        members.push(("readwrite", 1_u32.into()));
    }
    Json::Map(members)
}

/// A network interface as the store has it.
fn attached_nic<H: Host>(app: &mut App<'_, H>, device: &Device) -> Json {
    let back = device.backend_path();
    let mut read = |name: &str| app.host.store_read(&format!("{back}/{name}")).ok();
    let vif = Vif {
        bridge: read("bridge"),
        ip: read("ip"),
        mtu: read("mtu").and_then(|mtu| mtu.parse().ok()),
        ..Vif::default()
    };
    let mac = read("mac");
    match nic(device.number, mac, &vif) {
        Json::Map(mut members) => {
            let backend = Json::from(u32::from(device.backend));
            members.insert(0, ("backend_domid", backend));
            Json::Map(members)
        }
        other => other,
    }
}
