//! Domain-0's logs under /var/log/xen: what goes in, and when it goes to the disk.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use xen_abi::DomId;

use super::files::{CONSOLES, LOGS};
use super::{App, DOMAIN_0};
use crate::guest::Device;
use crate::host::Host;
use crate::logs::{Lines, Logs, Moment, domain_line, file_name, rotates};
use crate::volume::{FileExtents, Volume, VolumeError, set_wall_clock};

/// What is logged waits no longer than this for the disk, in nanoseconds; as often the hypervisor is asked for its log.
const TICK: u64 = 400_000_000;
/// A line without an end is written as it is after this long.
const PARTIAL: u64 = 400_000_000;
/// That the disk is full, or a log in use, is said again after this long, if it still is.
const FULL_AGAIN: u64 = 600_000_000_000;

/// The file system and what is to be written to it.
#[derive(Default)]
pub(crate) struct Book {
    /// Mounted, unless there is none or it has failed.
    pub volume: Option<Volume>,
    /// Files of it that are guests' disks.
    pub held: Vec<(Device, FileExtents)>,
    logs: Logs,
    hypervisor: Lines,
    /// Where the hypervisor's log was read up to.
    position: Option<u32>,
    /// Guests' output, with the paths of their logs.
    consoles: BTreeMap<DomId, (String, Lines)>,
    /// When to write.
    due: u64,
    urgent: bool,
    /// When it was said last that the disk is full, or a log in use.
    full: Option<u64>,
}

impl Book {
    /// How many guests' consoles are being logged.
    pub(crate) fn console_logs(&self) -> usize {
        self.consoles.len()
    }
}

impl<H: Host> App<'_, H> {
    /// Begins to write logs to `volume`.
    pub(crate) fn start_logs(&mut self, volume: Volume) {
        self.book.volume = Some(volume);
        self.flush_logs();
    }

    /// The latest moment at which [`Self::serve_logs`] has something to do.
    pub(crate) fn log_deadline(&self) -> Option<u64> {
        self.book.volume.as_ref().map(|_| self.book.due)
    }

    /// Writes what has waited long enough.
    pub(crate) fn serve_logs(&mut self) {
        if self.book.volume.is_some()
            && (self.book.urgent || self.book.logs.has_much() || self.host.now() >= self.book.due)
        {
            self.flush_logs();
        }
    }

    /// Writes all there is.
    pub(crate) fn flush_logs(&mut self) {
        if self.book.volume.is_none() {
            return;
        }
        let at = self.moment();
        set_wall_clock(at.wall);
        self.read_hypervisor(at);
        self.end_partial_lines(at);
        self.book.urgent = false;
        self.book.due = at.now.saturating_add(TICK);
        if let Err(error) = self.write_logs(at) {
            self.log_failed(&error);
        }
    }

    fn write_logs(&mut self, at: Moment) -> Result<(), VolumeError> {
        let Some(volume) = &self.book.volume else {
            return Ok(());
        };
        let mut busy = Ok(());
        for (path, bytes) in self.book.logs.take(at) {
            let old = format!("{path}.1");
            let size = volume.size(&path)?;
            let room = match rotates(size, bytes.len()) {
                true => volume.replace(&path, &old),
                false => Ok(()),
            };
            match room.and_then(|()| volume.append(&path, &bytes)) {
                // Some guest's disk: only this log's lines are lost.
                Err(error @ VolumeError::Busy) => busy = Err(error),
                written => written?,
            }
        }
        if volume.is_dirty() {
            volume.commit()?;
        }
        busy
    }

    /// A full disk may be emptied again, and a file in use is free some day; a disk that fails is not used any more.
    fn log_failed(&mut self, error: &VolumeError) {
        let full = matches!(error, VolumeError::Fat(hadris_fat::Error::NoFreeSpace));
        if full || matches!(error, VolumeError::Busy) {
            if let Some(volume) = &self.book.volume {
                let _ = volume.commit();
            }
            let now = self.host.now();
            let lately = |then: u64| now.saturating_sub(then) < FULL_AGAIN;
            if !self.book.full.is_some_and(lately) {
                self.book.full = Some(now);
                self.notice(&format!("/{LOGS}: {error}"));
            }
            return;
        }
        self.book.volume = None;
        self.notice(&format!(
            "/{LOGS}: {error}: no more logs are written to disk"
        ));
    }

    fn moment(&mut self) -> Moment {
        Moment {
            now: self.host.now(),
            wall: self.host.wall_clock(),
        }
    }

    /// Adds a line to the log `name` under /var/log/xen.
    pub(crate) fn log_line(&mut self, name: &str, line: &str) {
        if self.book.volume.is_none() {
            return;
        }
        let at = self.moment();
        let path = format!("{LOGS}{name}");
        for line in line.lines() {
            self.book.logs.line(&path, line, at);
        }
    }

    /// What has just been logged is about an error: it is written at once.
    pub(crate) fn log_urgent(&mut self) {
        self.book.urgent = true;
    }

    /// A guest's console output.
    pub(crate) fn log_console(&mut self, domid: DomId, output: &[u8]) {
        if self.book.volume.is_none() {
            return;
        }
        let at = self.moment();
        if !self.book.consoles.contains_key(&domid) {
            let name = file_name(&self.name_of(domid));
            let path = format!("{CONSOLES}guest-{name}.log");
            self.book.consoles.insert(domid, (path, Lines::default()));
        }
        let logs = &mut self.book.logs;
        if let Some((path, lines)) = self.book.consoles.get_mut(&domid) {
            lines.push(output, at.now, |line| logs.line(path, line, at));
        }
    }

    /// The hypervisor's news go to its own log; a service domain's lines also to that domain's.
    fn read_hypervisor(&mut self, at: Moment) {
        let Ok(news) = self.host.log_news(&mut self.book.position) else {
            return;
        };
        let (logs, guests) = (&mut self.book.logs, &self.guests);
        let hypervisor = format!("{LOGS}hypervisor.log");
        self.book.hypervisor.push(&news, at.now, |line| {
            logs.line(&hypervisor, line, at);
            let Some((domid, text)) = domain_line(line) else {
                return;
            };
            // A guest's name may be anything, and its output here is no service's.
            let service = guests.get(&domid).filter(|guest| guest.config.is_none());
            let name = match service {
                _ if domid == DOMAIN_0 => "Domain-0".to_string(),
                Some(guest) => file_name(&guest.name),
                None => return,
            };
            logs.line(&format!("{LOGS}{name}.log"), text, at);
        });
    }

    fn end_partial_lines(&mut self, at: Moment) {
        let limit = at.now.saturating_sub(PARTIAL);
        let (logs, guests) = (&mut self.book.logs, &self.guests);
        self.book.consoles.retain(|domid, (path, lines)| {
            let open = guests.get(domid).is_some_and(|guest| guest.console_open);
            let limit = if open { limit } else { u64::MAX };
            lines.expire(limit, |line| logs.line(path, line, at));
            open
        });
    }
}
