//! Guests come and go, and leave nothing behind.

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use super::xl::free;
use crate::check;
use crate::guest::Guest;
use crate::machine::serial::Running;
use crate::scenario::{HANG, Scenario, Stage};

/// The scenarios of this subject.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "100 guests come and go, and leave nothing behind",
        debian: true,
        play: hundred,
    },
    Scenario {
        name: "guests that crash or lose their backend half way leave nothing behind",
        debian: true,
        play: half_way,
    },
    Scenario {
        name: "a guest of 5,000 MiB has its memory below and above 4 GiB, and gives all of it back",
        debian: true,
        play: huge,
    },
];

/// Guests with Debian's kernel and disk among the hundred; the others are small.
const LARGE: u32 = 10;

fn hundred(stage: &Stage) -> Result<()> {
    let guest = Guest::new("large", Some("10.0.2.20"));
    let mut archive = stage.archive_with(&[])?;
    archive.bytes("etc/xen/large.cfg", guest.config());
    archive.file("boot/faulty", &stage.images().faulty);
    // Both ends of its devices are made, and only the back ends take them up.
    archive.bytes(
        "etc/xen/small.cfg",
        "name = \"small\"\nkernel = \"/boot/faulty\"\ncmdline = \"do=sleep\"\nmemory = 16\n\
         disk = ['/dev/gpt/large-root,raw,xvda,ro']\nvif = ['bridge=bridge0']\n",
    );
    let mut machine = stage.machine();
    machine.disk = Some(stage.disk_for(std::slice::from_ref(&guest))?);
    let mut running = stage.boot(machine, &archive)?;
    running.wait_prompt(HANG)?;
    // The first of each kind may leave what all of its kind use: a directory, a learned size.
    cycle(&mut running, "large", "")?;
    cycle(&mut running, "small", "")?;
    let before = running.holdings()?;
    for number in 1..=100 {
        let (name, options) = match number {
            _ if number % (100 / LARGE) == 0 => ("large", if number % 20 == 0 { "-p" } else { "" }),
            _ => ("small", if number % 2 == 0 { "-p" } else { "" }),
        };
        cycle(&mut running, name, options)?;
    }
    running.holds(&before)?;
    running.power_off()
}

/// A guest with more memory than addresses below 4 GiB.
fn huge(stage: &Stage) -> Result<()> {
    let guest = Guest {
        memory: 5000,
        ..Guest::new("huge", None)
    };
    let archive = stage.archive_with(std::slice::from_ref(&guest))?;
    let mut machine = stage.machine();
    machine.memory = 6144;
    machine.disk = Some(stage.disk_for(std::slice::from_ref(&guest))?);
    let mut running = stage.boot(machine, &archive)?;
    running.wait_prompt(HANG)?;
    running.attach_when_up("huge")?;
    // Of MemTotal the kernel has taken its own part off.
    let said = running.guest("grep MemTotal /proc/meminfo; grep 'System RAM' /proc/iomem")?;
    let word = said.split_whitespace().nth(1).unwrap_or_default();
    let total: u64 = word.parse().with_context(|| said.clone())?;
    ensure!((4600..5000).contains(&(total >> 10)), "{said}");
    ensure!(
        said.contains("\n100000000-"),
        "nothing above 4 GiB:\n{said}"
    );
    running.detach()?;
    let before = free(&mut running)?;
    running.xl("xl destroy huge")?;
    // The backend's last pages may take their time.
    let deadline = Instant::now() + HANG;
    loop {
        let after = free(&mut running)?;
        if after >= before + 5000 {
            return running.power_off();
        }
        ensure!(Instant::now() < deadline, "{before} MiB free, then {after}");
        running.xl("sleep 1")?;
    }
}

/// One life, `options` of `xl create` with it.
fn cycle(running: &mut Running, name: &str, options: &str) -> Result<()> {
    running.xl(&format!("xl create {options} /etc/xen/{name}.cfg"))?;
    running.xl(&format!("xl destroy {name}"))?;
    Ok(())
}

/// Waits until `name` is not listed any more.
fn gone(running: &mut Running, name: &str) -> Result<()> {
    let deadline = Instant::now() + HANG;
    while Instant::now() < deadline {
        if check::row(&running.xl("xl list")?, name).is_err() {
            return Ok(());
        }
        running.xl("sleep 1")?;
    }
    bail!("{name} is still listed")
}

/// A guest with disk and vif, of the small image.
fn small(name: &str, what: &str, more: &str) -> String {
    format!(
        "name = \"{name}\"\nkernel = \"/boot/faulty\"\ncmdline = \"do={what}\"\nmemory = 16\non_crash = \"destroy\"\n\
         disk = ['/dev/gpt/large-root,raw,xvda,ro']\nvif = ['bridge=bridge0']\n{more}"
    )
}

fn half_way(stage: &Stage) -> Result<()> {
    let guest = Guest::new("large", Some("10.0.2.20"));
    let mut archive = stage.archive_with(&[])?;
    archive.bytes("etc/xen/large.cfg", guest.config());
    archive.file("boot/faulty", &stage.images().faulty);
    archive.bytes("etc/xen/crash.cfg", small("crash", "triple-fault", ""));
    // The domain is made, then its second disk is refused by blkback.
    let refused = "disk = ['/dev/gpt/large-root,raw,xvda,ro', '/dev/gpt/none,raw,xvdb,rw']\n";
    archive.bytes("etc/xen/refused.cfg", small("refused", "sleep", refused));
    let mut machine = stage.machine();
    machine.disk = Some(stage.disk_for(std::slice::from_ref(&guest))?);
    let mut running = stage.boot(machine, &archive)?;
    running.wait_prompt(HANG)?;
    let mut before: Option<String> = None;
    for _ in 0..3 {
        running.xl("xl create /etc/xen/crash.cfg")?;
        gone(&mut running, "crash")?;
        let answer = running.command("xl create /etc/xen/refused.cfg", HANG)?;
        if answer.code != 3 {
            bail!(
                "xl create ends with {} when a disk is missing:\n{}",
                answer.code,
                answer.text
            );
        }
        // Destroyed in the middle of its kernel's and of its drivers' start.
        for pause in [0, 1, 3] {
            running.xl("xl create /etc/xen/large.cfg")?;
            running.xl(&format!("sleep {pause}"))?;
            running.xl("xl destroy large")?;
        }
        // The first round may leave what all of its kind use.
        match &before {
            Some(before) => running.holds(before)?,
            None => before = Some(running.holdings()?),
        }
    }
    running.power_off()
}
