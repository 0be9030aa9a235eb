//! A driver domain that tells its disk controller to write into memory that is not its own.
//!
//! `target=0x…` is where the device is to write; 0 only prepares. `page=0x…` is the device's address of the page with
//! the rings: where there is no IOMMU between, that is a machine address, which the test finds out by [`MAGIC`].
//! `insist=0x1` goes on until the device is off the bus.

mod disk;
mod insist;
mod registers;

use core::time::Duration;

use domain::Instant;
use domain::memory::PageRange;

use crate::HANG;
use disk::{Disk, Outcome};

/// First bytes of the page with the rings.
const MAGIC: [u8; 16] = *b"microhv DMA page";
/// Where a request of our own lands, in the same page.
const OWN: u64 = 0x800;
/// Longer than a device takes.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads a sector into our own memory, then the same sector to `target`.
pub fn attack(boot: &domain::Boot) {
    let insist = number(boot, "insist") != 0;
    match try_attack(number(boot, "target"), number(boot, "page"), insist) {
        Ok(()) => log::info!("faulty: done"),
        Err(why) => log::error!("faulty: {why}"),
    }
    log::info!("faulty: it is over");
}

fn try_attack(target: u64, page: u64, insist: bool) -> Result<(), &'static str> {
    let rings = PageRange::new(1).ok_or("no memory")?;
    rings
        .memory()
        .write_bytes(0, &MAGIC)
        .map_err(|_| "the page cannot be written")?;
    if target == 0 {
        return Ok(());
    }
    let address = if page == 0 { rings.gpa() } else { page };
    let device = domain::pci::devices()
        .ok()
        .and_then(|list| list.into_iter().next())
        .ok_or("no device")?;
    let mut disk = Disk::new(&device, rings, address)?;
    match disk.read(1, address + OWN, Instant::now() + HANG) {
        Outcome::Status(0) => log::info!("faulty: the device reads into this domain's memory"),
        other => {
            log::error!("faulty: {other:?} for our own memory");
            return Err("the device does not work");
        }
    }
    let port = insist.then(|| insist::listen(&device)).transpose()?;
    // Where an IOMMU is in between, no answer may come.
    let patience = if page == 0 { PATIENCE } else { HANG };
    let outcome = disk.read(1, target, Instant::now() + patience);
    log::info!("faulty: {outcome:?} for {target:#x}");
    if let Some(port) = port {
        insist::insist(&mut disk, &device, &port, target)?;
    }
    Ok(())
}

/// The hexadecimal number `name=0x…` of the command line, 0 without it.
fn number(boot: &domain::Boot, name: &str) -> u64 {
    let text = boot.argument(name).unwrap_or_default();
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or(0)
}
