//! Devices that come and go while their guest, a stock kernel, runs.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use anyhow::{Result, bail};
use sha2::{Digest, Sha256};

use crate::guest::Guest;
use crate::machine::serial::Running;
use crate::scenario::{HANG, Scenario, Stage};
use crate::{check, disk, fat};

/// The scenarios of this subject.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "hotplug: a disk and an interface come, go, and come again",
        debian: true,
        play: come_and_go,
    },
    Scenario {
        name: "hotplug: a file and an ISO on Domain-0's disk are a guest's disks",
        debian: true,
        play: files,
    },
    Scenario {
        name: "hotplug: volumes are made, used, grown and destroyed on the running machine",
        debian: true,
        play: volumes,
    },
];

fn come_and_go(stage: &Stage) -> Result<()> {
    let guest = Guest::new("debian", None);
    let spare = Guest::new("spare", None);
    let mut machine = stage.machine();
    machine.disk = Some(stage.disk_for(&[guest.clone(), spare])?);
    let mut running = stage.boot(machine, &stage.archive_with(std::slice::from_ref(&guest))?)?;
    running.wait_prompt(HANG)?;
    running.attach_when_up("debian")?;
    running.guest("mkdir -p /mnt && [ ! -e /sys/block/xvdb ]")?;
    running.detach()?;
    for round in 0..3 {
        attach_volume(&mut running, "debian", "spare-root")?;
        running.guest("mount -t ext4 /dev/xvdb /mnt")?;
        if round > 0 {
            running.guest("cd /mnt && sha256sum -c sum && cd /")?;
        }
        running.guest("dd if=/dev/urandom of=/mnt/data bs=1M count=4 2>/dev/null && cd /mnt && sha256sum data > sum && cd / && umount /mnt")?;
        running.detach()?;
        let listed = running.xl("xl block-list debian")?;
        check::contains(&listed, &["\n51728"])?;
        running.xl("xl block-detach debian xvdb")?;
        let listed = running.xl("xl block-list debian")?;
        if listed.contains("51728") {
            bail!("xvdb is still there:\n{listed}");
        }
        running.attach("debian")?;
        running.guest_until("[ ! -e /sys/block/xvdb ]")?;
        running.detach()?;
    }
    // What this guest writes, no other may.
    let answer = running.command(
        "xl block-attach debian /dev/gpt/debian-root,raw,xvdc,rw",
        HANG,
    )?;
    if answer.code != 1 {
        bail!("exit code {}", answer.code);
    }
    check::contains(
        &answer.text,
        &[
            "Device /dev/gpt/debian-root is mounted in a guest domain (5)",
            "libxl_device_disk_add failed.",
        ],
    )?;
    for round in 0..2 {
        running.xl("xl network-attach debian mac=00:16:3e:0a:0b:0c bridge=bridge0")?;
        running.attach("debian")?;
        running.guest_until("[ -e /sys/class/net/eth0 ]")?;
        running.guest("ip link set eth0 up && udhcpc -i eth0 -n -q -f -t 20 -T 1 -s /etc/udhcpc.script && ip -4 addr show eth0 | grep -q inet && grep -q 00:16:3e:0a:0b:0c /sys/class/net/eth0/address")?;
        running.detach()?;
        let by = ["0", "00:16:3e:0a:0b:0c"][round];
        running.xl(&format!("xl network-detach debian {by}"))?;
        running.attach("debian")?;
        running.guest_until("[ ! -e /sys/class/net/eth0 ]")?;
        running.detach()?;
    }
    running.attach("debian")?;
    // A grant that the backend had kept would be named there.
    running.guest("! dmesg | grep -i -E 'I/O error|EXT4-fs error|still in use|deferring g.e.'")?;
    running.detach()?;
    running.power_off()
}

