//! The xenstore domain: waits for events, serves every ring, notifies.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]
#![deny(unsafe_code)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod machine;

#[cfg(target_os = "none")]
domain::entry!(main);

/// Serves until the machine goes off. microhv says on the command line where domain 0 listens (`dom0_store_port=N`); domain 0
/// introduces everyone else.
#[cfg(target_os = "none")]
fn main(boot: &'static domain::Boot) {
    use domain::event;
    use domain::time::Instant;

    let Some(port) = boot
        .argument("dom0_store_port")
        .and_then(|port| port.parse().ok())
    else {
        log::error!(
            "dom0_store_port=N is missing on the command line {:?}",
            boot.cmdline
        );
        return;
    };
    // Half of the memory for what clients store: the rest is for requests in progress and the allocator's gaps.
    let memory = domain::memory::ram_pages().0 * 4096 / 2;
    let mut server = xenstore::Server::new(machine::Machine::default(), memory);
    if let Err(error) = server.attach(xenstore::client::CONTROL_DOMAIN, port) {
        log::error!("cannot talk with domain 0 on port {port}: {}", error.name());
        return;
    }
    log::info!("up, with {} KiB for nodes", memory / 1024);
    // Now, and not when a client happens to be slow: what this domain holds is compared before and after guests.
    if let Err(errno) = event::bind_timer() {
        log::warn!("no timer: {errno}");
    }
    loop {
        // Which port it was does not matter: looking at a ring costs less than finding out whose the port is.
        event::take_pending().for_each(drop);
        let served = server.serve(Instant::now().as_nanos() / 1_000_000);
        if !served.busy {
            event::wait(
                served
                    .deadline
                    .map(|deadline| Instant::from_nanos(deadline.saturating_mul(1_000_000))),
            );
        }
    }
}

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("xenstore runs as a domain of microhv: build it for x86_64-unknown-none");
}
