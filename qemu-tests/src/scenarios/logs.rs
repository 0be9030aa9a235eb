//! Domain-0's logs on the disk.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::boot::DOMAINS;
use crate::disk::{self, Partition};
use crate::fat::Files;
use crate::guest::Guest;
use crate::scenario::{HANG, Scenario, Stage};
use crate::{check, fat};

/// The scenarios of this subject.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "logs: a disk without a partition microhv",
        debian: false,
        play: none,
    },
    Scenario {
        name: "logs: a pulled plug costs at most the last second",
        debian: false,
        play: plug,
    },
    Scenario {
        name: "logs: a full disk costs logs and nothing else",
        debian: false,
        play: full,
    },
    Scenario {
        name: "logs: a broken file system is named, and left as it is",
        debian: false,
        play: broken,
    },
    Scenario {
        name: "logs: who did what is on the disk after power-off",
        debian: true,
        play: content,
    },
    Scenario {
        name: "logs: a guest that floods its console is held back",
        debian: true,
        play: flood,
    },
];

/// Folder of the logs.
const FOLDER: &str = "var/log/xen";
/// A log that is larger was not rotated.
const SIZE_MAX: usize = 1 << 20;

fn none(stage: &Stage) -> Result<()> {
    let disk = stage.folder().join("disk.img");
    let other = Partition {
        name: "other".into(),
        size: 8 << 20,
        content: None,
    };
    disk::create(&disk, &[other])?;
    let mut machine = stage.machine();
    machine.disk = Some(disk);
    let mut running = stage.boot(machine, &stage.archive()?)?;
    running.wait_prompt(HANG)?;
    let said = running.transcript();
    let remarks = said.matches("no logs on disk").count();
    if remarks != 1 || !said.contains("there is no disk \"/dev/gpt/microhv\"") {
        bail!("Domain-0 does not say once what is missing:\n{said}");
    }
    check::contains(&running.xl("ls /boot")?, &["loader.conf"])?;
    running.power_off()
}

/// A disk with nothing but Domain-0's files.
fn files(stage: &Stage) -> Result<PathBuf> {
    let disk = stage.folder().join("disk.img");
    let files = fat::partition(&stage.folder().join("microhv.fat"))?;
    disk::create(&disk, &[files])?;
    Ok(disk)
}

/// Boots the disk, tries what an operator tries, and returns what was said.
fn used(stage: &Stage, disk: PathBuf) -> Result<String> {
    let mut archive = stage.archive()?;
    archive.file("boot/faulty", &stage.images().faulty);
    archive.bytes(
        "etc/xen/small.cfg",
        "name = \"small\"\nkernel = \"/boot/faulty\"\ncmdline = \"do=sleep\"\nmemory = 16\n",
    );
    let mut machine = stage.machine();
    machine.disk = Some(disk);
    machine.snapshot = false;
    let mut running = stage.boot(machine, &archive)?;
    running.wait_prompt(HANG)?;
    for line in [
        "xl create /etc/xen/small.cfg",
        "sleep 2",
        "xl destroy small",
        "cat /boot/loader.conf",
    ] {
        running.xl(line)?;
    }
    check::row(&running.xl("xl list")?, "blkback")?;
    let said = running.transcript();
    running.power_off()?;
    Ok(said)
}

fn full(stage: &Stage) -> Result<()> {
    let disk = files(stage)?;
    let volume = Files::open(&disk)?;
    volume.write("etc/xen/mine.cfg", b"name = \"mine\"\n")?;
    for (number, size) in [8 << 20, 1 << 20, 64 << 10, 4 << 10]
        .into_iter()
        .enumerate()
    {
        let mut count = 0;
        let content = vec![0x5a; size];
        while volume
            .write(&format!("fill-{number}-{count}"), &content)
            .is_ok()
        {
            count += 1;
        }
        let _ = volume.remove(&format!("fill-{number}-{count}"));
    }
    volume.close()?;
    let said = used(stage, disk.clone())?;
    if said.matches("/var/log/xen/: ").count() != 1 {
        bail!("Domain-0 does not say once that its disk is full:\n{said}");
    }
    if fat::read(&disk, "etc/xen/mine.cfg")? != b"name = \"mine\"\n" {
        bail!("a file of the operator is not what it was");
    }
    let found = fat::fsck(&disk, &stage.folder().join("part"))?;
    let bad: Vec<_> = found.iter().filter(|line| !harmless(line)).collect();
    if !bad.is_empty() {
        bail!("fsck.vfat finds more than lost tails and free counts: {found:#?}");
    }
    Ok(())
}

fn broken(stage: &Stage) -> Result<()> {
    let disk = files(stage)?;
    let (start, _) = disk::find(&disk, "microhv")?;
    let file = OpenOptions::new().read(true).write(true).open(&disk)?;
    // Sectors of a size that there is not, and no number of allocation tables.
    file.write_all_at(&[0x17, 0x05], start + 11)?;
    file.write_all_at(&[0], start + 16)?;
    let before = std::fs::read(&disk)?;
    let said = used(stage, disk.clone())?;
    if said.matches("no logs on disk: /dev/gpt/microhv").count() != 1 {
        bail!("Domain-0 does not say once that the file system is broken:\n{said}");
    }
    if std::fs::read(&disk)? != before {
        bail!("the broken file system was written to");
    }
    Ok(())
}

