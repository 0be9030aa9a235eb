//! How a device comes up: what we offer when its directory appears, and its rings when the frontend has them.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use domain::store::{Store, StoreAccess};
use domain::xenbus::{Device, XenbusState};
use xen_abi::io::blkif::{BLKIF_SECTOR_SIZE, VDISK_CDROM, VDISK_READONLY};

use super::locate::Place;
use super::{Backends, Failure, Key, Platform, Vbd};
use crate::check::MAX_INDIRECT_SEGMENTS;
use crate::disk::Disk;
use crate::engine::Queue;
use crate::protocol::{Protocol, Ring};

/// log2 of the most pages that a ring may have (Linux: `XENBUS_MAX_RING_GRANT_ORDER`).
const MAX_RING_PAGE_ORDER: u64 = 4;
/// Rings that one device may have.
const MAX_QUEUES: u64 = 4;

impl<D: Disk, P: Platform> Backends<D, P> {
    /// A new directory: finds its disk and says what we can do with it. `None` if another that is about to end has the same
    /// sectors.
    pub(super) fn appear(&mut self, store: &mut Store, path: &str) -> Result<Option<Vbd>, Failure> {
        let device = Device::backend(store, path)?;
        let key = |name: &str| format!("{path}/{name}");
        let params = store
            .read_string(&key("params"))
            .map_err(|_| Failure("no params".to_string()))?;
        let mut place = self.find(store, path, &params, device.other_domid)?;
        let limits = self.units.get(place.unit).map(|unit| unit.limits);
        let limits = limits.ok_or_else(|| Failure("no such disk".to_string()))?;
        let mode = store.read_string(&key("mode")).unwrap_or_default();
        place.extents.read_only = !mode.starts_with('w') || limits.read_only;
        let shared = mode.ends_with('!');
        if !self.may_use(&params, &place, (shared, device.other_domid))? {
            return Ok(None);
        }
        let Place {
            unit,
            extents,
            file,
        } = place;
        let cdrom = store
            .read_string(&key("device-type"))
            .is_ok_and(|kind| kind == "cdrom");
        let discard_allowed = store.read_number_or(&key("discard-enable"), 1) != 0;

        let mut features: Vec<(&str, u64)> = Vec::from([
            ("feature-flush-cache", u64::from(limits.flush)),
            ("feature-barrier", u64::from(limits.flush)),
            ("feature-persistent", 1),
            (
                "feature-max-indirect-segments",
                MAX_INDIRECT_SEGMENTS.into(),
            ),
            ("max-ring-page-order", MAX_RING_PAGE_ORDER),
            ("multi-queue-max-queues", MAX_QUEUES),
        ]);
        if let Some(discard) = limits
            .discard
            .filter(|_| discard_allowed && extents.discard && !extents.zeroes && !extents.read_only)
        {
            let granularity = u64::from(discard.alignment) * BLKIF_SECTOR_SIZE as u64;
            features.push(("feature-discard", 1));
            features.push(("discard-granularity", granularity));
            features.push((
                "discard-alignment",
                extents.start() * BLKIF_SECTOR_SIZE as u64 % granularity,
            ));
            features.push(("discard-secure", 0));
        }
        if extents.zeroes && limits.zeroes.is_some() {
            features.push(("discard-zeroes", 1));
        }
        for (name, value) in features {
            store.write_number(&key(name), value)?;
        }
        // What libxl's hotplug scripts say when the disk is there.
        store.write(&key("hotplug-status"), "connected")?;
        log::info!(
            "{path}: {params}, {} MiB{}",
            extents.sectors() >> 11,
            if extents.read_only { ", read-only" } else { "" }
        );
        // The token is how `changed` finds the device.
        device.watch_other(store, path)?;
        let vbd = Vbd {
            device,
            unit,
            extents,
            file,
            shared,
            cdrom,
            connection: None,
            ports: Vec::new(),
            ending: None,
        };
        if vbd.device.state(store) != XenbusState::Connected {
            vbd.device.set_state(store, XenbusState::InitWait)?;
        } else {
            // A backend before us was connected. The frontend's rings are still there: take them over.
            store.write(&key("state"), XenbusState::InitWait.as_str())?;
        }
        Ok(Some(vbd))
    }

