//! The bridge domain: bridge0, a switch between guests' vifs and the uplink that netback drives.
//!
//! It is the backend of every port, the uplink's too: so one `GNTTABOP_copy` takes a frame straight from its sender's
//! page to its receiver's.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]
#![deny(unsafe_code)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod domain_host;
#[cfg(target_os = "none")]
mod own_interface;
#[cfg(target_os = "none")]
mod rings;
#[cfg(target_os = "none")]
mod vif;
#[cfg(target_os = "none")]
mod vifs;

#[cfg(target_os = "none")]
domain::entry!(main);

#[cfg(target_os = "none")]
fn main(boot: &'static domain::Boot) {
    use ::bridge::engine::Engine;
    use domain::store::Store;
    use domain::{Instant, event};
    use domain_host::DomainHost;

    let mut store = match Store::connect() {
        Ok(store) => store,
        Err(errno) => return log::error!("no store: {errno}"),
    };
    let Some(mut host) = DomainHost::new() else {
        return log::error!("no memory");
    };
    let mut engine = Engine::default();
    let mut vifs = vifs::Vifs::default();
    let mut interface = own_interface::OwnInterface::new(boot.cmdline, &mut engine);
    if let Err(errno) = vifs.start(&mut store) {
        return log::error!("the store refuses: {errno}");
    }
    log::info!("bridge0 is up");
    loop {
        for port in event::take_pending() {
            if let Some(id) = vifs.by_event_port(port) {
                engine.notified(id);
            }
        }
        // Also what came along with replies, which raises no event of its own.
        loop {
            match store.next_event() {
                Ok(Some(event)) => {
                    vifs.on_store_event(&event.path, &event.token, &mut store, &mut engine)
                }
                Ok(None) => break,
                Err(errno) => return log::error!("the store is gone: {errno}"),
            }
        }
        if let Some(uplink) = vifs.take_new_uplink() {
            interface.start(uplink, &mut engine);
        }
        let mut busy = engine.pass(&mut host);
        while let Some((port, broken)) = engine.take_broken() {
            vifs.on_broken(port, broken, &mut store, &mut engine);
            busy = true;
        }
        interface.work(&mut engine, &mut host);
        if busy {
            continue;
        }
        let deadlines = [engine.deadline(), interface.deadline()];
        let deadline = deadlines.into_iter().flatten().min();
        event::wait(
            deadline
                .map(|at| Instant::from_nanos(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX))),
        );
    }
}

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("bridge runs as a domain of microhv: build it for x86_64-unknown-none");
}
