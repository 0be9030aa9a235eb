//! The netback domain: drives one virtio network device, assigned through the IOMMU, and is the frontend of bridge0's uplink.
//!
//! Its DMA buffers are granted to bridge, which copies frames straight between them and the guests' pages.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]
#![deny(unsafe_code)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod link;
#[cfg(target_os = "none")]
mod nic;
#[cfg(target_os = "none")]
mod uplink;

/// Rounds of moving packets between two looks at the store.
#[cfg(target_os = "none")]
const ROUNDS: usize = 64;

#[cfg(target_os = "none")]
domain::entry!(main);

#[cfg(target_os = "none")]
fn main(_boot: &'static domain::Boot) {
    use domain::event;
    use domain::store::Store;

    let mut nic = match nic::Nic::open() {
        Ok(nic) => nic,
        Err(nic::NicError::Open(virtio::OpenError::Missing(_))) => {
            return log::warn!("no NIC is assigned: bridge0 has no uplink");
        }
        Err(error) => {
            log::error!("no network: {error}");
            // Domain-0 sees a crash, not a domain that has finished.
            event::shutdown(domain::xen_abi::sched::SHUTDOWN_CRASH)
        }
    };
    let mut store = match Store::connect() {
        Ok(store) => store,
        Err(errno) => return log::error!("no store: {errno}"),
    };
    let mut uplink = uplink::Uplink::default();
    if let Err(errno) = uplink.start(&mut store) {
        return log::error!("the store refuses: {errno}");
    }
    loop {
        // Everything is looked at after every wake-up: which port woke us does not matter.
        event::take_pending().for_each(drop);
        loop {
            match store.next_event() {
                Ok(Some(event)) => {
                    uplink.on_store_event(&event.path, &event.token, &mut store, &mut nic)
                }
                Ok(None) => break,
                Err(errno) => return log::error!("the store is gone: {errno}"),
            }
        }
        nic.set_interrupts(false);
        // The store has its turn, however much there is to move.
        let rests = (0..ROUNDS).any(|_| !uplink.work(&mut store, &mut nic));
        if nic.is_broken() {
            log::error!("the device returns what it was not given");
            event::shutdown(domain::xen_abi::sched::SHUTDOWN_CRASH);
        }
        nic.set_interrupts(true);
        if rests && !nic.has_news() && !uplink.has_news() {
            event::wait(None);
        }
    }
}

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("netback runs as a domain of microhv: build it for x86_64-unknown-none");
}
