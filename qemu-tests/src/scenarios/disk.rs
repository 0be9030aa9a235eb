//! Guests' disks: what is written is what is read, also later, also by others.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::disk::Partition;
use crate::guest::Guest;
use crate::net::noise;
use crate::scenario::{HANG, Scenario, Stage};
use crate::{check, disk, fat};

/// The scenarios of this subject.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "disk: write, checksum, reread after reboot, fsck",
        debian: true,
        play: reread,
    },
    Scenario {
        name: "disk: a read-only disk refuses writes",
        debian: true,
        play: read_only,
    },
    Scenario {
        name: "disk: many writers at once, direct reads, trim",
        debian: true,
        play: busy,
    },
    Scenario {
        name: "disk: a guest is destroyed while it writes, and comes again",
        debian: true,
        play: destroyed,
    },
    Scenario {
        name: "disk: a volume that a power cut left half wiped is wiped from boot on",
        debian: false,
        play: wiped_at_boot,
    },
];

fn wiped_at_boot(stage: &Stage) -> Result<()> {
    const SIZE: usize = 24 << 20;
    let (old, target) = (stage.folder().join("old"), stage.folder().join("disk.img"));
    fs::write(&old, noise(3, SIZE))?;
    let volume = |name: &str| Partition {
        name: name.into(),
        size: SIZE as u64,
        content: Some(old.clone()),
    };
    let files = fat::partition(&stage.folder().join("microhv.fat"))?;
    disk::create(&target, &[volume("half"), volume("whole"), files])?;
    disk::set_unwiped(&target, "half")?;
    let mut machine = stage.machine();
    machine.disk = Some(target.clone());
    machine.snapshot = false;
    let mut running = stage.boot(machine, &stage.archive()?)?;
    running.wait_prompt(HANG)?;
    running.prints("volume half: the wiping goes on")?;
    running.prints("volume half: 49152 sectors were wiped")?;
    // It is a volume now.
    running.xl("volume resize -V 23M -f half")?;
    let log = running.xl("cat /var/log/xen/hypervisor.log")?;
    check::contains(&log, &["volume half: the wiping goes on"])?;
    running.power_off()?;
    let after = stage.folder().join("after");
    for (name, expected) in [("half", vec![0; 23 << 20]), ("whole", noise(3, SIZE))] {
        disk::extract(&target, name, &after)?;
        ensure!(fs::read(&after)? == expected, "{name} has other bytes");
    }
    Ok(())
}

fn reread(stage: &Stage) -> Result<()> {
    let guest = Guest::new("debian", None);
    let mut running = stage.boot_guests(std::slice::from_ref(&guest))?;
    running.attach_when_up("debian")?;
    running.guest("dd if=/dev/urandom of=/root/data bs=1M count=32 2>/dev/null && sync")?;
    running.guest("cd /root && sha256sum data > sum && mkdir many && for i in $(seq 200); do echo $i > many/$i; done")?;
    // The page cache must not answer for the disk.
    running.guest("sync; echo 3 > /proc/sys/vm/drop_caches; sha256sum -c sum")?;
    running.send("reboot\r")?;
    running.wait_for("debian: reboot", HANG)?;
    running.wait_prompt(HANG)?;
    running.attach_when_up("debian")?;
    running
        .guest("cd /root && sha256sum -c sum && [ $(cat many/* | sort -n | tail -n 1) = 200 ]")?;
    running.send("poweroff\r")?;
    running.wait_for("debian: poweroff", HANG)?;
    running.wait_prompt(HANG)?;
    running.power_off()?;
    let root = stage.folder().join("root.ext4");
    disk::extract(&stage.folder().join("disk.img"), "debian-root", &root)?;
    fsck(&root)
}

/// The file system in the file `image` must be clean, on inspection and by its own word.
fn fsck(image: &std::path::Path) -> Result<()> {
    let output = Command::new("/usr/sbin/e2fsck")
        .args(["-f", "-n"])
        .arg(image)
        .output()
        .context("e2fsck")?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("e2fsck {}:\n{said}", output.status);
    }
    if said.contains("recovering journal") || said.contains("skipping journal recovery") {
        bail!("the guest did not unmount its root file system:\n{said}");
    }
    Ok(())
}

