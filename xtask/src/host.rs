//! The host's tools: what is missing and how it is installed.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::output::step;

/// A program that must be on the host, and the Debian package that has it.
pub struct Tool {
    /// The program's name.
    pub program: &'static str,
    /// The package.
    pub package: &'static str,
    /// What it is for.
    pub purpose: &'static str,
}

/// QEMU is a tool of its own: `--qemu` may name another one.
pub const QEMU: Tool = Tool {
    program: "qemu-system-x86_64",
    package: "qemu-system-x86",
    purpose: "the machine that everything runs in",
};
/// What making and checking the images needs.
pub const TOOLS: [Tool; 4] = [
    Tool {
        program: "mke2fs",
        package: "e2fsprogs",
        purpose: "makes the guest's root file system",
    },
    Tool {
        program: "e2fsck",
        package: "e2fsprogs",
        purpose: "checks it after a test",
    },
    Tool {
        program: "debugfs",
        package: "e2fsprogs",
        purpose: "fills a guest's file system for a test",
    },
    Tool {
        program: "fsck.vfat",
        package: "dosfstools",
        purpose: "checks Domain-0's file system after a test",
    },
];

/// Where `program` is, looking where root's tools are too.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin", "/usr/bin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Installs the packages of those `tools` that are missing.
///
/// # Errors
/// When apt fails, or we are neither root nor have sudo.
pub fn ensure(tools: &[Tool]) -> Result<()> {
    let mut packages: Vec<&str> = Vec::new();
    for tool in tools {
        if find(tool.program).is_none() && !packages.contains(&tool.package) {
            packages.push(tool.package);
        }
    }
    if packages.is_empty() {
        return Ok(());
    }
    apt_update()?;
    step("Installing", &packages.join(", "));
    let mut command = root("apt-get")?;
    command.env("DEBIAN_FRONTEND", "noninteractive");
    quiet(
        command
            .args(["install", "-y", "--no-install-recommends"])
            .args(&packages),
    )
}

/// Has apt read its package lists again: a fresh machine has none.
///
/// # Errors
/// When apt fails, or we are neither root nor have sudo.
pub fn apt_update() -> Result<()> {
    step("Updating", "apt's package lists");
    quiet(root("apt-get")?.args(["update", "-qq"]))
}

/// Runs `command`, showing what it prints only if it fails.
///
/// # Errors
/// When it cannot be started or fails.
pub fn quiet(command: &mut Command) -> Result<()> {
    let name = command.get_program().display().to_string();
    let output = command
        .stdin(std::process::Stdio::null())
        .output()
        .with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!(
            "{command:?} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&said).trim()
        );
    }
    Ok(())
}

/// A command that runs `program` as root.
fn root(program: &str) -> Result<Command> {
    if rustix::process::geteuid().is_root() {
        return Ok(Command::new(program));
    }
    if find("sudo").is_none() {
        bail!("{program} must run as root: be root, or install sudo");
    }
    let mut command = Command::new("sudo");
    command.args(["--preserve-env=DEBIAN_FRONTEND", program]);
    Ok(command)
}