fn plug(stage: &Stage) -> Result<()> {
    let disk = files(stage)?;
    let mut archive = stage.archive()?;
    // Names a kernel that is not there: each attempt is a line in the log.
    archive.bytes(
        "etc/xen/none.cfg",
        "name = \"none\"\ntype = \"pvh\"\nkernel = \"/none\"\nmemory = 64\n",
    );
    let mut lines = 0;
    for round in 0..3_u64 {
        let mut machine = stage.machine();
        machine.disk = Some(disk.clone());
        machine.snapshot = false;
        let mut running = stage.boot(machine, &archive)?;
        running.wait_prompt(HANG)?;
        for _ in 0..5 {
            running.command("xl create /etc/xen/none.cfg", HANG)?;
            lines += 1;
        }
        let then = Instant::now();
        running.command("sleep 1", HANG)?;
        // These may be lost; the plug is pulled while they are on their way.
        let more = "xl create /etc/xen/none.cfg\r".repeat(20);
        running.send(&more)?;
        sleep(Duration::from_millis(150 * round));
        drop(running);
        let after = then.elapsed();
        let found = fat::fsck(&disk, &stage.folder().join("part"))?;
        let bad: Vec<_> = found.iter().filter(|line| !harmless(line)).collect();
        if !bad.is_empty() {
            bail!("fsck.vfat finds more than lost tails and free counts: {found:#?}");
        }
        let log = fat::read(&disk, &format!("{FOLDER}/xl-none.log"))?;
        let log = String::from_utf8(log)?;
        let kept = log.matches("/none: No such file").count();
        if kept < lines {
            bail!("{kept} of {lines} lines are left, {after:?} after the last one:\n{log}");
        }
        lines = kept;
        let hypervisor = fat::read(&disk, &format!("{FOLDER}/hypervisor.log"))?;
        let boots = String::from_utf8_lossy(&hypervisor)
            .matches("microhv 0.")
            .count() as u64;
        if boots != round + 1 {
            bail!("hypervisor.log tells of {boots} boots, not {}", round + 1);
        }
    }
    Ok(())
}

/// What fsck.vfat may find after a power cut: clusters that belong to nobody or lie behind a file's end, and their number.
fn harmless(line: &str) -> bool {
    let line = line.trim();
    [
        "Free cluster summary",
        "Reclaimed",
        "Reclaiming",
        "cluster chain length is >",
        "Truncating file to",
        "File size is",
        "1) Correct",
        "2) Don't correct",
        "Auto-correcting",
        "/var/log/xen/",
    ]
    .iter()
    .any(|begin| line.contains(begin))
        && !line.contains("cluster chain length is <")
}

fn content(stage: &Stage) -> Result<()> {
    let guest = Guest::new("debian", None);
    let mut running = stage.boot_guests(std::slice::from_ref(&guest))?;
    running.attach_when_up("debian")?;
    running.guest("echo said by the guest")?;
    running.detach()?;
    running.xl("xl shutdown -w debian")?;
    let listed = running.xl("ls /var/log/xen/console")?;
    check::contains(&listed, &["guest-debian.log"])?;
    let shown = running.xl("cat /var/log/xen/xl-debian.log")?;
    check::contains(&shown, &["created from"])?;
    running.power_off()?;

    let disk = stage.folder().join("disk.img");
    let read = |name: &str| -> Result<String> {
        let bytes = fat::read(&disk, &format!("{FOLDER}/{name}"))?;
        Ok(String::from_utf8(bytes)?)
    };
    check::contains(
        &read("hypervisor.log")?,
        &["microhv 0.", "RAM: ", "(d3)", "domain bridge"],
    )?;
    check::contains(
        &read("xl-debian.log")?,
        &[
            "created from etc/xen/auto/debian.cfg",
            "has shut down, reason code 0",
            "has been destroyed",
        ],
    )?;
    let console = read("console/guest-debian.log")?;
    check::contains(
        &console,
        &[
            "Linux version",
            "debian: up",
            "said by the guest",
            "reboot: ",
        ],
    )?;
    for name in DOMAINS.iter().filter(|name| **name != "Domain-0") {
        check::contains(&read(&format!("{name}.log"))?, &[&format!("{name}: INFO")])?;
    }
    for line in console.lines() {
        let stamp = line.split('.').next().unwrap_or_default();
        if !stamp.starts_with("20") || stamp.len() != "2026-11-22 10:01:33".len() {
            bail!("a line without the time: {line}");
        }
    }
    let found = fat::fsck(&disk, &stage.folder().join("part"))?;
    if !found.is_empty() {
        bail!("fsck.vfat is not content after power-off: {found:#?}");
    }
    Ok(())
}

fn flood(stage: &Stage) -> Result<()> {
    let guest = Guest::new("debian", None);
    let mut running = stage.boot_guests(std::slice::from_ref(&guest))?;
    running.attach_when_up("debian")?;
    running.guest("echo before the flood")?;
    running.send("sleep 1; yes this guest has a lot to say and nobody wants to hear it\r")?;
    running.send("\x1d")?;
    running.wait_prompt(HANG)?;
    running.xl("sleep 30")?;
    // Domain-0 answers all the while.
    for _ in 0..3 {
        check::row(&running.xl("xl list")?, "debian")?;
    }
    running.xl("xl destroy debian")?;
    running.power_off()?;
    let disk = stage.folder().join("disk.img");
    let path = format!("{FOLDER}/console/guest-debian.log");
    let log = fat::read(&disk, &path)?;
    let old = fat::read(&disk, &format!("{path}.1")).unwrap_or_default();
    if log.len().max(old.len()) > SIZE_MAX {
        bail!("the log has grown to {} and {} bytes", log.len(), old.len());
    }
    let text = String::from_utf8_lossy(&old) + String::from_utf8_lossy(&log);
    check::contains(
        &text,
        &[
            "before the flood",
            "nobody wants to hear it",
            "were dropped: more than",
        ],
    )?;
    let found = fat::fsck(&disk, &stage.folder().join("part"))?;
    if !found.is_empty() {
        bail!("fsck.vfat is not content: {found:#?}");
    }
    Ok(())
}
