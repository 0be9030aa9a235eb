//! `cargo xtask run`: boots the machine for a person, or for a file of commands.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use qemu_tests::images::{Firmware, Images};
use qemu_tests::machine;
use qemu_tests::machine::qemu::{Boot, Forward, Machine, Serial};
use qemu_tests::machine::qmp::End;
use qemu_tests::machine::serial::Running;
use qemu_tests::machine::terminal;

use crate::kvm;
use crate::output::step;
use crate::{bochs, build, cli, host, image, paths, qemu, xl};

/// The address that the Debian guest asks QEMU's DHCP server for.
const GUEST_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 20);
/// How long a machine may take to its prompt, or a command to its end, before it counts as hung.
const HANG: Duration = Duration::from_secs(600);
/// Why some options do not go together.
const OWN_DISK: &str = "--batch needs a prompt with exit codes, which the loader.conf of a disk of your own does not ask for";

/// Builds everything and boots it.
///
/// # Errors
/// When something cannot be built or QEMU not be started.
pub fn run(arguments: &cli::Run) -> Result<ExitCode> {
    // Read first: a wrong name should not cost a build.
    let batch = arguments.batch.as_deref().map(read_batch).transpose()?;
    if arguments.emulator == cli::Emulator::Bochs {
        return in_bochs(arguments, batch);
    }
    let qemu = qemu::get(&arguments.qemu)?;
    build::all()?;
    let mut images = image::all(!arguments.no_guest)?;
    for argument in &arguments.add {
        image::add(&mut images.archive, argument)?;
    }
    // After the operator's files: one of them may be loader.conf.
    if batch.is_some() {
        images.archive.edit("boot/loader.conf", |text| {
            text + "\nconsole_cmdline=\"prompt_status\"\n"
        })?;
    }
    let mut machine = Machine::new(&images.microhv);
    machine.qemu = qemu;
    machine.cpus = arguments.cpus.unwrap_or(2);
    machine.memory = arguments.memory;
    machine.iommu = arguments.iommu.unwrap_or(cli::Iommu::Vtd).into();
    choose_boot(arguments, &images, &mut machine)?;
    machine.nic = Some(Vec::new());
    if !arguments.no_guest {
        let forward = Forward {
            host: free_port(8080)?,
            guest: GUEST_ADDRESS,
            port: 80,
        };
        step(
            "Forwarding",
            &format!(
                "http://127.0.0.1:{}/ to the guest's HTTP server",
                forward.host
            ),
        );
        machine.nic = Some(vec![forward]);
    }
    machine.kvm = match arguments.accel {
        cli::Accel::Auto => kvm::offer()
            .inspect_err(|why| step("Emulating", &format!("the CPU: {why}")))
            .is_ok(),
        cli::Accel::Tcg => false,
        cli::Accel::Kvm => true,
    };
    let socket = xl::Socket::new()?;
    machine.channel = socket.as_ref().map(|socket| socket.path().to_owned());
    machine.extra.clone_from(&arguments.qemu_arg);
    let log = paths::log().join("run.log");
    if let Some(folder) = log.parent() {
        std::fs::create_dir_all(folder)?;
    }
    machine.log = Some(log.clone());
    if let Some(lines) = batch {
        step("Booting", &format!("microhv; console in {}", log.display()));
        return type_lines(Running::start(&machine, &log, true)?, &lines);
    }
    machine.serial = Serial::Terminal;
    step(
        "Booting",
        "microhv; \"poweroff\" at its prompt ends it, Ctrl-A x kills it; \"cargo xtask xl list\" works from elsewhere",
    );
    let end = terminal::run(&machine)?;
    Ok(judge(&end, &log))
}

/// Boots the disk in Bochs.
fn in_bochs(arguments: &cli::Run, batch: Option<Vec<String>>) -> Result<ExitCode> {
    refuse(arguments)?;
    let cpus = arguments.cpus.unwrap_or(1);
    // With several CPUs Debian's Bochs loses guests' exceptions (docs/bochs.md).
    let bochs = match arguments.no_guest || cpus == 1 {
        true => bochs::get()?,
        false => bochs::mended::get()?,
    };
    build::all()?;
    let mut images = image::all(!arguments.no_guest)?;
    let module = match arguments.no_guest {
        true => None,
        false => Some(image::module(&images)?),
    };
    machine::bochs::configure(&mut images.archive, module.as_deref())?;
    for argument in &arguments.add {
        image::add(&mut images.archive, argument)?;
    }
    if batch.is_some() {
        images.archive.edit("boot/loader.conf", |text| {
            text + "\nconsole_cmdline=\"prompt_status\"\n"
        })?;
    }
    let disk = match &arguments.disk {
        Some(disk) => disk.clone(),
        None => image::bochs_disk(&images)?,
    };
    let socket = xl::Socket::new()?;
    let machine = machine::bochs::Machine {
        bochs,
        cpu: machine::bochs::BROADWELL,
        cpus,
        memory: arguments.memory,
        disk,
        folder: paths::log(),
        real_time: batch.is_none(),
        channel: socket.as_ref().map(|socket| socket.path().to_owned()),
    };
    let log = paths::log().join("run.log");
    if let Some(lines) = batch {
        step("Booting", &format!("microhv; console in {}", log.display()));
        return type_lines(Running::start_bochs(&machine, &log, true)?, &lines);
    }
    step(
        "Booting",
        "microhv in Bochs; \"poweroff\" at its prompt ends it, Ctrl-A x kills it; \"cargo xtask xl list\" works from elsewhere",
    );
    let end = terminal::run_bochs(&machine, &log)?;
    Ok(judge(&end, &log))
}

