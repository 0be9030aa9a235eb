//! The blkback domain.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]

#[cfg(target_os = "none")]
domain::entry!(main);

#[cfg(target_os = "none")]
fn main(_: &'static domain::Boot) {}

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("blkback runs as a domain of microhv: build it for x86_64-unknown-none");
}
