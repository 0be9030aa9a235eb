//! The options of loader.conf that find out why something does not work.

use anyhow::{Result, bail};

use crate::check;
use crate::scenario::{HANG, Scenario, Stage};

/// The scenarios of this subject.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "iommu=debug, dom0=verbose, boot_verbose and sync_console say more",
        debian: false,
        play: flags,
    },
    Scenario {
        name: "speculation: the log says what the CPU has and what is done, xl dmesg again",
        debian: false,
        play: speculation,
    },
];

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

/// A machine whose CPU has no means, and whose CPUs are threads of one core.
fn speculation(stage: &Stage) -> Result<()> {
    const LINES: [&str; 2] = [
        "Speculative mitigation facilities: none",
        "Support for HVM VMs: None; Spectre v2: vulnerable, no means; BHI: not affected; L1TF: not affected; ",
    ];
    const THREADS: &str = "CPUs are threads of one core";
    let usual = boot(stage, "", "NO")?;
    check::contains(&usual, &LINES)?;
    if usual.contains(THREADS) {
        bail!("each of these CPUs is a core of its own:\n{usual}");
    }
    let mut machine = stage.machine();
    machine
        .extra
        .extend(["-smp", "2,cores=1,threads=2"].map(Into::into));
    let mut running = stage.boot(machine, &stage.archive()?)?;
    running.wait_prompt(HANG)?;
    let said = running.xl("xl dmesg")?;
    check::contains(&said, &LINES)?;
    check::contains(&said, &[THREADS])?;
    running.power_off()
}
