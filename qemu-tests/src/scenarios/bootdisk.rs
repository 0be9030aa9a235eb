//! The disk that boots by itself: BIOS or UEFI, GRUB, and loader.conf as the only file to edit.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::boot::DOMAINS;
use crate::archive::Archive;
use crate::bootdisk::{self, Content};
use crate::check;
use crate::fat::Files;
use crate::guest::Guest;
use crate::machine::qemu::{Boot, Machine};
use crate::machine::serial::Running;
use crate::scenario::{HANG, Scenario, Stage};

/// The scenarios of this subject.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "boot disk: BIOS, then other settings in loader.conf",
        debian: false,
        play: |stage| edited(stage, With::Bios),
    },
    Scenario {
        name: "boot disk: UEFI, then other settings in loader.conf",
        debian: false,
        play: |stage| edited(stage, With::Uefi),
    },
    Scenario {
        name: "boot disk: files that loader.conf names and the disk lacks are named",
        debian: false,
        play: missing,
    },
    Scenario {
        name: "boot disk: a loader.conf that GRUB cannot read is microhv's to complain about",
        debian: false,
        play: malformed,
    },
    Scenario {
        name: "boot disk: a Debian guest from a machine with BIOS",
        debian: true,
        play: |stage| debian(stage, With::Bios),
    },
    Scenario {
        name: "boot disk: a Debian guest from a machine with UEFI",
        debian: true,
        play: |stage| debian(stage, With::Uefi),
    },
];

/// The firmware that boots the disk.
#[derive(Clone, Copy)]
enum With {
    Bios,
    Uefi,
}

/// A disk with the files of `archive` and, for Debian guests, their volume.
fn disk(stage: &Stage, archive: &Archive, guest: bool) -> Result<PathBuf> {
    let loader = (stage.images().firmware)()?.loader;
    let target = stage.folder().join("disk.img");
    let root = stage.images().root.as_deref();
    let volume = if guest {
        Some(("debian-root", root.context("no Debian root file system")?))
    } else {
        None
    };
    let content = Content {
        loader: &loader,
        microhv: &stage.images().microhv,
        archive,
    };
    bootdisk::create(&target, content, volume.as_slice())?;
    Ok(target)
}

/// The default machine with the stage's disk.
fn machine(stage: &Stage, with: With) -> Result<Machine> {
    let mut machine = stage.machine();
    machine.disk = Some(stage.folder().join("disk.img"));
    machine.boot = match with {
        With::Bios => Boot::Bios,
        With::Uefi => {
            let firmware = (stage.images().firmware)()?;
            Boot::Uefi {
                code: firmware.code,
                vars: firmware.vars,
            }
        }
    };
    Ok(machine)
}

/// Every domain of loader.conf must be there; Domain-0's memory in MiB is returned.
fn dom0_memory(running: &mut Running) -> Result<String> {
    running.wait_prompt(HANG)?;
    let list = running.xl("xl list")?;
    for name in DOMAINS {
        check::row(&list, name)?;
    }
    let columns = check::row(&list, DOMAINS[0])?;
    Ok((*columns.get(2).context("no column Mem")?).to_owned())
}

fn edited(stage: &Stage, with: With) -> Result<()> {
    let disk = disk(stage, &stage.archive()?, false)?;
    let machine = machine(stage, with)?;
    let mut running = stage.start(&machine)?;
    let before = dom0_memory(&mut running)?;
    running.power_off()?;
    // What an operator would do: mount the disk, edit the file, and put another image where it says.
    let files = Files::open(&disk)?;
    let bridge = files.read("boot/bridge")?;
    files.remove("boot/bridge")?;
    files.write("images/new/bridge", &bridge)?;
    files.edit("boot/loader.conf", |text| {
        text.replacen("dom0_mem=64M", "dom0_mem=80M", 1).replacen(
            "\"/boot/bridge\"",
            "\"/images/new/bridge\"",
            1,
        )
    })?;
    files.close()?;
    let mut running = stage.start(&machine)?;
    let after = dom0_memory(&mut running)?;
    if (before.as_str(), after.as_str()) != ("64", "80") {
        bail!("Domain-0 had {before} MiB, and with dom0_mem=80M it has {after} MiB");
    }
    running.power_off()
}

fn missing(stage: &Stage) -> Result<()> {
    let mut archive = stage.archive()?;
    archive.remove("boot/netback");
    disk(stage, &archive, false)?;
    let mut running = stage.start(&machine(stage, With::Bios)?)?;
    running.wait_for("netback_kernel: \"/boot/netback\": ", HANG)?;
    let sentence = running.wait_for("\n", HANG)?;
    check::contains(&sentence, &["the boot archive has no file /boot/netback"])?;
    running.wait_prompt(HANG)?;
    running.power_off()
}

fn malformed(stage: &Stage) -> Result<()> {
    let mut archive = stage.archive()?;
    archive.edit("boot/loader.conf", |text| {
        "$(((=\"\nx=\"\n".to_owned() + &text
    })?;
    disk(stage, &archive, false)?;
    let mut running = stage.start(&machine(stage, With::Bios)?)?;
    running.wait_for("loader.conf:1:1: ", HANG)?;
    running.wait_for("loader.conf:2:4: x: ", HANG)?;
    dom0_memory(&mut running)?;
    running.power_off()
}

fn debian(stage: &Stage, with: With) -> Result<()> {
    let guest = Guest::new("debian", Some("10.0.2.20"));
    disk(stage, &stage.archive_with(&[guest])?, true)?;
    let mut running = stage.start(&machine(stage, with)?)?;
    running.wait_prompt(HANG)?;
    running.attach_when_up("debian")?;
    running.guest_address()?;
    running.guest("dd if=/dev/xvda of=/dev/null bs=1M count=64 2>/dev/null")?;
    running.detach()?;
    running.power_off()
}
