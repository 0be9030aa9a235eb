//! What one device wants of another goes up to the IOMMU (ACS), and where it does not, a line says so.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::check;
use crate::machine::serial::Running;
use crate::scenario::{HANG, Scenario, Stage};

/// The scenarios of this subject.
pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "ACS: ports send up to the IOMMU what devices want of each other, or a line names them",
    debian: false,
    play: redirected,
}];

/// Root ports 5.0 and 5.1 (buses 1 and 2), and 6.0 with a switch of two ports (3; 4; 5 and 6), which in QEMU have no ACS.
/// A device below each, and one with three functions, 7.0 to 7.2.
const DEVICES: [&str; 13] = [
    "pcie-root-port,id=a,addr=5.0,multifunction=on,chassis=1",
    "pcie-root-port,id=b,addr=5.1,chassis=2",
    "pcie-root-port,id=c,addr=6.0,chassis=3",
    "x3130-upstream,id=up,bus=c",
    "xio3130-downstream,id=d,bus=up,addr=0.0,chassis=4",
    "xio3130-downstream,id=e,bus=up,addr=1.0,chassis=5",
    "virtio-rng-pci,bus=a",
    "virtio-rng-pci,bus=b",
    "virtio-rng-pci,bus=d",
    "virtio-rng-pci,bus=e",
    "virtio-rng-pci,addr=7.0,multifunction=on",
    "virtio-rng-pci,addr=7.1",
    "virtio-rng-pci,addr=7.2",
];
/// The ports that can.
const PORTS: [(u64, u64, u64); 3] = [(0, 5, 0), (0, 5, 1), (0, 6, 0)];
/// Two domains and what they get: below ports that can, below those that cannot, functions of one device.
const DOMAINS: [(&str, &str); 2] = [
    ("left", "1/0/0 5/0/0 0/7/0 0/7/2"),
    ("right", "2/0/0 6/0/0 0/7/1"),
];
/// And of whom a line says so: device, other device, who lets them through.
const OPEN: [(&str, &str, &str); 3] = [
    ("06:00.0", "05:00.0", "04:01.0"),
    ("00:07.1", "00:07.0", "00:07.1"),
    ("00:07.1", "00:07.2", "00:07.1"),
];

fn redirected(stage: &Stage) -> Result<()> {
    let mut archive = stage.archive()?;
    archive.file("boot/faulty", &stage.images().faulty);
    archive.edit("boot/loader.conf", |text| {
        let mut text = text.replace("blkback bridge\"", "blkback bridge left right\"");
        for (name, devices) in DOMAINS {
            text += &format!(
                "{name}_kernel=\"/boot/faulty\"\n{name}_memory=\"16M\"\n{name}_cmdline=\"do=sleep\"\n\
                 {name}_pptdevs=\"{devices}\"\n"
            );
        }
        text
    })?;
    let mut machine = stage.machine();
    for device in DEVICES {
        let how = if device.starts_with("virtio") {
            ",iommu_platform=on,disable-legacy=on"
        } else {
            ""
        };
        let words = ["-device".into(), format!("{device}{how}").into()];
        machine.extra.extend(words);
    }
    let mut running = stage.boot(machine, &archive)?;
    running.wait_prompt(HANG)?;
    let said = running.xl("xl dmesg")?;
    for (device, other, open) in OPEN {
        let line = format!(
            "PCI: {device} (d6) and {other} (d5) may reach each other's registers behind the IOMMU's back: {open} has no ACS"
        );
        check::contains(&said, &[&line])?;
    }
    let lines = said.matches("behind the IOMMU's back").count();
    ensure!(lines == OPEN.len(), "{lines} lines about peers:\n{said}");
    let assigned = said.matches(" assigned to d").count();
    ensure!(
        assigned == 2 + 4 + 3,
        "{assigned} devices assigned:\n{said}"
    );
    let on = said.matches(" has ACS on").count();
    ensure!(on == PORTS.len(), "{on} devices with ACS:\n{said}");
    for (bus, device, function) in PORTS {
        let line = format!("PCI: {bus:02x}:{device:02x}.{function} has ACS on");
        check::contains(&said, &[&line])?;
        let control = control(&mut running, bus << 20 | device << 15 | function << 12)?;
        ensure!(control == 0x1f, "{line}: the register has {control:#x}");
    }
    running.power_off()
}

/// The ACS control register of a root port of QEMU's, of which `offset` says where in extended configuration space it is.
fn control(running: &mut Running, offset: u64) -> Result<u32> {
    /// The capability.
    const ACS: u64 = 0x148;
    let tree = monitor(running, "info mtree")?;
    let line = tree
        .lines()
        .find(|line| line.contains("pcie-mmcfg-mmio"))
        .with_context(|| format!("no extended configuration space in:\n{tree}"))?;
    let base = line.trim().split('-').next().unwrap_or_default();
    let base = u64::from_str_radix(base, 16).with_context(|| line.to_owned())?;
    let at = base + offset + ACS;
    let words = monitor(running, &format!("xp /2wx {at:#x}"))?;
    let words: Vec<_> = words
        .split_whitespace()
        .skip(1)
        .filter_map(|word| u32::from_str_radix(word.strip_prefix("0x")?, 16).ok())
        .collect();
    ensure!(
        matches!(words[..], [header, _] if header & 0xffff == 0xd),
        "no ACS capability at {at:#x}: {words:x?}"
    );
    Ok(words[1] >> 16)
}

fn monitor(running: &mut Running, line: &str) -> Result<String> {
    let answer = running.qmp("human-monitor-command", &json!({"command-line": line}))?;
    Ok(answer.as_str().unwrap_or_default().to_owned())
}
