//! Domain-0's own disk: the partition `microhv` of the boot disk, served by blkback as any guest's.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};

use xl_config::Disk;

use super::boot::BLKBACK;
use super::{App, DOMAIN_0};
use crate::guest::{Device, Entry, vbd_entries};
use crate::host::{self, Host};
use crate::volume::{Volume, set_wall_clock};

/// The partition with Domain-0's files.
pub(super) const FILES: &str = "/dev/gpt/microhv";
/// The device that it becomes.
const SPEC: &str = "/dev/gpt/microhv,raw,xvda,rw";
/// How long blkback may take for each step; it reads the partition table first.
const BACKEND_WAIT: u64 = 5_000_000_000;
/// The backend has this long to let go of a disk (libxl: `LIBXL_DESTROY_TIMEOUT`).
const DETACH_WAIT: u64 = 10_000_000_000;
/// Xenbus states.
const INITIALISED: &str = "3";
const FRONT_CONNECTED: &str = "4";
const INIT_WAIT: i64 = 2;
const CONNECTED: i64 = 4;
const CLOSED: i64 = 6;

impl<H: Host> App<'_, H> {
    /// Connects the disk and mounts what is on it. Without it Domain-0 says so, and goes on.
    pub(crate) fn mount(&mut self) {
        set_wall_clock(self.host.wall_clock());
        match self.try_mount() {
            Ok(volume) => {
                self.step(&format!("{SPEC} is mounted"));
                self.start_logs(volume);
            }
            Err(reason) => self.say(&format!(
                "no files but those of the boot archive, and no logs on disk: {reason}"
            )),
        }
    }

    fn try_mount(&mut self) -> Result<Volume, String> {
        let (disk, sectors, _) = self.own_disk(SPEC)?;
        Volume::mount(disk, sectors).map_err(|error| format!("{SPEC}: {error}"))
    }

    /// Connects a disk of our own: what it is made of and its number are as in a guest's configuration. Gives it with its sectors
    /// and what the store calls it.
    pub(super) fn own_disk(
        &mut self,
        spec: &str,
    ) -> Result<(Box<dyn host::Disk>, u64, Device), String> {
        let disk = Disk::parse(spec).map_err(|error| format!("{spec}: {error:?}"))?;
        self.connect_own(&disk)
    }

    /// The same, of a disk that was described already.
    pub(super) fn connect_own(
        &mut self,
        disk: &Disk,
    ) -> Result<(Box<dyn host::Disk>, u64, Device), String> {
        let backend = self
            .named(BLKBACK)
            .ok_or_else(|| format!("there is no {BLKBACK} domain"))?;
        let vbd = Device {
            kind: "vbd",
            number: disk.number.number,
            frontend: DOMAIN_0,
            backend,
        };
        let entries = vbd_entries(&vbd, disk, true);
        let connected = self.connect_vbd(&vbd, &entries);
        if connected.is_err() {
            for path in [vbd.frontend_path(), vbd.backend_path(), vbd.record_path()] {
                self.remove_node(&path);
            }
        }
        connected.map(|(disk, sectors)| (disk, sectors, vbd))
    }

    /// What a frontend does, step by step, with a disk that `entries` describe; gives it with its size in sectors.
    pub(super) fn connect_vbd(
        &mut self,
        vbd: &Device,
        entries: &[Entry],
    ) -> Result<(Box<dyn host::Disk>, u64), String> {
        let (front, back) = (vbd.frontend_path(), vbd.backend_path());
        self.host
            .store_apply(entries)
            .map_err(|errno| format!("xenstore: {errno}"))?;
        self.backend_at(vbd, INIT_WAIT)?;
        let offer = self
            .host
            .disk_offer(vbd.backend)
            .map_err(|errno| format!("no ring: {errno}"))?;
        for (key, value) in [
            ("ring-ref", offer.ring.to_string().as_str()),
            ("event-channel", &offer.port.to_string()),
            ("protocol", "x86_64-abi"),
            ("feature-persistent", "1"),
            ("state", INITIALISED),
        ] {
            self.host
                .store_write(&format!("{front}/{key}"), value)
                .map_err(|errno| format!("xenstore: {errno}"))?;
        }
        self.backend_at(vbd, CONNECTED)?;
        let sectors = self.store_number(&format!("{back}/sectors"));
        let sectors = u64::try_from(sectors).map_err(|_| "its size is unknown".to_string())?;
        let _ = self
            .host
            .store_write(&format!("{front}/state"), FRONT_CONNECTED);
        Ok((offer.disk, sectors))
    }

    /// Detaches a disk of our own: nobody else has to wait for it then. Its pages are ours again when the backend has closed.
    pub(super) fn disconnect<D>(&mut self, vbd: &Device, disk: D) {
        let (front, back) = (vbd.frontend_path(), vbd.backend_path());
        let state = format!("{back}/state");
        if self.store_number(&state) >= 0 {
            let _ = self.host.store_write(&format!("{back}/online"), "0");
            let closed = CLOSED.to_string();
            let _ = self.host.store_write(&format!("{front}/state"), &closed);
            let deadline = self.host.now().saturating_add(DETACH_WAIT);
            let last = self.wait_for(&state, deadline, |state| state == CLOSED || state < 0);
            if last != CLOSED && last >= 0 {
                log::warn!("{back}: not closed within 10 s");
            }
        }
        drop(disk);
        self.forget_device(vbd, false);
    }

    /// Waits until the backend is in `wanted` state.
    fn backend_at(&mut self, vbd: &Device, wanted: i64) -> Result<(), String> {
        let back = vbd.backend_path();
        let deadline = self.host.now().saturating_add(BACKEND_WAIT);
        let state = self.wait_for(&format!("{back}/state"), deadline, |state| state >= wanted);
        if state == wanted {
            return Ok(());
        }
        if state > CONNECTED {
            // Linux's and our backends write the reason there.
            let name = format!("backend/vbd/{}/{}", vbd.frontend, vbd.number);
            let path = format!("/local/domain/{}/error/{name}/error", vbd.backend);
            let reason = self.host.store_read(&path);
            return Err(reason.unwrap_or_else(|_| format!("{BLKBACK} refuses it")));
        }
        Err(format!("{BLKBACK} did not answer"))
    }
}