fn files(stage: &Stage) -> Result<()> {
    const MIB: usize = 1 << 20;
    let guest = Guest::new("debian", None);
    // As an ISO 9660 file system begins.
    let mut iso = vec![0x5a; MIB];
    iso[32 << 10..][..8].copy_from_slice(b"\x01CD001\x01\x00");
    let content = stage.folder().join("microhv.fat");
    fat::format(
        &content,
        &[("disk.img", &vec![0; 24 * MIB]), ("cd.iso", &iso)],
    )?;
    let disk = stage.disk_for(std::slice::from_ref(&guest))?;
    let mut archive = stage.archive_with(std::slice::from_ref(&guest))?;
    archive.edit("etc/xen/auto/debian.cfg", |text| {
        text.replace(
            "xvda,rw'",
            "xvda,rw','/disk.img,raw,xvdb,rw','/cd.iso,,xvdc,devtype=cdrom'",
        )
    })?;
    let mut machine = stage.machine();
    machine.disk = Some(disk.clone());
    machine.snapshot = false;
    let mut running = stage.boot(machine, &archive)?;
    running.wait_prompt(HANG)?;
    running.attach_when_up("debian")?;
    running.guest("[ $(cat /sys/block/xvdb/size) = 49152 ] && [ $(cat /sys/block/xvdc/size) = 2048 ] && [ $(cat /sys/block/xvdc/ro) = 1 ]")?;
    running.guest("dd if=/dev/xvdc bs=1 skip=32769 count=5 2>/dev/null | grep -q CD001")?;
    let answer = running.guest_command(
        "blockdev --setrw /dev/xvdc; dd if=/dev/zero of=/dev/xvdc bs=4k count=4 conv=fsync",
        HANG,
    )?;
    if answer.code == 0 {
        bail!("writing to an ISO file succeeded:\n{}", answer.text);
    }
    running.guest("i=0; while [ $i -lt 24 ]; do dd if=/dev/urandom bs=1M count=1 2>/dev/null; i=$((i+1)); done > /dev/xvdb; sync")?;
    let written = running.guest("echo 3 > /proc/sys/vm/drop_caches; sha256sum < /dev/xvdb")?;
    running.detach()?;
    let answer = running.command("xl block-attach debian /disk.img,raw,xvdd,rw", HANG)?;
    check::contains(
        &answer.text,
        &["Device /disk.img is mounted in a guest domain (5)"],
    )?;
    let answer = running.command("xl block-attach debian /nothing.img,raw,xvdd,rw", HANG)?;
    check::contains(&answer.text, &["/nothing.img: No such file or directory"])?;
    running.xl("xl block-detach debian xvdb")?;
    running.power_off()?;
    let file = fat::read(&disk, "disk.img")?;
    let sum: String = Sha256::digest(&file)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    check::contains(&written, &[&sum])?;
    if fat::read(&disk, "cd.iso")? != iso {
        bail!("the ISO file was changed");
    }
    let complaints = fat::fsck(&disk, &stage.folder().join("fsck.fat"))?;
    if !complaints.is_empty() {
        bail!("fsck: {complaints:?}");
    }
    Ok(())
}

/// Nothing but zeros is what `guest` reads from volume `name`, which it gets as `xvdb`.
pub(super) fn reads_zeros(running: &mut Running, guest: &str, name: &str) -> Result<()> {
    attach_volume(running, guest, name)?;
    only_zeros(running, "xvdb", 0)?;
    running.detach()
}

/// Gives volume `name` to `guest` as `xvdb`, and waits, at its console, until it has it.
fn attach_volume(running: &mut Running, guest: &str, name: &str) -> Result<()> {
    running.xl(&format!(
        "xl block-attach {guest} /dev/gpt/{name},raw,xvdb,rw"
    ))?;
    running.attach(guest)?;
    running.guest_until("[ -b /dev/xvdb ]")
}

/// The attached guest reads nothing but zeros from `disk`, from a sector on.
fn only_zeros(running: &mut Running, disk: &str, sector: u64) -> Result<()> {
    let read = format!("dd if=/dev/{disk} bs=512 skip={sector} 2>/dev/null");
    let counted = running.guest(&format!("{read} | wc -c; {read} | tr -d '\\000' | wc -c"))?;
    let numbers: Vec<u64> = counted
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    match numbers[..] {
        [(1..), 0] => Ok(()),
        _ => bail!("{disk}: bytes, and those that are not zero: {counted}"),
    }
}

