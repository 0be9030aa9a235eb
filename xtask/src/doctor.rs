//! `cargo xtask doctor`: what this machine lacks.

use std::path::Path;
use std::process::{Command, ExitCode};

use crate::host::Tool;
use crate::kvm::{self, Offer};
use crate::{bochs, build, host, suite};

/// Prints a line for each thing that is needed; fails if one of them is missing.
pub fn doctor() -> ExitCode {
    let mut missing = 0;
    let mut line = |good: bool, what: &str, hint: &str| {
        if good {
            println!("  ok       {what}");
        } else {
            missing += 1;
            println!("  MISSING  {what}: {hint}");
        }
    };
    for tool in host::TOOLS.iter().chain([&host::QEMU]) {
        let Tool {
            program,
            package,
            purpose,
        } = tool;
        line(
            host::find(program).is_some(),
            &format!("{program} ({purpose})"),
            &format!("apt-get install {package}; cargo xtask run does it as root or with sudo"),
        );
    }
    for program in ["apt-get", "apt-cache", "dpkg-deb"] {
        let why = "the guest is made of Debian's packages: use Debian, or run with --no-guest";
        line(host::find(program).is_some(), program, why);
    }
    let root = rustix::process::geteuid().is_root() || host::find("sudo").is_some();
    line(
        root,
        "root or sudo (installs packages)",
        "be root, or install what is missing by hand",
    );
    line(
        build::has_target(),
        build::TARGET,
        "rustup target add x86_64-unknown-none",
    );
    for (component, program) in build::COMPONENTS {
        let works = Command::new(program)
            .arg("--version")
            .output()
            .is_ok_and(|output| output.status.success());
        line(
            works,
            component,
            &format!("rustup component add {component}"),
        );
    }
    println!("  {}", acceleration());
    println!("  {}", bochs());
    if missing == 0 {
        println!("Nothing is missing.");
        return ExitCode::SUCCESS;
    }
    println!("{missing} missing.");
    ExitCode::FAILURE
}

/// A sentence about Bochs, which is fetched when it is needed.
fn bochs() -> &'static str {
    if bochs::is_there() {
        "Bochs (--emulator bochs, a machine with VMX) is in target/cache/bochs"
    } else if !Path::new(suite::KEYRING).exists() {
        "Bochs (--emulator bochs, a machine with VMX) cannot be fetched: apt-get install debian-archive-keyring"
    } else {
        "Bochs (--emulator bochs, a machine with VMX) is fetched when it is needed, without being installed"
    }
}

/// A sentence about hardware virtualisation, which nothing needs.
fn acceleration() -> String {
    match kvm::offer() {
        Ok(Offer::Svm) => "KVM offers nested SVM with NPT: cargo xtask run uses it".to_string(),
        Ok(Offer::Vmx) => "KVM offers nested VMX with EPT: cargo xtask run uses it".to_string(),
        Err(why) => format!("{why}: QEMU emulates the CPU"),
    }
}
