//! What is to be a volume's becomes zeros first: nobody reads what was on those sectors before. A slice at a time, between
//! Domain-0's other work; the partition table says what is still to be done (docs/disk.md).

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};

use super::App;
use crate::guest::Device;
use crate::host::{self, DiskError, Host};
use crate::partitions::Partition;

/// Where what is to be wiped is among our own disks; blkback finds it by the volume's name.
const SPEC: &str = "/dev/wipe/,raw,xvdd,rw";
/// Sectors that are wiped at a time, where the disk does that itself: 8 MiB.
const DISCARDED: u64 = 16 << 10;
/// And where zeros are written: 1 MiB.
const WRITTEN: u64 = 2 << 10;
/// Sectors after which the disk's cache is flushed, so that it never takes long: 16 MiB.
const FLUSHED: u64 = 32 << 10;
/// Who waits for the end hears so often how far it is.
const SAY_EVERY: u64 = 5_000_000_000;

/// A place that is being wiped.
struct Wipe {
    place: Partition,
    vbd: Device,
    disk: Box<dyn host::Disk>,
    /// The disk makes zeros itself.
    discards: bool,
    /// Sectors that are zeros, and how many of those were when the cache was flushed last.
    done: u64,
    flushed: u64,
}

/// Wipes one place after the other.
#[derive(Default)]
pub(crate) struct Wiper {
    now: Option<Wipe>,
    /// What could not be wiped, and why; for who waits.
    failed: Option<String>,
    /// Somebody waits for the end.
    awaited: bool,
    /// Something is to be wiped when the guests of the boot are there.
    due: bool,
}

impl Wiper {
    /// Is there something to do?
    pub(crate) fn works(&self) -> bool {
        self.now.is_some()
    }

    /// How much of a place is wiped, in per cent; if it is being wiped.
    pub(crate) fn progress(&self, place: &Partition) -> Option<u64> {
        let wipe = self.now.as_ref().filter(|wipe| wipe.place == *place)?;
        let percent = wipe.done.saturating_mul(100);
        Some(percent.checked_div(wipe.place.sectors).unwrap_or(100))
    }
}

impl Wipe {
    /// One slice; whether it was the last.
    fn slice(&mut self) -> Result<bool, DiskError> {
        let left = self.place.sectors.saturating_sub(self.done);
        if self.discards {
            let count = left.min(DISCARDED);
            match self.disk.discard(self.done, count) {
                Ok(()) => self.done += count,
                Err(DiskError::Failed) => self.discards = false,
                Err(error) => return Err(error),
            }
        } else {
            let count = left.min(WRITTEN);
            self.disk.zero(self.done, count)?;
            self.done += count;
        }
        let last = self.done >= self.place.sectors;
        if last || self.done - self.flushed >= FLUSHED {
            self.disk.flush()?;
            self.flushed = self.done;
        }
        Ok(last)
    }
}

