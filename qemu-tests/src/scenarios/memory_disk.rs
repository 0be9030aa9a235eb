//! Disks made of boot modules, and machines without anything that could be assigned.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::archive::Archive;
use crate::bootdisk::{self, Content};
use crate::disk::{self, Partition};
use crate::guest::Guest;
use crate::machine::qemu::{Boot, Iommu, Machine};
use crate::machine::serial::Running;
use crate::memory::Memory;
use crate::net::{noise, sha256};
use crate::scenario::{HANG, Scenario, Stage};
use crate::scenarios::hotplug::reads_zeros;
use crate::{check, small_root};

/// The scenarios of this subject.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "md disk: without IOMMU and devices, two Debian guests on a boot module and a bridge without uplink",
        debian: true,
        play: alone,
    },
    Scenario {
        name: "md disk: beside the machine's disk, through GRUB",
        debian: true,
        play: beside,
    },
    Scenario {
        name: "md disk: devices that cannot be assigned for want of an IOMMU are named and nobody waits for them",
        debian: true,
        play: unassigned,
    },
];

/// loader.conf's words for the disk.
const MDROOT: &str =
    "mdroot_load=\"YES\"\nmdroot_type=\"md_image\"\nmdroot_name=\"/boot/disk.img\"\n";
/// Bytes of the guests' data on it.
const DATA: usize = 64 << 20;

/// loader.conf for a machine that has nothing to assign.
fn without_devices(text: String) -> String {
    let kept = text
        .lines()
        .filter(|line| !line.contains("pptdevs") && !line.starts_with("netback_"));
    let text: String = kept.map(|line| format!("{line}\n")).collect();
    text.replace(
        "\"xenstore netback blkback bridge\"",
        "\"xenstore blkback bridge\"",
    )
    .replace("loglvl=all\"", "loglvl=all iommu=off\"")
    .replace("addm em0 SYNCDHCP", "inet 10.9.0.254/24")
}

/// An image with the roots of `guests`, and random data as the partitions `data`, for them, and `mark`, which nobody reads.
fn image(stage: &Stage, guests: &[&str]) -> Result<PathBuf> {
    let folder = stage.folder();
    let built = stage.images().root.as_ref();
    let built = built.context("no Debian root file system")?;
    let root = folder.join("small.ext4");
    small_root::make(&built.with_file_name("root"), folder, &root)?;
    let (data, mark) = (folder.join("data"), folder.join("mark"));
    fs::write(&data, noise(1, DATA))?;
    fs::write(&mark, noise(2, 4096))?;
    let part = |name: String, size, content| Partition {
        name,
        size,
        content: Some(content),
    };
    let roots = guests.iter();
    let mut partitions: Vec<_> = roots
        .map(|name| part(format!("{name}-root"), small_root::SIZE, root.clone()))
        .collect();
    partitions.push(part("data".into(), DATA as u64, data));
    partitions.push(part("mark".into(), 1 << 20, mark));
    let target = folder.join("md.img");
    disk::create(&target, &partitions)?;
    Ok(target)
}

fn alone(stage: &Stage) -> Result<()> {
    let one = Guest {
        more: "",
        memory: 192,
        ..Guest::new("one", Some("10.9.0.1"))
    };
    let two = Guest {
        vcpus: 1,
        memory: 128,
        ..Guest::new("two", Some("10.9.0.2"))
    };
    let mut archive = stage.archive_with(&[one, two])?;
    archive
        .file("boot/disk.img", image(stage, &["one", "two"])?)
        .edit("boot/loader.conf", |text| without_devices(text) + MDROOT)?
        .edit("etc/xen/auto/one.cfg", |text| {
            text.replace(",rw']", ",rw', '/dev/gpt/data,raw,xvdb,rw']")
        })?;
    let mut machine = stage.machine();
    (machine.iommu, machine.disk, machine.nic) = (Iommu::None, None, None);
    let mut running = stage.boot(machine, &archive)?;
    running.wait_prompt(HANG)?;
    let said = running.transcript();
    check::contains(
        &said,
        &[
            "IOMMU: off (iommu=off): no device is assigned to any domain",
            "md0: /boot/disk.img, ",
            "lost when the machine ends",
        ],
    )?;
    if said.contains("uplink") {
        bail!("somebody speaks of an uplink:\n{said}");
    }
    let list = running.xl("xl list")?;
    let domains = ["Domain-0", "xenstore", "blkback", "bridge"];
    for (number, name) in (0..).zip(domains) {
        if check::row(&list, name)?.get(1) != Some(&format!("{number}").as_str()) {
            bail!("{name} is not domain {number}:\n{list}");
        }
    }
    only_once(stage, &mut running)?;
    if running.xl("ls /boot")?.contains("disk.img") {
        bail!("Domain-0 has a file that is blkback's disk");
    }

    running.attach_when_up("one")?;
    check::contains(
        &running.guest("nproc; mount")?,
        &["2\n", "/dev/xvda on / type ext4 (rw"],
    )?;
    check::contains(
        &running.guest("sha256sum /dev/xvdb")?,
        &[&sha256(&noise(1, DATA))],
    )?;
    running.guest("dd if=/dev/urandom of=/tmp/new bs=64k count=200 2>/dev/null")?;
    running.guest("dd if=/tmp/new of=/dev/xvdb bs=64k seek=100 conv=notrunc,fsync 2>/dev/null")?;
    running.guest("echo 3 > /proc/sys/vm/drop_caches")?;
    running.guest("dd if=/dev/xvdb bs=64k skip=100 count=200 2>/dev/null | cmp - /tmp/new")?;
    let sum = running.guest("sha256sum /dev/xvdb; echo one > /root/name; sync")?;
    address(&mut running, "10.9.0.1/24")?;
    running.detach()?;
    running.attach_when_up("two")?;
    address(&mut running, "10.9.0.2/24")?;
    ping(&mut running)?;
    // bridge0 itself.
    reaches(&mut running, "10.9.0.254")?;
    running.detach()?;
    let vifs = running.xl("xl network-list one")?;
    if !vifs
        .lines()
        .any(|line| line.split_whitespace().nth(4) == Some("4"))
    {
        bail!("the vif is not connected:\n{vifs}");
    }
    for _ in 0..2 {
        for guest in ["one", "two"] {
            running.xl(&format!("xl destroy {guest}"))?;
            running.xl(&format!("xl create /etc/xen/auto/{guest}.cfg"))?;
        }
    }
    running.attach_when_up("one")?;
    check::contains(
        &running.guest("sha256sum /dev/xvdb; cat /root/name")?,
        &[sum.trim(), "one\n"],
    )?;
    address(&mut running, "10.9.0.1/24")?;
    running.detach()?;
    running.attach_when_up("two")?;
    address(&mut running, "10.9.0.2/24")?;
    ping(&mut running)?;
    running.detach()?;
    // This disk makes no zeros itself: they are written.
    running.xl("volume destroy mark")?;
    running.xl("volume create -V 1M new")?;
    reads_zeros(&mut running, "two", "new")?;
    running.power_off()
}

