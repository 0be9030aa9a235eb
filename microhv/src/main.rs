//! The hypervisor's binary: everything is in the library; its entry is `microhv::boot::entry`.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]

#[cfg(target_os = "none")]
use microhv as _;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("microhv is a hypervisor: build it for x86_64-unknown-none");
}
