//! Wires the logic to the runtime: the disk, the store, grants and event channels, and the event loop.

extern crate alloc;

use alloc::vec::Vec;
use core::time::Duration;

use blkback::backend::{Backends, Platform};
use blkback::disk::{Command, Disk, Segment};
use blkback::engine::Notify;
use blkback::gpt;
use blkback::pages::Grants;
use blkback::virtio_disk::VirtioDisk;
use domain::grant::{self, MapRequest, MappedPage, MappedRange};
use domain::store::Store;
use domain::xen_abi::grant_table::GrantRef;
use domain::xen_abi::sched::SHUTDOWN_CRASH;
use domain::{Boot, DomId, Errno, Instant, PageRange, Port, event};
use virtio::PciDevice;
use virtio::virtio_drivers::transport::DeviceType;

/// Grants and event channels of the runtime.
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

type Controller = VirtioDisk<PciDevice>;

/// The domain's main function.
pub fn main(_: &'static Boot) {
    let (mut disk, interrupt) = match open() {
        Ok(opened) => opened,
        Err(reason) => {
            log::error!("no disk: {reason}");
            event::shutdown(SHUTDOWN_CRASH)
        }
    };
    let limits = disk.limits();
    log::info!("disk of {} MiB, {limits:?}", limits.sectors >> 11);
    let read = |sector, count| read_sectors(&mut disk, &interrupt, sector, count);
    let partitions = gpt::partitions(limits.sectors, read).unwrap_or_else(|error| {
        log::warn!("{error}");
        Vec::new()
    });
    for partition in &partitions {
        let (name, extent) = (&partition.name, partition.extent);
        log::info!(
            "partition {}: {name:?}, {} MiB from sector {}",
            partition.number,
            extent.sectors >> 11,
            extent.start
        );
    }
    let mut backends = Backends::new(disk, Runtime, partitions);
    match Store::connect() {
        Ok(mut store) => serve(&mut backends, &mut store, &interrupt),
        Err(errno) => {
            log::error!("no store: {errno}");
            event::shutdown(SHUTDOWN_CRASH)
        }
    }
}

fn open() -> Result<(Controller, Port), blkback::virtio_disk::DiskError> {
    use blkback::virtio_disk::DiskError;
    let mut device = PciDevice::open(DeviceType::Block).map_err(DiskError::Open)?;
    log::info!("virtio-blk at {}", device.sbdf());
    let interrupt = device
        .bind_queue(0, 0)
        .map_err(|errno| DiskError::Open(virtio::OpenError::Hypervisor(errno)))?;
    let disk = VirtioDisk::new(device)?;
    disk.check()?;
    Ok((disk, interrupt))
}

/// How long the disk may take to give a few sectors at start-up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reads sectors and waits for them.
fn read_sectors(
    disk: &mut Controller,
    interrupt: &Port,
    sector: u64,
    count: usize,
) -> Option<Vec<u8>> {
    let bytes = count.checked_mul(512)?;
    let buffer = PageRange::new(bytes.div_ceil(4096).max(1))?;
    let segments = [Segment {
        gpa: buffer.gpa(),
        len: u32::try_from(bytes).ok()?,
    }];
    disk.submit(
        Command::Read {
            sector,
            segments: &segments,
        },
        0,
    )
    .ok()?;
    disk.kick();
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(completion) = disk.completed() {
            let mut data = alloc::vec![0; bytes];
            buffer.memory().read_bytes(0, &mut data).ok()?;
            return completion.ok.then_some(data);
        }
        if Instant::now() >= deadline {
            log::error!("the disk does not answer");
            // The device may still write there.
            let _ = buffer.into_raw();
            return None;
        }
        event::wait_for(interrupt, Some(deadline));
    }
}

/// The event loop.
fn serve(backends: &mut Backends<Controller, Runtime>, store: &mut Store, interrupt: &Port) {
    if let Err(errno) = backends.watch(store) {
        log::error!("watching the store: {errno}");
        event::shutdown(SHUTDOWN_CRASH)
    }
    loop {
        // While we are at it, completions need no interrupts.
        backends.engine().disk().set_interrupts(false);
        let mut news = false;
        for port in event::take_pending() {
            if port == store.port() {
                news = true;
            } else if port != interrupt.number() && !backends.serve(port) && !event::is_timer(port)
            {
                log::debug!("event on port {port}, which is nobody's");
            }
        }
        backends.engine().complete();
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
        let engine = backends.engine();
        if engine.disk().is_broken() {
            log::error!("the controller has gone mad: giving up, to be started again");
            event::shutdown(SHUTDOWN_CRASH)
        }
        engine.disk().set_interrupts(true);
        if !engine.disk().has_completed() && !engine.has_more() {
            event::wait(None);
        }
    }
}
