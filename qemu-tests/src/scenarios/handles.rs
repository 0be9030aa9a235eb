//! What `cargo xtask run` promises to people and scripts.

use std::fs;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

use crate::check;
use crate::scenario::{Scenario, Stage};

/// The scenarios of this subject.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "run --batch types commands and tells whether one failed",
        debian: false,
        play: batch,
    },
    Scenario {
        name: "run --add puts a file on the boot disk",
        debian: false,
        play: add,
    },
];

/// Runs `cargo xtask run --no-guest` with a batch of `lines` and more `arguments`, nobody at the keyboard.
fn run(stage: &Stage, lines: &str, arguments: &[&str]) -> Result<Output> {
    let batch = stage.folder().join("batch");
    fs::write(&batch, lines)?;
    // The scenarios are played by xtask itself.
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["run", "--no-guest", "--batch"]).arg(&batch);
    command.arg("--qemu").arg(stage.qemu()).args(arguments);
    command
        .stdin(Stdio::null())
        .output()
        .context("cannot start xtask")
}

fn batch(stage: &Stage) -> Result<()> {
    let good = run(
        stage,
        "# a comment\n\nxl list\necho seven\n",
        &["--cpus", "1"],
    )?;
    let said = String::from_utf8_lossy(&good.stdout).into_owned();
    check::contains(&said, &["xenstore", "\nseven"])?;
    if !good.status.success() {
        bail!("good commands ended with {}:\n{said}", good.status);
    }
    let bad = run(stage, "xl nonsense\nxl list\n", &["--memory", "512"])?;
    if bad.status.success() {
        bail!(
            "a bad command was not noticed:\n{}",
            String::from_utf8_lossy(&bad.stdout)
        );
    }
    check::contains(&String::from_utf8_lossy(&bad.stderr), &["xl nonsense"])?;
    // It goes on after a failure, and powers off.
    check::contains(
        &String::from_utf8_lossy(&bad.stdout),
        &["blkback", "power off"],
    )
}

fn add(stage: &Stage) -> Result<()> {
    let file = stage.folder().join("note");
    fs::write(&file, "written by the host\n")?;
    let argument = format!("{}=/etc/note", file.display());
    let output = run(stage, "cat /etc/note\n", &["--add", &argument])?;
    check::contains(
        &String::from_utf8_lossy(&output.stdout),
        &["\nwritten by the host"],
    )?;
    let output = run(stage, "true\n", &["--add", "/no/such/file=/etc/note"])?;
    if output.status.success() {
        bail!("a missing file was not noticed");
    }
    check::contains(&String::from_utf8_lossy(&output.stderr), &["/no/such/file"])
}
