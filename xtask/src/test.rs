//! `cargo xtask test`: formatting, lints, host tests, then every scenario.

use std::process::{Command, ExitCode};

use anyhow::Result;
use qemu_tests::runner::Score;
use qemu_tests::scenario::{Emulator, Scenario};
use qemu_tests::scenarios;

use crate::build::{self, DOMAINS, FAULTY, TARGET, cargo};
use crate::kvm;
use crate::{cli, host, image, paths, qemu};

/// Runs everything whose name has the filter in it.
///
/// # Errors
/// When the images cannot be made; failures of tests are the exit code's business.
pub fn test(arguments: &cli::Test) -> Result<ExitCode> {
    let wanted = |name: &str| {
        arguments
            .filter
            .as_deref()
            .is_none_or(|filter| name.contains(filter))
    };
    let checks: &[Check] = match arguments.emulator {
        Some(_) => &[],
        None => &CHECKS,
    };
    let scenarios = match arguments.emulator {
        Some(cli::Emulator::Qemu) => scenarios::all(),
        Some(cli::Emulator::Bochs) => scenarios::bochs(),
        None => [scenarios::all(), scenarios::bochs()].concat(),
    };
    let in_kvm = match arguments.emulator {
        Some(cli::Emulator::Bochs) => Vec::new(),
        _ => in_kvm(),
    };
    if arguments.list {
        let checks = checks.iter().map(|check| check.0);
        let scenarios = scenarios.iter().chain(&in_kvm);
        checks
            .chain(scenarios.map(|scenario| scenario.name))
            .for_each(|name| println!("{name}"));
        return Ok(ExitCode::SUCCESS);
    }
    // One of Bochs's scenarios compares the two.
    let qemu = qemu::get(&arguments.qemu)?;
    // Host tests make and check file systems too.
    host::ensure(&host::TOOLS)?;
    build::ensure_components()?;
    build::all_for_tests()?;
    let mut score = Score::default();
    for &(name, command) in checks {
        if wanted(name) {
            score.count(name, || host::quiet(&mut command()));
        }
    }
    let play = |scenarios: Vec<Scenario>, kvm: bool, score: &mut Score| -> Result<()> {
        let scenarios: Vec<_> = scenarios
            .into_iter()
            .filter(|scenario| wanted(scenario.name))
            .collect();
        if scenarios.is_empty() {
            return Ok(());
        }
        let images = image::all(scenarios.iter().any(|scenario| scenario.debian))?;
        let emulator = Emulator {
            qemu: qemu.clone(),
            iommu: arguments.iommu.into(),
            kvm,
        };
        for scenario in &scenarios {
            score.play(scenario, &images, &emulator, &paths::target().join("test"));
        }
        Ok(())
    };
    play(scenarios, false, &mut score)?;
    play(in_kvm, true, &mut score)?;
    println!("{score}");
    Ok(if score.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What is played once more where the host's CPU can execute it: those whose name begins like one of these.
const IN_KVM: [&str; 7] = [
    "boot with 1 CPU",
    "boot with 2 CPUs",
    "the virtual CPU's promises",
    "DMA isolation: a device reaches no",
    "Debian to userland",
    "network: two guests talk",
    "100 guests come and go",
];

/// They, if KVM offers nested virtualisation. No machine of the authors does: this has never run.
fn in_kvm() -> Vec<Scenario> {
    if kvm::offer().is_err() {
        return Vec::new();
    }
    let mut chosen = scenarios::all();
    chosen.retain(|scenario| IN_KVM.iter().any(|start| scenario.name.starts_with(start)));
    for scenario in &mut chosen {
        scenario.name = format!("KVM: {}", scenario.name).leak();
    }
    chosen
}

/// A name and the command that does the check.
type Check = (&'static str, fn() -> Command);

/// What is checked without a machine.
const CHECKS: [Check; 5] = [
    ("source is formatted", || with(&["fmt", "--all", "--check"])),
    ("lints, host", || {
        with(&[
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ])
    }),
    // Apart, as they are built: the domains' crates want a heap of the crates they share with microhv.
    ("lints, hypervisor", || bare_lints(&["microhv"])),
    ("lints, domains", || {
        bare_lints(&[&DOMAINS[..], &[FAULTY]].concat())
    }),
    ("host tests", || with(&["test", "--quiet", "--workspace"])),
];

fn bare_lints(packages: &[&str]) -> Command {
    let mut command = with(&["clippy", "--quiet", "--target", TARGET]);
    for package in packages {
        command.args(["--package", package]);
    }
    command.args(["--", "-D", "warnings"]);
    command
}

fn with(arguments: &[&str]) -> Command {
    let mut command = cargo();
    command.args(arguments);
    // Backtraces of a failing test would drown what it says.
    command.env("RUST_BACKTRACE", "0");
    command
}
