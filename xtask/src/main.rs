//! `cargo xtask`: everything a person types to build, run and test microhv.
#![forbid(unsafe_code)]

mod apt;
mod bench;
mod bochs;
mod build;
mod cli;
mod debian;
mod disk_logs;
mod doctor;
mod elf;
mod firmware;
mod host;
mod image;
mod kvm;
mod logs;
mod output;
mod paths;
mod qemu;
mod run;
mod suite;
mod test;
mod xl;

use clap::Parser;

fn main() -> std::process::ExitCode {
    match cli::Cli::parse().execute() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
