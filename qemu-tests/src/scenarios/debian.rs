//! An unmodified Debian kernel as a guest.

use anyhow::{Result, bail};

use super::boot::DOMAINS;
use crate::check;
use crate::guest::Guest;
use crate::machine::qemu::Forward;
use crate::net;
use crate::scenario::{HANG, Scenario, Stage};

/// The scenarios of this subject.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "Debian to userland with the default image",
        debian: true,
        play: userland,
    },
    Scenario {
        name: "Debian reboots, shuts down and is created again",
        debian: true,
        play: life,
    },
];

/// Exactly what `cargo xtask run` boots, and what its user tries first.
pub(super) fn userland(stage: &Stage) -> Result<()> {
    let mut archive = stage.images().archive.clone();
    archive.edit("boot/loader.conf", |text| {
        text + "console_cmdline=\"prompt_status\"\n"
    })?;
    let mut machine = stage.machine();
    let port = net::free_port()?;
    machine.nic = Some(vec![Forward {
        host: port,
        guest: [10, 0, 2, 20].into(),
        port: 80,
    }]);
    let mut running = stage.boot(machine, &archive)?;
    running.wait_prompt(HANG)?;
    running.attach_when_up("debian")?;
    let cpus = running.guest("nproc")?;
    if cpus.trim() != "2" {
        bail!("the guest has not 2 CPUs but {cpus}");
    }
    // INIT and start-up IPI again, after the vCPU has run.
    let switch = "cd /sys/devices/system/cpu; echo 0 > cpu1/online; cat online; echo 1 > cpu1/online; cat online";
    check::contains(&running.guest(switch)?, &["0\n0-1"])?;
    check::contains(&running.guest("mount")?, &["/dev/xvda on / type ext4 (rw"])?;
    check::contains(
        &running.guest("cat /sys/hypervisor/type /sys/hypervisor/guest_type")?,
        &["xen\nPVH"],
    )?;
    let address = running.guest_address()?;
    if address != "10.0.2.20" {
        bail!("the guest asked for 10.0.2.20 and got {address}");
    }
    check::contains(&net::http_get(port)?, &["out of a Debian guest of microhv"])?;
    // A wrong checksum or an oops shows here and nowhere else. "loops_per_jiffy" and "report a bug" are not meant.
    let log = running
        .guest("dmesg | grep -E 'BUG:|WARNING:|Oops|[Cc]all [Tt]race|soft lockup' || true")?;
    if !log.trim().is_empty() {
        bail!("the guest's kernel complains:\n{log}");
    }
    running.detach()?;
    let list = running.xl("xl list")?;
    for name in DOMAINS.iter().chain(&["debian"]) {
        check::row(&list, name)?;
    }
    let columns = check::row(&list, "debian")?;
    if columns[2..4] != ["256", "2"] {
        bail!("xl list does not show 256 MiB and 2 vCPUs:\n{list}");
    }
    running.power_off()
}

fn life(stage: &Stage) -> Result<()> {
    let guest = Guest::new("debian", Some("10.0.2.20"));
    let mut running = stage.boot_guests(std::slice::from_ref(&guest))?;
    running.attach_when_up("debian")?;
    running.send("reboot\r")?;
    running.wait_for("debian: reboot", HANG)?;
    running.wait_prompt(HANG)?;
    running.attach_when_up("debian")?;
    running.guest_address()?;
    running.detach()?;
    running.xl("xl shutdown -w debian")?;
    let list = running.xl("xl list")?;
    if check::row(&list, "debian").is_ok() {
        bail!("debian is still there:\n{list}");
    }
    running.xl("xl create /etc/xen/auto/debian.cfg")?;
    running.attach_when_up("debian")?;
    running.guest_address()?;
    running.detach()?;
    running.xl("xl destroy debian")?;
    running.power_off()
}