impl<H: Host> App<'_, H> {
    /// Looks, at boot, whether a power cut ended a wipe. Only where Domain-0 has its files on a disk: else there may be none.
    pub(super) fn look_for_unwiped(&mut self) {
        if self.book.volume.is_none() {
            return;
        }
        match self.has_unwiped() {
            Ok(due) => self.wiper.due = due,
            Err(reason) => {
                let line = format!("whether volumes are to be wiped is unknown: {reason}");
                self.log_line("hypervisor.log", &format!("Domain-0: {line}"));
            }
        }
    }

    /// Goes on with what [`Self::look_for_unwiped`] has found.
    pub(super) fn resume_wiping_at_boot(&mut self) {
        if !core::mem::take(&mut self.wiper.due) {
            return;
        }
        let line = match (self.resume_wiping(), &self.wiper.now) {
            (Ok(()), Some(wipe)) => format!("volume {}: the wiping goes on", wipe.place.name),
            (Ok(()), None) => return,
            (Err(reason), _) => reason,
        };
        self.log_line("hypervisor.log", &format!("Domain-0: {line}"));
        self.notice(&line);
    }

    /// Goes on with wiping: at once, if nothing is being wiped and the table says that something is to be.
    pub(crate) fn resume_wiping(&mut self) -> Result<(), String> {
        if self.wiper.works() {
            return Ok(());
        }
        let Some(place) = self.open_table()?.unwiped() else {
            return Ok(());
        };
        let name = place.name.clone();
        self.begin_wiping(place)
            .map_err(|reason| not_wiped(&name, &reason))
    }

    fn begin_wiping(&mut self, place: Partition) -> Result<(), String> {
        let spec = xl_config::Disk::parse(SPEC).map_err(|error| format!("{SPEC}: {error:?}"))?;
        let target = spec
            .target
            .as_ref()
            .map(|folder| folder.clone() + &place.name);
        let (disk, sectors, vbd) = self.connect_own(&xl_config::Disk { target, ..spec })?;
        if sectors != place.sectors {
            self.disconnect(&vbd, disk);
            return Err(format!("{sectors} sectors instead of {}", place.sectors));
        }
        let discards = self.store_number(&format!("{}/discard-zeroes", vbd.backend_path())) == 1;
        self.wiper.now = Some(Wipe {
            place,
            vbd,
            disk,
            discards,
            done: 0,
            flushed: 0,
        });
        Ok(())
    }

    /// Wipes a little.
    pub(super) fn serve_wipe(&mut self) {
        let Some(mut wipe) = self.wiper.now.take() else {
            return;
        };
        let name = wipe.place.name.clone();
        let result = match wipe.slice() {
            Ok(false) => {
                self.wiper.now = Some(wipe);
                return;
            }
            Ok(true) => self.end_wiping(wipe),
            Err(error) => {
                self.disconnect(&wipe.vbd, wipe.disk);
                Err(error.to_string())
            }
        };
        let result = match result {
            Ok(()) => self.resume_wiping(),
            Err(reason) => Err(not_wiped(&name, &reason)),
        };
        if let Err(reason) = result {
            self.log_line("hypervisor.log", &format!("Domain-0: {reason}"));
            match self.wiper.awaited {
                true => self.wiper.failed = Some(reason),
                false => self.notice(&reason),
            }
        }
    }

    /// All is zeros: the table may say so.
    fn end_wiping(&mut self, wipe: Wipe) -> Result<(), String> {
        self.disconnect(&wipe.vbd, wipe.disk);
        let place = wipe.place;
        let mut table = self.open_table()?;
        table.wiped(&place).map_err(|error| error.to_string())?;
        self.store_table(&table)?;
        let how = match wipe.discards {
            true => "by the disk itself",
            false => "by writing zeros",
        };
        let line = format!(
            "volume {}: {} sectors were wiped {how}",
            place.name, place.sectors
        );
        self.log_line("hypervisor.log", &format!("Domain-0: {line}"));
        if !self.wiper.awaited {
            self.notice(&line);
        }
        Ok(())
    }

    /// Wipes no more of what is to be volume `name`'s, before that goes.
    pub(super) fn stop_wiping(&mut self, name: &str) {
        let wipe = self.wiper.now.take_if(|wipe| wipe.place.name == name);
        if let Some(wipe) = wipe {
            self.disconnect(&wipe.vbd, wipe.disk);
        }
    }

    /// Waits until all is wiped. Whether it is: false if the operator does not wait.
    pub(crate) fn await_wiping(&mut self) -> Result<bool, String> {
        self.resume_wiping()?;
        self.wiper.awaited = true;
        let mut due = self.host.now().saturating_add(SAY_EVERY);
        while let Some(wipe) = &self.wiper.now {
            let place = wipe.place.clone();
            if self.interrupted() {
                break;
            }
            if self.host.now() >= due {
                due = self.host.now().saturating_add(SAY_EVERY);
                let percent = self.wiper.progress(&place).unwrap_or(0);
                self.say(&format!("{}: {percent}% wiped", place.name));
            }
            self.pump(None);
        }
        self.wiper.awaited = false;
        match self.wiper.failed.take() {
            Some(reason) => Err(reason),
            None => Ok(!self.wiper.works()),
        }
    }
}

fn not_wiped(name: &str, reason: &str) -> String {
    format!("volume {name} is not wiped, and nobody's until it is: {reason}")
}
