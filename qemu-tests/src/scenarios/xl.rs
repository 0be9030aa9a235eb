//! `xl` changes a running Debian guest: its CPUs, its memory, its share of the machine.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::check;
use crate::guest::Guest;
use crate::machine::serial::Running;
use crate::scenario::{HANG, Scenario, Stage};

/// The scenarios of this subject.
pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "xl changes a running guest's CPUs and memory",
    debian: true,
    play: change,
}];

const MEMORY: &str = "/sys/devices/system/xen_memory/xen_memory0";

/// `xl list` must show `memory` MiB and `vcpus`, soon: a CPU that Linux counts no more still has its way to `VCPUOP_down`
/// before it.
fn listed(running: &mut Running, memory: &str, vcpus: &str) -> Result<()> {
    let start = Instant::now();
    loop {
        let list = running.xl("xl list")?;
        let columns = check::row(&list, "debian")?;
        if columns[2..4] == [memory, vcpus] {
            return Ok(());
        }
        if start.elapsed() > HANG {
            bail!("xl list does not show {memory} MiB and {vcpus} vCPUs:\n{list}");
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// Runs `line`, which must fail and say `word`.
fn refused(running: &mut Running, line: &str, word: &str) -> Result<()> {
    let answer = running.command(line, HANG)?;
    if answer.code == 0 || !answer.text.contains(word) {
        let (code, text) = (answer.code, answer.text);
        bail!("{line} gave {code} without \"{word}\":\n{text}");
    }
    Ok(())
}

/// MiB that no domain has.
pub(super) fn free(running: &mut Running) -> Result<u64> {
    let text = running.xl("xl info free_memory")?;
    text.trim().parse().with_context(|| text.clone())
}

fn change(stage: &Stage) -> Result<()> {
    let mut guest = Guest::new("debian", None);
    (guest.vcpus, guest.memory) = (1, 192);
    guest.more = "maxvcpus = 2\nmaxmem = 256\n";
    let mut running = stage.boot_guests(&[guest])?;
    running.attach_when_up("debian")?;
    // The target reaches the guest some time after xl has ended.
    let inflated = |target: &str| {
        format!(
            "[ $(cat {MEMORY}/target_kb) {target} ] && [ $(cat {MEMORY}/info/current_kb) = $(cat {MEMORY}/target_kb) ]"
        )
    };

    // What it has of maxvcpus and maxmem when it has started.
    running.guest_until(&inflated("-le 196608"))?;
    running.guest_until("[ $(nproc) = 1 ]")?;
    running.detach()?;
    listed(&mut running, "192", "1")?;
    let json: Value = serde_json::from_str(&running.xl("xl list -l debian")?)?;
    let build = &json[0]["config"]["b_info"];
    if build["max_vcpus"] != 2
        || build["max_memkb"] != 256 << 10
        || build["target_memkb"] != 192 << 10
    {
        bail!("xl list -l is wrong: {json}");
    }

    running.xl("xl vcpu-set debian 2")?;
    running.attach("debian")?;
    let cpu1 = "/sys/devices/system/cpu/cpu1";
    running.guest_until(&format!("[ -e {cpu1}/online ]"))?;
    running.guest(&format!("echo 1 > {cpu1}/online"))?;
    running.guest_until("[ $(nproc) = 2 ]")?;
    running.detach()?;
    listed(&mut running, "192", "2")?;
    refused(&mut running, "xl vcpu-set -i debian 3", "maxcpus is 2")?;
    running.xl("xl vcpu-set debian 1")?;
    running.attach("debian")?;
    running.guest_until("[ $(nproc) = 1 ]")?;
    running.detach()?;
    listed(&mut running, "192", "1")?;

    let before = free(&mut running)?;
    running.xl("xl mem-set debian 128")?;
    running.attach("debian")?;
    running.guest_until(&inflated("-le 131072"))?;
    let shown = running.guest("grep MemTotal /proc/meminfo")?;
    let total: u64 = shown
        .split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse().ok())
        .with_context(|| shown.clone())?;
    if total > 128 << 10 {
        bail!("the guest has not got smaller: {shown}");
    }
    running.detach()?;
    listed(&mut running, "128", "1")?;
    let after = free(&mut running)?;
    if after < before + 60 {
        bail!("{before} MiB were free and now {after}: the guest's memory did not come back");
    }
    running.xl("xl mem-set debian 256")?;
    running.attach("debian")?;
    running.guest_until(&inflated("-gt 196608"))?;
    // All of it can be used.
    running.guest("mount -t tmpfs none /mnt && dd if=/dev/zero of=/mnt/x bs=1M count=96 && rm /mnt/x && umount /mnt")?;
    running.detach()?;
    listed(&mut running, "256", "1")?;
    refused(&mut running, "xl mem-set debian 257", "memory_static_max")?;
    refused(&mut running, "xl mem-max debian 200", "memory_dynamic_max")?;

    running.xl("xl sched-credit2 -d debian -w 512")?;
    let weights = running.xl("xl sched-credit2")?;
    check::contains(
        &weights,
        &["debian                               5    512    0"],
    )?;
    check::contains(&running.xl("xl top")?, &["NAME  STATE", "\n    debian "])?;
    refused(&mut running, "xl trigger debian reset", "no reset button")?;
    running.xl("xl trigger debian nmi")?;
    running.xl("xl sysrq debian h")?;
    running.attach("debian")?;
    running.wait_for("sysrq: HELP", HANG)?;
    // Written in pieces, between which the shell's marks could come.
    running.wait_for("\n", HANG)?;
    let log = running.guest("dmesg")?;
    check::contains(&log, &["NMI"])?;
    running.detach()?;

    check::contains(&running.xl("xl dmesg -c")?, &["microhv"])?;
    let left = running.xl("xl dmesg")?;
    if left.contains("microhv") {
        bail!("xl dmesg -c did not empty the log:\n{left}");
    }
    running.power_off()
}
