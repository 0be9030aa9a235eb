//! The life of guests: made, shut down, made again, destroyed.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use xen_abi::domctl::DominfFlags;
use xen_abi::sched::{
    SHUTDOWN_CRASH, SHUTDOWN_POWEROFF, SHUTDOWN_REBOOT, SHUTDOWN_SOFT_RESET, SHUTDOWN_SUSPEND,
    SHUTDOWN_WATCHDOG,
};
use xen_abi::{DomId, Errno};
use xl_config::{Action, DomainConfig};

use super::boot::XENSTORE;
use super::{App, DOMAIN_0};
use crate::host::Host;

/// A backend has this long to let go of a device before its nodes are removed anyway.
const CLOSE_WAIT: u64 = 2_000_000_000;
/// Guests have this long to shut down when the machine ends.
const STOP_WAIT: u64 = 60_000_000_000;
/// A guest that has taken the request and is still there is asked again after this long.
const ASK_AGAIN: u64 = 10_000_000_000;
/// A domain that ends sooner than this after its start is not started again: it would never stop.
const RESTART_MIN: u64 = 1_000_000_000;
/// The xenbus state of a device that is not in use any more.
const CLOSED: i64 = 6;

impl<H: Host> App<'_, H> {
    /// Looks for domains that have shut down or are gone.
    pub(crate) fn domains_changed(&mut self) {
        let domids: Vec<DomId> = self.guests.keys().copied().collect();
        for domid in domids {
            match self.host.domain(domid) {
                Ok(info) if info.flags.contains(DominfFlags::SHUTDOWN) => {
                    let settled = self.guests.get(&domid).is_none_or(|guest| guest.settled);
                    if !settled {
                        // The last words come before what follows from them.
                        if self
                            .guests
                            .get(&domid)
                            .is_some_and(|guest| guest.console_open)
                        {
                            self.serve_console(domid);
                        }
                        self.shut_down(domid, info.flags.shutdown_code());
                    }
                }
                Err(Errno::ESRCH) => {
                    let settled = self.guests.get(&domid).is_none_or(|guest| guest.settled);
                    if !settled {
                        let name = self.name_of(domid);
                        self.notice(&format!("{name} (domain {domid}) is gone"));
                        self.destroy(domid);
                    }
                }
                _ => {}
            }
        }
    }

    fn shut_down(&mut self, domid: DomId, reason: u32) {
        let name = self.name_of(domid);
        let Some(guest) = self.guests.get_mut(&domid) else {
            return;
        };
        guest.settled = true;
        let age = guest.created;
        let Some(config) = guest.config.clone() else {
            return self.service_stopped(domid, &name, reason);
        };
        let source = guest.source.clone();
        let mut action = action(&config, reason);
        self.log_life(
            &name,
            &format!("Domain {domid} has shut down, reason code {reason}"),
        );
        self.log_life(
            &name,
            &format!("Action for shutdown reason code {reason} is {action}"),
        );
        if reason == SHUTDOWN_CRASH || reason == SHUTDOWN_WATCHDOG {
            self.notice(&format!("{name} (domain {domid}) has crashed: {action}"));
        }
        if matches!(action, Action::CoredumpDestroy | Action::CoredumpRestart) {
            self.log_life(&name, "no core dump: there is no place to write one to");
        }
        let restarts = !matches!(
            action,
            Action::Destroy | Action::Preserve | Action::CoredumpDestroy
        );
        if restarts && (self.ending || self.host.now().saturating_sub(age) < RESTART_MIN) {
            self.log_life(
                &name,
                "not restarted: it ended right after its start, or the machine ends",
            );
            action = Action::Destroy;
        }
        match action {
            Action::Preserve => {}
            Action::Destroy | Action::CoredumpDestroy => {
                self.destroy(domid);
            }
            Action::RenameRestart => {
                if let Some(guest) = self.guests.get_mut(&domid) {
                    guest.name = format!("{name}-{domid}");
                }
                // The dead one is kept to be looked at; its disks are the next one's, and only one may write to them.
                let devices = self.guests.get(&domid).map(|guest| guest.devices.clone());
                let mut disks = devices.unwrap_or_default();
                disks.retain(|device| device.kind == "vbd");
                for disk in disks {
                    let _ = self.detach_device(domid, &disk, super::Force::AtOnce);
                }
                self.restart(&name, config, &source);
            }
            Action::Restart | Action::CoredumpRestart | Action::SoftReset => {
                self.destroy(domid);
                self.restart(&name, config, &source);
            }
        }
    }

    /// A boot-time domain has stopped. It is destroyed, which resets its device and takes its grants away; its
    /// nodes stay, for whoever serves its frontends next.
    fn service_stopped(&mut self, domid: DomId, name: &str, reason: u32) {
        let reason = reason_name(reason);
        if name == XENSTORE {
            // Its memory is the only record of the store: kept for who wants to look.
            self.host.store_lost();
            self.notice(&format!("{name} (domain {domid}) has stopped: {reason}"));
            return;
        }
        match self.host.destroy_domain(domid) {
            Ok(()) => {
                self.notice(&format!(
                    "{name} (domain {domid}) has stopped: {reason}; destroyed"
                ));
                self.guests.remove(&domid);
                // No error that matters: nobody speaks for it any more.
                let _ = self.host.store_release(domid);
            }
            Err(errno) => self.notice(&format!(
                "{name} (domain {domid}) has stopped: {reason}; it cannot be destroyed: {errno}"
            )),
        }
    }

    fn restart(&mut self, name: &str, config: DomainConfig, source: &str) {
        match self.create_guest(config, source, false) {
            Ok(domid) => self.log_life(name, &format!("Done. Running again as domain {domid}")),
            Err(error) => {
                self.log_life(name, &error.message);
                self.log_urgent();
                self.notice(&format!(
                    "{name} cannot be started again: {}",
                    error.message
                ));
            }
        }
    }

    /// Ends a domain and removes all traces of it. False if the hypervisor refuses.
    pub(crate) fn destroy(&mut self, domid: DomId) -> bool {
        if domid == DOMAIN_0 {
            return false;
        }
        let Some(guest) = self.guests.get_mut(&domid) else {
            return self.host.destroy_domain(domid).is_ok();
        };
        guest.settled = true;
        guest.console_open = false;
        if guest.name == XENSTORE {
            self.host.store_lost();
        }
        let devices = core::mem::take(&mut guest.devices);
        let (name, handle) = (guest.name.clone(), guest.handle);
        // Not allowed to fail: a domain that does not exist any more needs no pause.
        let _ = self.host.pause_domain(domid);

        // Backends let go of the devices while the domain is still there. It is paused and cannot close its ends:
        // without them, the backends do not wait for it.
        self.remove_node(&format!("/local/domain/{domid}/device"));
        for device in &devices {
            self.take_away(device, false);
        }
        let deadline = self.host.now().saturating_add(CLOSE_WAIT);
        for device in &devices {
            let path = format!("{}/state", device.backend_path());
            self.wait_for(&path, deadline, |state| state == CLOSED || state < 0);
        }
        self.host.console_close(domid);
        let result = self.host.destroy_domain(domid);
        if let Err(errno) = result
            && errno != Errno::ESRCH
        {
            self.notice(&format!(
                "{name} (domain {domid}) cannot be destroyed: {errno}"
            ));
            // Whoever tries again finds what there is to remove.
            if let Some(guest) = self.guests.get_mut(&domid) {
                guest.devices = devices;
            }
            return false;
        }
        self.detach_from(domid);
        self.forget(domid, &handle, &devices);
        self.guests.remove(&domid);
        self.log_life(&name, &format!("Domain {domid} has been destroyed."));
        true
    }

    /// Removes a domain's nodes.
    pub(crate) fn forget(
        &mut self,
        domid: DomId,
        handle: &[u8; 16],
        devices: &[crate::guest::Device],
    ) {
        // Not introduced is as good as released.
        let _ = self.host.store_release(domid);
        for device in devices {
            self.forget_device(device, true);
        }
        self.remove_node(&format!("/local/domain/0/backend/console/{domid}"));
        self.remove_node(&format!("/libxl/{domid}"));
        self.remove_node(&format!("/vm/{}", xl_config::Uuid(*handle)));
        self.remove_node(&format!("/local/domain/{domid}"));
    }

    /// Asks a guest to end (`poweroff`, `reboot`).
    pub(crate) fn ask(&mut self, domid: DomId, what: &str) -> Result<(), String> {
        let path = format!("/local/domain/{domid}/control/shutdown");
        self.host
            .store_write(&path, what)
            .map_err(|errno| errno.to_string())
    }

    /// Guests end before the machine does; Ctrl-C ends the waiting.
    pub(crate) fn stop_guests(&mut self) {
        self.ending = true;
        let running: Vec<DomId> = self
            .guests
            .iter()
            .filter(|(_, guest)| guest.config.is_some() && !guest.settled)
            .map(|(&domid, _)| domid)
            .collect();
        for &domid in &running {
            let name = self.name_of(domid);
            let info = self.host.domain(domid);
            if info.is_ok_and(|info| info.flags.contains(DominfFlags::PAUSED)) {
                self.say(&format!("{name} is paused and cannot shut down: destroyed"));
                self.destroy(domid);
                continue;
            }
            match self.ask(domid, "poweroff") {
                Ok(()) => self.say(&format!("Shutting down {name} (Ctrl-C: at once)")),
                Err(error) => self.say(&format!("{name} cannot be asked to shut down: {error}")),
            }
        }
        let deadline = self.host.now().saturating_add(STOP_WAIT);
        let mut again = self.host.now().saturating_add(ASK_AGAIN);
        while running.iter().any(|domid| self.guests.contains_key(domid)) {
            let now = self.host.now();
            if now >= deadline || self.interrupted() {
                break;
            }
            if now >= again {
                again = now.saturating_add(ASK_AGAIN);
                self.ask_again(&running);
            }
            self.pump(Some(again.min(deadline)));
        }
        for domid in running {
            if self.guests.contains_key(&domid) {
                let name = self.name_of(domid);
                self.say(&format!("{name} did not shut down: destroyed"));
                self.destroy(domid);
            }
        }
    }

    /// Asks those of `domains` once more that have taken the request and are still there: Linux forgets it if nothing
    /// in its initrd can shut it down.
    fn ask_again(&mut self, domains: &[DomId]) {
        for &domid in domains {
            let path = format!("/local/domain/{domid}/control/shutdown");
            let taken = self
                .host
                .store_read(&path)
                .is_ok_and(|left| left.is_empty());
            if taken && self.guests.contains_key(&domid) {
                // If the store refuses, the guest is destroyed in the end.
                let _ = self.ask(domid, "poweroff");
            }
        }
    }

    /// Whether the operator has typed Ctrl-C; everything typed before it is dropped.
    pub(crate) fn interrupted(&mut self) -> bool {
        const CTRL_C: u8 = 0x03;
        if self.remote.speaks {
            return self.remote.line.take_cancelled();
        }
        let place = self.typed.iter().position(|&byte| byte == CTRL_C);
        if let Some(place) = place {
            self.typed.drain(..=place);
        }
        place.is_some()
    }

    /// Waits until `done` says so of the number at `path`, or `deadline` has come; gives the last number (-1: none).
    pub(crate) fn wait_for(
        &mut self,
        path: &str,
        deadline: u64,
        done: impl Fn(i64) -> bool,
    ) -> i64 {
        /// How often to look when the store gives no watch.
        const MOMENT: u64 = 20_000_000;
        let watched = self.host.store_watch(path).is_ok();
        let number = loop {
            let number = self.store_number(path);
            let now = self.host.now();
            if done(number) || now >= deadline {
                break number;
            }
            let moment = if watched {
                deadline
            } else {
                deadline.min(now + MOMENT)
            };
            self.pump(Some(moment));
        };
        if watched {
            self.host.store_unwatch(path);
        }
        number
    }
}

/// What `config` wants done after a shutdown for `reason`.
fn action(config: &DomainConfig, reason: u32) -> Action {
    match reason {
        SHUTDOWN_POWEROFF => config.on_poweroff,
        SHUTDOWN_REBOOT => config.on_reboot,
        SHUTDOWN_CRASH => config.on_crash,
        SHUTDOWN_WATCHDOG => config.on_watchdog,
        SHUTDOWN_SOFT_RESET => config.on_soft_reset,
        SHUTDOWN_SUSPEND => Action::Preserve,
        _ => Action::Destroy,
    }
}

/// Name of a shutdown reason, as libxl has it.
pub(crate) fn reason_name(reason: u32) -> &'static str {
    match reason {
        SHUTDOWN_POWEROFF => "poweroff",
        SHUTDOWN_REBOOT => "reboot",
        SHUTDOWN_SUSPEND => "suspend",
        SHUTDOWN_CRASH => "crash",
        SHUTDOWN_WATCHDOG => "watchdog",
        SHUTDOWN_SOFT_RESET => "soft_reset",
        _ => "unknown",
    }
}
