//! Devices that come and go while their guest, a stock kernel, runs.

use anyhow::{Result, bail};

use crate::check;
use crate::guest::Guest;
use crate::machine::serial::Running;
use crate::scenario::{HANG, Scenario, Stage};

/// The scenarios of this subject.
pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "hotplug: a disk and an interface come, go, and come again",
    debian: true,
    play: come_and_go,
}];

/// In the guest, waits until the shell's `condition` holds.
pub(super) fn until(running: &mut Running, condition: &str) -> Result<()> {
    running
        .guest(&format!(
            "i=0; until {condition} || [ $i = 300 ]; do usleep 100000; i=$((i+1)); done; {condition}"
        ))
        .map(drop)
}

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
        running.xl("xl block-attach debian /dev/gpt/spare-root,raw,xvdb,rw")?;
        running.attach("debian")?;
        until(&mut running, "[ -b /dev/xvdb ]")?;
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
        until(&mut running, "[ ! -e /sys/block/xvdb ]")?;
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
        until(&mut running, "[ -e /sys/class/net/eth0 ]")?;
        running.guest("ip link set eth0 up && udhcpc -i eth0 -n -q -f -t 20 -T 1 -s /etc/udhcpc.script && ip -4 addr show eth0 | grep -q inet && grep -q 00:16:3e:0a:0b:0c /sys/class/net/eth0/address")?;
        running.detach()?;
        let by = ["0", "00:16:3e:0a:0b:0c"][round];
        running.xl(&format!("xl network-detach debian {by}"))?;
        running.attach("debian")?;
        until(&mut running, "[ ! -e /sys/class/net/eth0 ]")?;
        running.detach()?;
    }
    running.attach("debian")?;
    // A grant that the backend had kept would be named there.
    running.guest("! dmesg | grep -i -E 'I/O error|EXT4-fs error|still in use|deferring g.e.'")?;
    running.detach()?;
    running.power_off()
}