fn volumes(stage: &Stage) -> Result<()> {
    let guest = Guest::new("debian", None);
    let disk = stage.disk_for(std::slice::from_ref(&guest))?;
    // There is room behind the last partition, and the backup table is where the disk once ended.
    let file = OpenOptions::new().write(true).open(&disk)?;
    let length = file.metadata()?.len();
    file.set_len(length + (256 << 20))?;
    drop(file);
    let mut machine = stage.machine();
    machine.disk = Some(disk.clone());
    machine.snapshot = false;
    let archive = stage.archive_with(std::slice::from_ref(&guest))?;
    let mut running = stage.boot(machine, &archive)?;
    running.wait_prompt(HANG)?;
    running.xl("volume create -V 64M data")?;
    let log = running.xl("cat /var/log/xen/hypervisor.log")?;
    check::contains(&log, &["131072 sectors were wiped by the disk itself"])?;
    let listed = running.xl("volume list")?;
    check::contains(&listed, &["microhv", "Domain-0 (Domain-0's files)", "data"])?;
    let fails = |running: &mut Running, line: &str, text: &str| -> Result<()> {
        let answer = running.command(line, HANG)?;
        if answer.code != 1 {
            bail!("{line}: exit code {}", answer.code);
        }
        check::contains(&answer.text, &[text])
    };
    fails(
        &mut running,
        "volume create -V 1M data",
        "volume already exists",
    )?;
    fails(&mut running, "volume create -V 20G big", "out of space")?;
    fails(&mut running, "volume destroy microhv", "it is no volume")?;
    fails(
        &mut running,
        "volume destroy debian-root",
        "volume is busy: debian has it",
    )?;
    running.attach_when_up("debian")?;
    running.detach()?;
    attach_volume(&mut running, "debian", "data")?;
    running.guest("[ $(cat /sys/block/xvdb/size) = 131072 ] && dd if=/dev/urandom of=/dev/xvdb bs=1M count=64 conv=fsync 2>/dev/null")?;
    running.guest(
        "echo written here | dd of=/dev/xvdb bs=512 seek=131071 conv=sync,fsync 2>/dev/null",
    )?;
    running.detach()?;
    fails(
        &mut running,
        "volume destroy data",
        "volume is busy: debian has it",
    )?;
    running.xl("xl block-detach debian xvdb")?;
    running.xl("volume resize -V 96M data")?;
    attach_volume(&mut running, "debian", "data")?;
    running.guest("[ $(cat /sys/block/xvdb/size) = 196608 ] && dd if=/dev/xvdb bs=512 skip=131071 count=1 2>/dev/null | grep -q 'written here'")?;
    only_zeros(&mut running, "xvdb", 131_072)?;
    running.detach()?;
    running.xl("xl block-detach debian xvdb")?;
    running.xl("volume create -V 8M kept")?;
    running.xl("volume destroy data")?;
    fails(
        &mut running,
        "xl block-attach debian /dev/gpt/data,raw,xvdb,rw",
        "there is no disk",
    )?;
    // In the same place, for somebody else; it grows over what was the other's, too.
    let old = disk::find(&disk, "kept")?.0 - (96 << 20);
    running.xl("volume create -V 16M fresh")?;
    running.xl("volume resize -V 32M fresh")?;
    reads_zeros(&mut running, "debian", "fresh")?;
    running.power_off()?;
    if disk::find(&disk, "fresh")? != (old, 32 << 20) {
        bail!("the new volume is not where the old one was");
    }
    // As other tools see it: both copies, at both ends.
    let (start, size) = disk::find(&disk, "kept")?;
    if size != 8 << 20 || start % (1 << 20) != 0 || disk::find(&disk, "data").is_ok() {
        bail!("kept: {size} bytes from {start}; or data is still there");
    }
    let file = OpenOptions::new().write(true).open(&disk)?;
    file.write_all_at(&[0; 512], 512)?;
    if disk::find(&disk, "kept")? != (start, size) {
        bail!("the backup table says something else");
    }
    Ok(())
}
