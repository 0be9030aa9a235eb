//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{bench, build, disk_logs, doctor, image, paths, run, test, xl};

/// Builds, runs and tests microhv.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build microhv, its domains and the boot archive.
    Build,
    /// Make a disk that boots by itself, on machines with BIOS and with UEFI.
    Image(Image),
    /// Boot the machine in QEMU, with Domain-0's prompt on this terminal.
    Run(Run),
    /// Run xl in the machine that cargo xtask run has started; FILE of create may be a file of this host.
    Xl(Xl),
    /// Check format, lints and host tests, then play every scenario.
    Test(Test),
    /// Count the instructions that something takes.
    Bench(Bench),
    /// Print the console of the last run, a log of the running machine or on the disk of a stopped one, or the console of a
    /// failed scenario.
    Logs(Logs),
    /// Say what this machine lacks.
    Doctor,
}

/// The IOMMU of the machine.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Iommu {
    /// Intel VT-d with interrupt remapping.
    Vtd,
    /// AMD-Vi with interrupt remapping.
    Amdvi,
    /// None.
    None,
}

impl From<Iommu> for qemu_tests::machine::qemu::Iommu {
    fn from(iommu: Iommu) -> Self {
        match iommu {
            Iommu::Vtd => Self::Vtd,
            Iommu::Amdvi => Self::AmdVi,
            Iommu::None => Self::None,
        }
    }
}

/// Who executes the machine's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Accel {
    /// The host's CPU where KVM offers nested SVM, else QEMU.
    Auto,
    /// QEMU, which emulates everything.
    Tcg,
    /// The host's CPU.
    Kvm,
}

/// What the machine runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Emulator {
    /// A machine with SVM and an IOMMU.
    Qemu,
    /// A machine with VMX and without an IOMMU; downloaded when it is needed first.
    Bochs,
}

/// How the machine comes to microhv.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Boot {
    /// QEMU loads it.
    Direct,
    /// SeaBIOS and GRUB load it from the disk.
    Bios,
    /// OVMF and GRUB load it from the disk.
    Uefi,
}

/// `cargo xtask image`.
#[derive(Debug, Args)]
pub struct Image {
    /// Where to write the disk image [default: target/image/microhv.img].
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Put a file on it (may be given again).
    #[arg(long, value_name = "HOST_FILE=/PATH")]
    pub add: Vec<String>,
    /// Leave the Debian guest out.
    #[arg(long)]
    pub no_guest: bool,
}

/// `cargo xtask run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Type the lines of FILE at Domain-0's prompt, then power off; fails if one of them does.
    #[arg(long, value_name = "FILE")]
    pub batch: Option<PathBuf>,
    /// Put a file on the boot disk (may be given again).
    #[arg(long, value_name = "HOST_FILE=/PATH")]
    pub add: Vec<String>,
    /// What the machine runs in: qemu (SVM, IOMMU, NIC) or bochs (VMX; boots its disk with BIOS).
    #[arg(long, value_enum, default_value_t = Emulator::Qemu)]
    pub emulator: Emulator,
    /// How the machine comes to microhv; direct is the quickest [default: direct].
    #[arg(long, value_enum)]
    pub boot: Option<Boot>,
    /// Another disk, such as cargo xtask image makes; with --boot bios or uefi it boots as it is.
    #[arg(long, value_name = "FILE", conflicts_with = "add")]
    pub disk: Option<PathBuf>,
    /// The QEMU binary; trixie or sid: that of this suite of Debian, which is fetched.
    #[arg(long, value_name = "BINARY", default_value = "qemu-system-x86_64")]
    pub qemu: OsString,
    /// Number of CPUs [default: 2; 1 in Bochs].
    #[arg(long, value_name = "N")]
    pub cpus: Option<u32>,
    /// Memory of the machine.
    #[arg(long, value_name = "MiB", default_value_t = 2048)]
    pub memory: u32,
    /// The machine's IOMMU [default: vtd].
    #[arg(long, value_enum)]
    pub iommu: Option<Iommu>,
    /// Who executes the machine's instructions; auto: KVM if it offers what microhv needs.
    #[arg(long, value_enum, default_value_t = Accel::Auto)]
    pub accel: Accel,
    /// Another argument for QEMU (may be given again).
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub qemu_arg: Vec<OsString>,
    /// Boot without the Debian guest.
    #[arg(long)]
    pub no_guest: bool,
}

/// `cargo xtask xl`.
#[derive(Debug, Args)]
pub struct Xl {
    /// Which machine, if several run: its number, or the path of its socket.
    #[arg(long, value_name = "NUMBER")]
    pub machine: Option<String>,
    /// What to say to xl, as in Domain-0: list, create FILE, console NAME ...
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGS"
    )]
    pub arguments: Vec<String>,
}

/// `cargo xtask test`.
#[derive(Debug, Args)]
pub struct Test {
    /// Only what has this in its name.
    pub filter: Option<String>,
    /// Only scenarios of this emulator [default: host tests and those of both].
    #[arg(long, value_enum)]
    pub emulator: Option<Emulator>,
    /// The QEMU binary; trixie or sid: that of this suite of Debian, which is fetched.
    #[arg(long, value_name = "BINARY", default_value = "qemu-system-x86_64")]
    pub qemu: OsString,
    /// The IOMMU of machines that do not ask for a certain one.
    #[arg(long, value_enum, default_value_t = Iommu::Vtd)]
    pub iommu: Iommu,
    /// Only print the names.
    #[arg(long)]
    pub list: bool,
}

/// `cargo xtask bench`.
#[derive(Debug, Args)]
pub struct Bench {
    /// What to measure.
    #[arg(value_enum)]
    pub subject: Subject,
    /// The QEMU binary; trixie or sid: that of this suite of Debian, which is fetched.
    #[arg(long, value_name = "BINARY", default_value = "qemu-system-x86_64")]
    pub qemu: OsString,
}

/// `cargo xtask logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// A log, a guest, a service domain, or a word of a scenario's name.
    pub name: Option<String>,
    /// Only print the names of the logs on the disk.
    #[arg(long)]
    pub list: bool,
    /// The disk's image; the running machine, or the disk that was written last, if not given.
    #[arg(long, value_name = "FILE")]
    pub disk: Option<PathBuf>,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Subject {
    /// From power-on to Domain-0's prompt with all service domains up.
    Boot,
    /// What the creation of a guest takes beside what its kernel needs by itself.
    Create,
}

impl Cli {
    /// Does what was asked.
    pub fn execute(self) -> Result<ExitCode> {
        match self.command {
            Command::Build => {
                build::all()?;
                image::write_archive(&image::all(true)?.archive)?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Image(arguments) => {
                build::all()?;
                let mut images = image::all(!arguments.no_guest)?;
                for argument in &arguments.add {
                    image::add(&mut images.archive, argument)?;
                }
                let target = arguments
                    .output
                    .unwrap_or_else(|| paths::image().join("microhv.img"));
                image::boot_disk(&images, &target)?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Run(arguments) => run::run(&arguments),
            Command::Xl(arguments) => xl::xl(arguments.machine.as_deref(), &arguments.arguments),
            Command::Bench(arguments) => match arguments.subject {
                Subject::Boot => bench::boot(&arguments),
                Subject::Create => bench::create(&arguments),
            },
            Command::Logs(arguments) => disk_logs::logs(&arguments),
            Command::Doctor => Ok(doctor::doctor()),
            Command::Test(arguments) => test::test(&arguments),
        }
    }
}
