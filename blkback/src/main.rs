//! The blkback domain: one disk controller, and virtual disks on it for other domains.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]
#![deny(unsafe_code)]

#[cfg(target_os = "none")]
mod run;

#[cfg(target_os = "none")]
domain::entry!(run::main);

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("blkback runs as a domain of microhv: build it for x86_64-unknown-none");
}