/// The image is in the machine's memory, and there is no copy of it.
fn only_once(stage: &Stage, running: &mut Running) -> Result<()> {
    let mut memory = Memory::copy(stage, running, 2 << 30)?;
    let places = memory.find(&noise(2, 4096), 512)?;
    if places.len() != 1 {
        bail!("the image is in memory at {places:#x?}");
    }
    Ok(())
}

/// Gives the attached guest an address by hand: there is no DHCP server.
pub(super) fn address(running: &mut Running, address: &str) -> Result<()> {
    // The client takes addresses away when it starts and when it ends.
    running.guest_until("killall udhcpc 2>/dev/null")?;
    running.guest_until("! ps | grep -q '[u]dhcpc'")?;
    let set = format!("ip link set eth0 up && ip addr replace {address} dev eth0");
    running.guest(&set).map(drop)
}

/// The attached guest reaches the other one.
pub(super) fn ping(running: &mut Running) -> Result<()> {
    reaches(running, "10.9.0.1")
}

fn reaches(running: &mut Running, address: &str) -> Result<()> {
    let said = running.guest(&format!("ping -c 3 {address}"))?;
    check::contains(&said, &["3 packets received, 0% packet loss"])
}

fn beside(stage: &Stage) -> Result<()> {
    let guest = Guest::new("debian", None);
    let mut archive = stage.archive_with(std::slice::from_ref(&guest))?;
    archive
        .file("boot/disk.img", image(stage, &[])?)
        .edit("boot/loader.conf", |text| text + MDROOT)?
        .edit("etc/xen/auto/debian.cfg", |text| {
            text.replace(",rw']", ",rw', '/dev/md0p1,raw,xvdb,rw']")
        })?;
    let machine = boot_disk(stage, &archive)?;
    let mut running = stage.start(&machine)?;
    running.wait_prompt(HANG * 3)?;
    only_once(stage, &mut running)?;
    running.attach_when_up("debian")?;
    let sum = running.guest("sha256sum /dev/xvdb")?;
    check::contains(&sum, &[&sha256(&noise(1, DATA))])?;
    running.detach()?;
    running.power_off()
}

/// A machine with BIOS and a disk with the files of `archive` and the Debian guest's volume.
fn boot_disk(stage: &Stage, archive: &Archive) -> Result<Machine> {
    let loader = (stage.images().firmware)()?.loader;
    let root = stage.images().root.as_deref();
    let target = stage.folder().join("disk.img");
    let content = Content {
        loader: &loader,
        microhv: &stage.images().microhv,
        archive,
    };
    let volume = ("debian-root", root.context("no Debian root file system")?);
    bootdisk::create(&target, content, &[volume])?;
    let mut machine = stage.machine();
    machine.disk = Some(target);
    machine.boot = Boot::Bios;
    Ok(machine)
}

fn unassigned(stage: &Stage) -> Result<()> {
    let mut archive = stage.archive_with(&[])?;
    archive
        .bytes("etc/xen/debian.cfg", Guest::new("debian", None).config())
        .edit("boot/loader.conf", |text| {
            text.replace("loglvl=all\"", "loglvl=all iommu=off\"")
        })?;
    let mut machine = stage.machine();
    machine.iommu = Iommu::None;
    let mut running = stage.boot(machine, &archive)?;
    running.wait_prompt(HANG)?;
    let said = running.transcript();
    let reason = "not assigned: there is no IOMMU in use";
    check::contains(
        &said,
        &[
            &format!("netback_pptdevs: \"0/3/0\": {reason}"),
            &format!("blkback_pptdevs: \"0/2/0\": {reason}"),
            "no NIC is assigned: bridge0 has no uplink",
            "netback (domain 2) has stopped: poweroff; destroyed",
            "there are no disks: no controller is assigned",
        ],
    )?;
    if said.contains("not connected yet") {
        bail!("Domain-0 waited for the uplink:\n{said}");
    }
    let refused = running.command("xl create /etc/xen/debian.cfg", HANG)?;
    check::contains(
        &refused.text,
        &["there is no disk \"/dev/gpt/debian-root\""],
    )?;
    let list = running.xl("xl list")?;
    check::row(&list, "blkback")?;
    if refused.code == 0 || list.contains("debian") {
        bail!("a guest was created without its disk:\n{list}");
    }
    running.power_off()
}
