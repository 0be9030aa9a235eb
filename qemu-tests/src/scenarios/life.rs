//! Guests come and go, and leave nothing behind.

use anyhow::{Result, bail};

use crate::guest::Guest;
use crate::machine::serial::Running;
use crate::scenario::{Scenario, Stage};

/// The scenarios of this subject.
pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "100 guests come and go, and leave nothing behind",
    debian: true,
    play: hundred,
}];

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
    running.wait_prompt(crate::scenario::HANG)?;
    // The first of each kind may leave what all of its kind use: a directory, a learned size.
    cycle(&mut running, "large", "")?;
    cycle(&mut running, "small", "")?;
    let before = running.xl("xl debug-use")?;
    for number in 1..=100 {
        let (name, options) = match number {
            _ if number % (100 / LARGE) == 0 => ("large", if number % 20 == 0 { "-p" } else { "" }),
            _ => ("small", if number % 2 == 0 { "-p" } else { "" }),
        };
        cycle(&mut running, name, options)?;
    }
    let after = running.xl("xl debug-use")?;
    if before != after {
        bail!("something is left behind; before:\n{before}\nafter:\n{after}");
    }
    running.power_off()
}

/// One life, `options` of `xl create` with it.
fn cycle(running: &mut Running, name: &str, options: &str) -> Result<()> {
    running.xl(&format!("xl create {options} /etc/xen/{name}.cfg"))?;
    running.xl(&format!("xl destroy {name}"))?;
    Ok(())
}
