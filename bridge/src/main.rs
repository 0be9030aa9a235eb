//! The bridge domain.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]

#[cfg(target_os = "none")]
domain::entry!(main);

#[cfg(target_os = "none")]
fn main(boot: &'static domain::Boot) {
    log::info!("bridge is up, command line {:?}", boot.cmdline);
    loop {
        for port in domain::event::take_pending() {
            log::debug!("event on port {port}");
        }
        domain::event::wait(None);
    }
}

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("bridge runs as a domain of microhv: build it for x86_64-unknown-none");
}