/// Says no to what Bochs cannot do.
fn refuse(arguments: &cli::Run) -> Result<()> {
    let cli::Run {
        boot, iommu, accel, ..
    } = arguments;
    ensure!(
        matches!(boot, None | Some(cli::Boot::Bios)),
        "Bochs boots its disk with BIOS: --boot direct and --boot uefi need QEMU"
    );
    ensure!(
        matches!(iommu, None | Some(cli::Iommu::None)),
        "Bochs has no IOMMU: --iommu needs QEMU"
    );
    ensure!(
        *accel != cli::Accel::Kvm,
        "Bochs executes all instructions itself: --accel kvm needs QEMU"
    );
    ensure!(
        arguments.qemu == host::QEMU.program && arguments.qemu_arg.is_empty(),
        "--qemu and --qemu-arg are for QEMU, not for Bochs"
    );
    ensure!(
        arguments.disk.is_none() || arguments.batch.is_none(),
        "{OWN_DISK}"
    );
    if let Some(disk) = &arguments.disk {
        ensure!(
            disk.is_file(),
            "--disk: there is no file {}",
            disk.display()
        );
    }
    Ok(())
}

/// The exit code of a machine that a person used.
fn judge(end: &End, log: &Path) -> ExitCode {
    let said = std::fs::read(log).unwrap_or_default();
    if String::from_utf8_lossy(&said).contains("microhv cannot start: ") {
        // It powers off then, but this is not what was asked for.
        return ExitCode::FAILURE;
    }
    report(end)
}

/// What the machine boots, and its disk.
fn choose_boot(arguments: &cli::Run, images: &Images, machine: &mut Machine) -> Result<()> {
    if let Some(disk) = &arguments.disk {
        ensure!(
            disk.is_file(),
            "--disk: there is no file {}",
            disk.display()
        );
    }
    let boot = arguments.boot.unwrap_or(cli::Boot::Direct);
    if boot == cli::Boot::Direct {
        machine.archive = Some(image::write_archive(&images.archive)?);
        machine.disk = Some(arguments.disk.as_ref().unwrap_or(&images.disk).clone());
        return Ok(());
    }
    ensure!(
        arguments.disk.is_none() || arguments.batch.is_none(),
        "{OWN_DISK}"
    );
    machine.disk = Some(match &arguments.disk {
        Some(disk) => disk.clone(),
        None => image::kept_boot_disk(images)?,
    });
    machine.boot = match boot {
        cli::Boot::Uefi => {
            let Firmware { code, vars, .. } = (images.firmware)()?;
            Boot::Uefi { code, vars }
        }
        cli::Boot::Bios | cli::Boot::Direct => Boot::Bios,
    };
    Ok(())
}

/// Types each of `lines` at the prompt and powers the machine off.
fn type_lines(mut running: Running, lines: &[String]) -> Result<ExitCode> {
    running.wait_prompt(HANG)?;
    let mut failed = Vec::new();
    // The machine is powered off in any case: a file may say so itself, as its last command.
    for line in lines.iter().take_while(|line| *line != "poweroff") {
        let answer = running.command(line, HANG)?;
        if answer.code != 0 {
            failed.push(format!("\"{line}\" ended with {}", answer.code));
        }
    }
    running.send("poweroff\r")?;
    let end = running.wait_end(HANG)?;
    println!();
    for failure in &failed {
        eprintln!("xtask: {failure}");
    }
    let code = report(&end);
    Ok(if failed.is_empty() {
        code
    } else {
        ExitCode::FAILURE
    })
}

/// The commands of a batch file; empty lines and comments are for its reader.
fn read_batch(file: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

fn report(end: &End) -> ExitCode {
    match end {
        End::PoweredOff => return ExitCode::SUCCESS,
        End::Reset => eprintln!("xtask: the machine reset itself"),
        End::Other(reason) => eprintln!("xtask: the emulator ended: {reason}"),
    }
    ExitCode::FAILURE
}

/// The first port of the host from `first` on that nobody listens on.
fn free_port(first: u16) -> Result<u16> {
    (first..first.saturating_add(100))
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        .with_context(|| format!("no free port from {first} on"))
}