fn read_only(stage: &Stage) -> Result<()> {
    let guest = Guest::new("debian", None);
    let second = Guest::new("spare", None);
    let disk = stage.disk_for(&[guest.clone(), second])?;
    let mut archive = stage.archive_with(std::slice::from_ref(&guest))?;
    archive.edit("etc/xen/auto/debian.cfg", |text| {
        text.replace("xvda,rw'", "xvda,rw','/dev/gpt/spare-root,raw,xvdb,ro'")
    })?;
    let mut machine = stage.machine();
    machine.disk = Some(disk);
    let mut running = stage.boot(machine, &archive)?;
    running.wait_prompt(HANG)?;
    running.attach_when_up("debian")?;
    let flag = running.guest("cat /sys/block/xvdb/ro")?;
    if flag.trim() != "1" {
        bail!("xvdb is not read-only: {flag}");
    }
    let before = running.guest("dd if=/dev/xvdb bs=1M count=16 2>/dev/null | sha256sum")?;
    // The guest's own kernel refuses first; it is told to forget that, so that the backend has to.
    let answer = running.guest_command(
        "blockdev --setrw /dev/xvdb; dd if=/dev/zero of=/dev/xvdb bs=4k count=4 conv=fsync",
        HANG,
    )?;
    if answer.code == 0 {
        bail!("writing to a read-only disk succeeded:\n{}", answer.text);
    }
    let after = running.guest(
        "echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/xvdb bs=1M count=16 2>/dev/null | sha256sum",
    )?;
    if before.trim() != after.trim() {
        bail!("the read-only disk changed: {before} then {after}");
    }
    running
        .guest("mkdir -p /mnt && mount -t ext4 -o ro /dev/xvdb /mnt && ls /mnt/sbin/init")
        .and_then(|text| check::contains(&text, &["/mnt/sbin/init"]))?;
    running.detach()?;
    running.power_off()
}

/// What keeps the backend's queues full, and its persistent grants changing.
fn busy(stage: &Stage) -> Result<()> {
    let guest = Guest::new("debian", None);
    let mut running = stage.boot_guests(std::slice::from_ref(&guest))?;
    running.attach_when_up("debian")?;
    running.guest("cd /root && for i in 1 2 3 4 5 6; do dd if=/dev/urandom of=f$i bs=64k count=100 2>/dev/null & done; wait; sync")?;
    let written = running.guest("cat /root/f? | sha256sum")?;
    // The holes between files are given back to the disk, and nothing else.
    running.guest("rm /root/f2 /root/f5 && sync && fstrim -v /")?;
    running.guest("cd /root && for i in 2 5; do dd if=/dev/zero of=f$i bs=64k count=100 2>/dev/null & done; wait; sync")?;
    let rest = "cat /root/f[1346] | sha256sum";
    let before = running.guest(rest)?;
    running.guest("echo 3 > /proc/sys/vm/drop_caches")?;
    let after = running.guest(rest)?;
    if before.trim() != after.trim() || written.trim() == after.trim() {
        bail!("written {written}, then {before}, then {after}");
    }
    // Small and large requests past the page cache, each alone and several at a time. (A file: the file system may write its own
    // blocks at any time.)
    let direct = "dd if=/root/f1 bs=$b iflag=direct 2>/dev/null | sha256sum";
    let sums = running.guest(&format!(
        "for b in 4096 65536 1048576; do {direct}; done | sort -u | wc -l; \
         for b in 4096 65536 1048576; do {direct} & done | sort -u | wc -l; wait"
    ))?;
    if sums.split_whitespace().collect::<Vec<_>>() != ["1", "1"] {
        bail!("reads of the same sectors differ: {sums}");
    }
    running.guest("! dmesg | grep -i -E 'I/O error|EXT4-fs error'")?;
    running.send("poweroff\r")?;
    running.wait_for("debian: poweroff", HANG)?;
    running.wait_prompt(HANG)?;
    running.power_off()?;
    let root = stage.folder().join("root.ext4");
    disk::extract(&stage.folder().join("disk.img"), "debian-root", &root)?;
    fsck(&root)
}

/// Requests are under way, pages mapped and rings connected when their owner goes; the next guest must not notice.
fn destroyed(stage: &Stage) -> Result<()> {
    let guest = Guest::new("debian", None);
    let mut running = stage.boot_guests(std::slice::from_ref(&guest))?;
    for round in 0..3 {
        running.attach_when_up("debian")?;
        running.guest("dmesg | grep -q 'xvda.*mounted filesystem' && [ $(cat /root/kept 2>/dev/null | wc -l) = $(($(cat /root/rounds 2>/dev/null || echo 0)*1000)) ]")?;
        running.guest(&format!("for i in $(seq 1000); do echo {round}; done >> /root/kept; echo {} > /root/rounds; sync", round + 1))?;
        running.guest("(while :; do dd if=/dev/zero of=/root/big bs=256k count=200 conv=fsync 2>/dev/null; done) & usleep 700000")?;
        running.detach()?;
        running.xl("xl destroy debian")?;
        running.xl("xl create /etc/xen/auto/debian.cfg")?;
    }
    running.attach_when_up("debian")?;
    running.guest("[ $(cat /root/kept | wc -l) = 3000 ]")?;
    running.detach()?;
    running.power_off()
}
