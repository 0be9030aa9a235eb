//! `cargo xtask bench`: counts instructions. Times on an emulator mean little; counts repeat.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use qemu_tests::machine::qemu::Machine;
use qemu_tests::machine::serial::Running;

use crate::output::step;
use crate::{build, cli, elf, host, image, paths};

/// Longer than any boot takes, with a QEMU that counts.
const HANG: Duration = Duration::from_secs(900);
/// Debian's Xen 4.17 with a Linux Dom0 on the same machine, power-on to control domain ready.
const XEN_BOOT: u64 = 9_898_000_000;
/// What we allow ourselves.
const GOAL_BOOT: u64 = 500_000_000;

/// Counts the instructions from power-on to Domain-0's prompt, on a machine with one CPU so that it repeats.
///
/// # Errors
/// When the machine does not come up.
pub fn boot(arguments: &cli::Bench) -> Result<ExitCode> {
    if arguments.qemu == host::QEMU.program {
        host::ensure(&[host::QEMU])?;
    }
    build::all()?;
    let plugin = plugin(arguments)?;
    let images = image::all(false)?;
    let mut archive = images.archive.clone();
    archive.edit("boot/loader.conf", |text| {
        text + "console_cmdline=\"prompt_status\"\n"
    })?;
    let counts = paths::log().join("bench-boot.txt");
    if counts.exists() {
        std::fs::remove_file(&counts)?;
    }
    let window = elf::window(&std::fs::read(build::binary("microhv"))?)?;
    let mut machine = Machine::new(&images.microhv);
    machine.qemu.clone_from(&arguments.qemu);
    machine.cpus = 1;
    machine.archive = Some(image::write_archive(&archive)?);
    machine.disk = Some(images.disk);
    machine.nic = Some(Vec::new());
    let plugin = format!(
        "{},out={},hv={:x}:{:x}",
        plugin.display(),
        counts.display(),
        window.start,
        window.end
    );
    machine.extra = vec!["-plugin".into(), plugin.into()];
    step(
        "Counting",
        "instructions from power-on to Domain-0's prompt",
    );
    let mut running = Running::start(&machine, &paths::log().join("bench-boot.log"), false)?;
    running.wait_prompt(HANG)?;
    // The last of the service domains to be connected with another.
    running.prints("joins bridge0 as uplink")?;
    running.qmp("quit", &serde_json::json!({}))?;
    let _ = running.wait_end(HANG)?;
    let counts = read_counts(&counts)?;
    let get = |name: &str| counts.get(name).copied().unwrap_or_default();
    let total = get("hypervisor") + get("other");
    println!("power-on to Domain-0's prompt, 1 CPU      instructions");
    println!(
        "  all                                   {:>14}",
        millions(total)
    );
    println!(
        "  of these in microhv                   {:>14}",
        millions(get("hypervisor"))
    );
    println!(
        "  repetitions of string instructions    {:>14}",
        millions(get("repeated"))
    );
    println!(
        "  VMRUNs                                {:>14}",
        get("vmrun")
    );
    println!(
        "  goal                                  {:>14}",
        millions(GOAL_BOOT)
    );
    println!(
        "  Xen 4.17 with a Linux Dom0            {:>14}",
        millions(XEN_BOOT)
    );
    Ok(if total <= GOAL_BOOT {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Builds the counting plugin for the plugin interface of the QEMU that will load it.
fn plugin(arguments: &cli::Bench) -> Result<PathBuf> {
    let output = Command::new(&arguments.qemu)
        .arg("--version")
        .output()
        .context("QEMU")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text
        .split("version ")
        .nth(1)
        .and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    // QEMU refuses plugins for an interface that is too old or too new for it.
    let interface = match version {
        Some(..=8) => "1",
        Some(9 | 10) => "2",
        Some(_) => "7",
        None => bail!("QEMU tells no version: {text}"),
    };
    let mut command = build::cargo();
    command.env("QEMU_PLUGIN_API", interface).args([
        "build",
        "--quiet",
        "--release",
        "--package",
        "count-plugin",
    ]);
    build::check(&mut command, "cargo build of the counting plugin")?;
    Ok(paths::target().join("release/libcount_plugin.so"))
}

fn read_counts(file: &std::path::Path) -> Result<HashMap<String, u64>> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let pairs = text
        .split_whitespace()
        .filter_map(|word| word.split_once('='));
    pairs
        .map(|(name, count)| Ok((name.to_owned(), count.parse()?)))
        .collect()
}

fn millions(count: u64) -> String {
    format!("{}.{:01} M", count / 1_000_000, count / 100_000 % 10)
}
