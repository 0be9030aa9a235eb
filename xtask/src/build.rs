//! Builds the hypervisor and the service domains for the bare machine.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::output::step;
use crate::paths;

/// The target of everything that runs in the machine.
pub const TARGET: &str = "x86_64-unknown-none";
/// The domains of the boot archive; `console` is Domain-0.
pub const DOMAINS: [&str; 5] = ["console", "xenstore", "netback", "blkback", "bridge"];

/// The domain that does wrong things in scenarios.
pub const FAULTY: &str = "faulty";
/// rustup's components that the checks need, and a program of each.
pub const COMPONENTS: [(&str, &str); 2] = [("rustfmt", "cargo-fmt"), ("clippy", "cargo-clippy")];

/// Where cargo leaves the ELF file of `package`.
pub fn binary(package: &str) -> PathBuf {
    paths::target().join(TARGET).join("release").join(package)
}

/// The `cargo` that runs us, in the workspace's root.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(paths::root());
    command
}

/// Runs `command` to its end.
///
/// # Errors
/// When it cannot be started or fails; `what` names it.
pub fn check(command: &mut Command, what: &str) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {what}"))?;
    if !status.success() {
        bail!("{what} failed ({status})");
    }
    Ok(())
}

/// Builds all images of the machine.
///
/// # Errors
/// When the compiler says no.
pub fn all() -> Result<()> {
    images(&[])
}

/// Builds all images of the machine, and what scenarios need besides.
///
/// # Errors
/// When the compiler says no.
pub fn all_for_tests() -> Result<()> {
    images(&[FAULTY])
}

fn images(more: &[&str]) -> Result<()> {
    ensure_target()?;
    step(
        "Building",
        "microhv and its domains for x86_64-unknown-none",
    );
    // Not in one go: cargo would give the hypervisor the features that the domains ask of shared crates, and one with `alloc`
    // needs a heap, which the hypervisor does not have.
    let domains: Vec<&str> = DOMAINS.iter().chain(more).copied().collect();
    for packages in [&["microhv"][..], &domains] {
        let mut command = cargo();
        command.args(["build", "--release", "--target", TARGET]);
        for package in packages {
            command.args(["--package", package]);
        }
        check(&mut command, "cargo build")?;
    }
    Ok(())
}

/// Has rustup install the formatter and the linter, unless they are there.
///
/// # Errors
/// When rustup fails.
pub fn ensure_components() -> Result<()> {
    for (component, program) in COMPONENTS {
        let works = Command::new(program)
            .arg("--version")
            .output()
            .is_ok_and(|output| output.status.success());
        if !works {
            step("Installing", component);
            check(
                Command::new("rustup").args(["component", "add", component]),
                "rustup component add",
            )?;
        }
    }
    Ok(())
}

/// Has rustup install the bare-metal target's core library, unless it is there.
fn ensure_target() -> Result<()> {
    if has_target() {
        return Ok(());
    }
    step("Installing", &format!("Rust's core library for {TARGET}"));
    check(
        Command::new("rustup").args(["target", "add", TARGET]),
        "rustup target add",
    )
}

/// Whether Rust can build for the bare machine.
pub fn has_target() -> bool {
    let mut query = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    query
        .current_dir(paths::root())
        .args(["--print", "target-libdir", "--target", TARGET]);
    query.output().is_ok_and(|output| {
        let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        output.status.success() && folder.is_dir()
    })
}
