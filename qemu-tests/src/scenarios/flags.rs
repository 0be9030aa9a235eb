//! The options of loader.conf that find out why something does not work.

use anyhow::{Result, bail};

use crate::check;
use crate::scenario::{HANG, Scenario, Stage};

/// The scenarios of this subject.
pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "iommu=debug, dom0=verbose, boot_verbose and sync_console say more",
    debian: false,
    play: flags,
}];

/// What each option brings.
const BRINGS: [(&str, &[&str]); 4] = [
    ("iommu=debug", &["IOMMU: 00:02.0: unit 0, domain id"]),
    (
        "dom0=verbose",
        &["Domain-0: /boot/console at ", "Domain-0: entry "],
    ),
    (
        "boot_verbose",
        &["RAM 0x", "domain 4, bridge: 16", "uplink is connected"],
    ),
    ("sync_console", &["console output is synchronous"]),
];

/// What the console says with these words in `xen_cmdline` and this `boot_verbose`.
fn boot(stage: &Stage, words: &str, verbose: &str) -> Result<String> {
    let mut archive = stage.archive()?;
    archive.edit("boot/loader.conf", |text| {
        text.replace("loglvl=all\"", &format!("loglvl=info {words}\""))
            .replace(
                "boot_verbose=\"YES\"",
                &format!("boot_verbose=\"{verbose}\""),
            )
    })?;
    let mut running = stage.boot(stage.machine(), &archive)?;
    running.wait_prompt(HANG)?;
    let said = running.transcript();
    running.power_off()?;
    Ok(said)
}

fn flags(stage: &Stage) -> Result<()> {
    let quiet = boot(stage, "", "NO")?;
    let loud = boot(stage, "iommu=debug dom0=pvh,verbose sync_console", "YES")?;
    for (option, lines) in BRINGS {
        check::contains(&loud, lines)?;
        if let Some(line) = lines.iter().find(|line| quiet.contains(**line)) {
            bail!("\"{line}\" comes without {option}:\n{quiet}");
        }
    }
    Ok(())
}
