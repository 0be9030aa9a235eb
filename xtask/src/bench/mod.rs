//! `cargo xtask bench`: counts instructions. Times on an emulator mean little; counts repeat.

mod boot;
mod create;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use qemu_tests::archive::Archive;
use qemu_tests::images::Images;
use qemu_tests::machine::qemu::Machine;
use qemu_tests::machine::serial::Running;

use crate::{build, cli, elf, image, paths, qemu};

pub use boot::boot;
pub use create::create;

/// Longer than anything takes, with a QEMU that counts.
const HANG: Duration = Duration::from_secs(900);

/// What is needed to count.
struct Bench {
    plugin: PathBuf,
    /// Where the hypervisor's code is, in virtual addresses.
    window: std::ops::Range<u64>,
    images: Images,
    qemu: std::ffi::OsString,
}

/// Instructions of one run.
#[derive(Clone, Copy, Debug)]
struct Counts {
    /// Of the hypervisor.
    hypervisor: u64,
    /// Of everything else: firmware, domains.
    other: u64,
    /// Repetitions of string instructions, which are counted once above.
    repeated: u64,
    /// Entries into guests.
    vmrun: u64,
}

impl Counts {
    fn all(self) -> u64 {
        self.hypervisor + self.other
    }
}

impl Bench {
    fn new(arguments: &cli::Bench, with_guest: bool) -> Result<Self> {
        let qemu = qemu::get(&arguments.qemu)?;
        build::all()?;
        let plugin = plugin(&qemu)?;
        let images = image::all(with_guest)?;
        let window = elf::window(&std::fs::read(build::binary("microhv"))?)?;
        Ok(Self {
            plugin,
            window,
            images,
            qemu,
        })
    }

    /// The machine that boots the default archive and `more`, without guests, with a prompt for scripts. One CPU, so that counts
    /// repeat.
    fn machine(&self, more: impl FnOnce(&mut Archive)) -> Result<Machine> {
        let mut archive = self.images.archive.clone();
        more(&mut archive);
        archive.edit("boot/loader.conf", |text| {
            text + "console_cmdline=\"prompt_status noauto\"\n"
        })?;
        let mut machine = Machine::new(&self.images.microhv);
        machine.archive = Some(image::write_archive(&archive)?);
        machine.disk = Some(self.images.disk.clone());
        machine.snapshot = true;
        machine.nic = Some(Vec::new());
        Ok(machine)
    }

    /// Counts from power-on until `play` returns.
    fn count(
        &self,
        name: &str,
        mut machine: Machine,
        play: impl FnOnce(&mut Running) -> Result<()>,
    ) -> Result<Counts> {
        let file = paths::log().join(format!("bench-{name}.txt"));
        if file.exists() {
            std::fs::remove_file(&file)?;
        }
        machine.qemu.clone_from(&self.qemu);
        machine.cpus = 1;
        let plugin = format!(
            "{},out={},hv={:x}:{:x}",
            self.plugin.display(),
            file.display(),
            self.window.start,
            self.window.end
        );
        machine.extra.extend(["-plugin".into(), plugin.into()]);
        let log = paths::log().join(format!("bench-{name}.log"));
        let mut running = Running::start(&machine, &log, false)?;
        play(&mut running)?;
        running.qmp("quit", &serde_json::json!({}))?;
        let _ = running.wait_end(HANG)?;
        let counts = read_counts(&file)?;
        let get = |name: &str| counts.get(name).copied().unwrap_or_default();
        Ok(Counts {
            hypervisor: get("hypervisor"),
            other: get("other"),
            repeated: get("repeated"),
            vmrun: get("vmrun"),
        })
    }
}

/// One line of the result.
fn line(what: &str, value: impl std::fmt::Display) {
    println!("  {what:<44}{value:>14}");
}

/// Builds the counting plugin for the plugin interface of the QEMU that will load it.
fn plugin(qemu: &std::ffi::OsStr) -> Result<PathBuf> {
    let output = Command::new(qemu)
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
