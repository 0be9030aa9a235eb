//! Requests that fault, again and again, until microhv takes the device off the bus.

use core::time::Duration;

use domain::Instant;
use domain::event::{self, Port};
use domain::pci::{self, GetDevice, Sbdf};

use super::disk::Disk;

/// Bus master (PCI 3.0, 6.2.2).
const MASTER: u32 = 1 << 2;
/// More requests than microhv may let fault.
const REQUESTS: u32 = 1000;
/// Between requests, so that the CPU that hears of faults gets its turn in an emulator which has one thread for all CPUs.
const PAUSE: Duration = Duration::from_millis(1);

/// An interrupt that comes from nobody but microhv, since the queue has none. Before the first fault: the tenth is told to
/// the ports of that time.
pub fn listen(device: &GetDevice) -> Result<Port, &'static str> {
    pci::msix_bind(Sbdf(device.sbdf), 0).map_err(|_| "no interrupt")
}

/// Has the device write to `target` until it may not, then says whether it stays so and whether we were told.
pub fn insist(
    disk: &mut Disk,
    device: &GetDevice,
    port: &Port,
    target: u64,
) -> Result<(), &'static str> {
    let sbdf = Sbdf(device.sbdf);
    let masters = || pci::config_read(sbdf, 4) & MASTER != 0;
    let mut requests = 0;
    let mut told = false;
    while masters() {
        if requests == REQUESTS {
            return Err("a thousand faults, and nothing happens");
        }
        requests += 1;
        disk.read(1, target, Instant::now() + Duration::from_millis(100));
        told |= event::wait_for(port, Some(Instant::now() + PAUSE));
    }
    if !told && !event::wait_for(port, Some(Instant::now() + crate::HANG)) {
        return Err("nobody told this domain");
    }
    pci::config_write(sbdf, 4, pci::config_read(sbdf, 4) | MASTER);
    if masters() {
        return Err("the device is back on the bus");
    }
    log::info!("faulty: told, and off the bus after {requests} more");
    Ok(())
}
