//! Wires the logic to the runtime: the disks, the store, grants and event channels, and the event loop.

extern crate alloc;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::time::Duration;

use blkback::any_disk::AnyDisk;
use blkback::backend::{Backends, Platform};
use blkback::engine::Notify;
use blkback::memory_disk::MemoryDisk;
use blkback::pages::Grants;
use blkback::virtio_disk::{DiskError, VirtioDisk};
use domain::grant::{self, MapRequest, MappedPage, MappedRange};
use domain::store::Store;
use domain::xen_abi::grant_table::GrantRef;
use domain::xen_abi::sched::SHUTDOWN_CRASH;
use domain::{Boot, DomId, Errno, Instant, PageRange, Port, event};
use virtio::virtio_drivers::transport::DeviceType;
use virtio::{OpenError, PciDevice};

/// Grants and event channels of the runtime.
#[derive(Clone, Copy)]
struct Runtime;

impl Grants for Runtime {
    type Page = MappedPage;

    fn map(
        &mut self,
        dom: DomId,
        references: &[GrantRef],
        readonly: bool,
        out: &mut Vec<Option<MappedPage>>,
    ) {
        let requests: Vec<_> = references
            .iter()
            .map(|&gref| MapRequest {
                dom,
                gref,
                readonly,
            })
            .collect();
        let mut pages = Vec::with_capacity(requests.len());
        grant::map_batch(&requests, &mut pages);
        out.extend(pages.into_iter().map(Result::ok));
    }

    fn unmap(&mut self, pages: Vec<MappedPage>) {
        grant::unmap_batch(pages);
    }
}

impl Platform for Runtime {
    type Ring = MappedRange;
    type Port = Channel;
    type Own = PageRange;

    fn page(&mut self) -> Option<PageRange> {
        PageRange::new(1)
    }

    fn patience(&mut self) -> impl FnMut() -> bool + use<> {
        /// Interrupts are off meanwhile: the disk is looked at this often.
        const MOMENT: Duration = Duration::from_micros(100);
        let deadline = Instant::now() + PATIENCE;
        move || {
            let now = Instant::now();
            event::wait(Some(now + MOMENT));
            now < deadline
        }
    }

    fn map_ring(&mut self, dom: DomId, references: &[GrantRef]) -> Result<MappedRange, Errno> {
        grant::map_range(dom, references, false)
    }

    fn bind(&mut self, dom: DomId, port: u32) -> Result<(Channel, u32), Errno> {
        let port = Port::bind_interdomain(dom, port)?;
        let number = port.number();
        Ok((Channel(port), number))
    }
}

/// An event channel to a frontend.
struct Channel(Port);

impl Notify for Channel {
    fn notify(&self) {
        if let Err(errno) = self.0.notify() {
            log::debug!("notifying on event channel {}: {errno}", self.0.number());
        }
    }
}

/// The domain's main function.
pub fn main(boot: &'static Boot) {
    let mut disks = Vec::new();
    let mut interrupt = None;
    match open() {
        Ok((disk, port)) => {
            disks.push(("vd0".to_string(), AnyDisk::Virtio(Box::new(disk))));
            interrupt = Some(port.number());
            // It is ours as long as we live.
            core::mem::forget(port);
        }
        Err(DiskError::Open(OpenError::Missing(_))) => log::info!("no disk controller is assigned"),
        Err(reason) => {
            log::error!("no disk: {reason}");
            event::shutdown(SHUTDOWN_CRASH)
        }
    }
    for (number, module) in boot.modules.iter().enumerate() {
        log::info!("md{number}: {}", module.cmdline);
        if let Some(disk) = MemoryDisk::of_module(module) {
            disks.push((format!("md{number}"), AnyDisk::Memory(disk)));
        }
    }
    if disks.is_empty() {
        log::warn!(
            "there are no disks: no controller is assigned, and loader.conf names no image of type md_image"
        );
    }
    let mut backends = Backends::new(disks, Runtime);
    for unit in backends.units() {
        unit.read_table();
        let (name, limits) = (&unit.name, unit.limits());
        log::info!("{name}: {} MiB, {limits:?}", limits.sectors >> 11);
        for partition in unit.partitions() {
            log::info!(
                "{name}: partition {}: {:?}, {} MiB from sector {}",
                partition.number,
                partition.name,
                partition.extent.sectors >> 11,
                partition.extent.start
            );
        }
    }
    match Store::connect() {
        Ok(mut store) => serve(&mut backends, &mut store, interrupt),
        Err(errno) => {
            log::error!("no store: {errno}");
            event::shutdown(SHUTDOWN_CRASH)
        }
    }
}

fn open() -> Result<(VirtioDisk<PciDevice>, Port), DiskError> {
    let mut device = PciDevice::open(DeviceType::Block).map_err(DiskError::Open)?;
    log::info!("virtio-blk at {}", device.sbdf());
    let interrupt = device
        .bind_queue(0, 0)
        .map_err(|errno| DiskError::Open(OpenError::Hypervisor(errno)))?;
    let disk = VirtioDisk::new(device)?;
    disk.check()?;
    Ok((disk, interrupt))
}

/// How long the disk may take to give a few sectors.
const PATIENCE: Duration = Duration::from_secs(30);

/// The event loop.
fn serve(backends: &mut Backends<AnyDisk, Runtime>, store: &mut Store, interrupt: Option<u32>) {
    if let Err(errno) = backends.watch(store) {
        log::error!("watching the store: {errno}");
        event::shutdown(SHUTDOWN_CRASH)
    }
    loop {
        // While we are at it, completions need no interrupts.
        for unit in backends.units() {
            unit.engine.disk().set_interrupts(false);
        }
        let mut news = false;
        for port in event::take_pending() {
            if port == store.port() {
                news = true;
            } else if Some(port) != interrupt && !backends.serve(port) && !event::is_timer(port) {
                log::debug!("event on port {port}, which is nobody's");
            }
        }
        for unit in backends.units() {
            unit.engine.complete();
        }
        while news {
            match store.next_event() {
                Ok(Some(event)) => backends.changed(store, &event.path, &event.token),
                Ok(None) => news = false,
                Err(errno) => {
                    // Disks go on; only changes are not seen any more.
                    log::error!("store: {errno}");
                    news = false;
                }
            }
        }
        backends.settle(store);
        let mut rests = true;
        for unit in backends.units() {
            let engine = &mut unit.engine;
            if engine.disk().is_broken() {
                log::error!("the controller has gone mad: giving up, to be started again");
                event::shutdown(SHUTDOWN_CRASH)
            }
            engine.disk().set_interrupts(true);
            rests &= !engine.disk().has_completed() && !engine.has_more();
        }
        if rests {
            event::wait(None);
        }
    }
}