    /// The frontend is ready: maps its rings and tells it how large the disk is.
    pub(super) fn connect(&mut self, store: &mut Store, key: &Key) -> Result<(), Failure> {
        let Some(vbd) = self.vbds.get_mut(key) else {
            return Ok(());
        };
        let Some(unit) = self.units.get_mut(vbd.unit) else {
            return Ok(());
        };
        let device = &vbd.device;
        let dom = device.other_domid;
        let protocol = store.read_string(&device.other_key("protocol")).ok();
        let protocol = Protocol::parse(protocol.as_deref())
            .ok_or_else(|| Failure(format!("unknown protocol {protocol:?}")))?;
        let persistent = store.read_number_or(&device.other_key("feature-persistent"), 0) != 0;
        let count = store.read_number_or(&device.other_key("multi-queue-num-queues"), 1);
        if !(1..=MAX_QUEUES).contains(&count) {
            return Err(Failure(format!("{count} queues")));
        }
        let (mut queues, mut ports) = (Vec::new(), Vec::new());
        for index in 0..count {
            let prefix = if count == 1 {
                String::new()
            } else {
                format!("queue-{index}/")
            };
            let read = |store: &mut Store, name: &str| {
                let path = device.other_key(&format!("{prefix}{name}"));
                let number = store
                    .read_number(&path)
                    .ok()
                    .and_then(|number| u32::try_from(number).ok());
                number.ok_or_else(|| Failure(format!("{path} is missing or no number")))
            };
            let references = match store.read_number(&device.other_key("ring-page-order")) {
                Ok(order) if order > MAX_RING_PAGE_ORDER => {
                    return Err(Failure(format!("ring-page-order {order}")));
                }
                Ok(order) if order > 0 => (0..1 << order)
                    .map(|page| read(store, &format!("ring-ref{page}")))
                    .collect::<Result<Vec<_>, _>>()?,
                // One page may be named in either way.
                Ok(_) => {
                    Vec::from([read(store, "ring-ref").or_else(|_| read(store, "ring-ref0"))?])
                }
                Err(_) => Vec::from([read(store, "ring-ref")?]),
            };
            let channel = read(store, "event-channel")?;
            let memory = self
                .platform
                .map_ring(dom, &references)
                .map_err(|errno| Failure(format!("mapping ring {references:?}: {errno}")))?;
            let ring =
                Ring::attach(protocol, memory).map_err(|error| Failure(error.to_string()))?;
            let (port, number) = self
                .platform
                .bind(dom, channel)
                .map_err(|errno| Failure(format!("binding to event channel {channel}: {errno}")))?;
            queues.push(Queue { ring, port });
            ports.push(number);
        }
        let mut info = if vbd.cdrom { VDISK_CDROM } else { 0 };
        if vbd.extents.read_only {
            info |= VDISK_READONLY;
        }
        for (name, value) in [
            ("sectors", vbd.extents.sectors()),
            ("info", info.into()),
            ("sector-size", BLKIF_SECTOR_SIZE as u64),
            (
                "physical-sector-size",
                unit.limits.physical_sector_size.into(),
            ),
        ] {
            store.write_number(&device.key(name), value)?;
        }
        let id = unit
            .engine
            .connect(dom, vbd.extents.clone(), persistent, queues);
        vbd.connection = Some(id);
        vbd.ports = ports;
        device.set_state(store, XenbusState::Connected)?;
        log::info!(
            "{}: connected, {count} queue(s), {protocol:?}, {}persistent grants",
            device.path,
            if persistent { "" } else { "no " },
        );
        // Requests may be there already, from before a former backend's end.
        if let Err(error) = unit.engine.serve(id) {
            return Err(Failure(error.to_string()));
        }
        Ok(())
    }
}
