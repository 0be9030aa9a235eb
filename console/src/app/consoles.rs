//! The operator at a guest's console, and guests' output otherwise.

use alloc::string::String;
use alloc::vec::Vec;

use remote::Stream;
use xen_abi::DomId;

use super::App;
use crate::host::{ConsoleError, Host};

/// Ctrl-] leaves a guest's console, as with xl.
const ESCAPE: u8 = 0x1d;
/// Lines of one guest that `console_log` shows a second; the rest is in its log only.
const LINES_PER_SECOND: u32 = 200;
/// Longer lines are cut in the log.
const LINE_MAX: usize = 512;

impl<H: Host> App<'_, H> {
    /// Takes output of all guests, and gives the attached one its input.
    pub(crate) fn serve_consoles(&mut self) {
        let open: Vec<DomId> = self
            .guests
            .iter()
            .filter(|(_, guest)| guest.console_open)
            .map(|(&domid, _)| domid)
            .collect();
        let now = self.host.now();
        self.throttled = None;
        for domid in open {
            let closed = self
                .guests
                .get(&domid)
                .and_then(|guest| guest.budget.closed_until(now));
            match closed {
                None => self.serve_console(domid),
                Some(until) => {
                    self.throttled = Some(self.throttled.unwrap_or(until).min(until));
                }
            }
        }
    }

    /// The same for one guest.
    pub(crate) fn serve_console(&mut self, domid: DomId) {
        match self.host.console_take(domid) {
            Ok(output) if output.is_empty() => {}
            Ok(output) => self.output(domid, &output),
            Err(error) => self.console_failed(domid, error),
        }
        if self.attached == Some(domid) {
            self.feed(domid);
        }
        if self.remote.attached == Some(domid) {
            self.feed_remote(domid);
        }
    }

    fn output(&mut self, domid: DomId, output: &[u8]) {
        let now = self.host.now();
        let shown = self.attached == Some(domid);
        let log = self.options.console_log && !shown;
        let Some(guest) = self.guests.get_mut(&domid) else {
            return;
        };
        guest.history.push(output);
        guest.budget.take(output.len(), now);
        let lines = if log {
            guest.output_lines(output, now)
        } else {
            Vec::new()
        };
        let name = guest.name.clone();
        self.log_console(domid, output);
        if shown {
            self.host.print(output);
        }
        if self.remote.attached == Some(domid) {
            self.remote.line.say(Stream::Output, output);
            self.send_line();
        }
        for line in lines {
            self.notice(&alloc::format!("({name}) {line}"));
        }
    }

    pub(super) fn console_failed(&mut self, domid: DomId, error: ConsoleError) {
        self.host.console_close(domid);
        if let Some(guest) = self.guests.get_mut(&domid) {
            guest.console_open = false;
        }
        self.detach_from(domid);
        let name = self.name_of(domid);
        self.log_life(&name, &alloc::format!("console: {error}"));
        self.notice(&alloc::format!("{name}: console: {error}"));
    }

    /// Connects the operator to a guest: what it has said lately, then everything live.
    pub(crate) fn attach(&mut self, domid: DomId) {
        if self.remote.speaks {
            return self.attach_remote(domid);
        }
        self.attached = Some(domid);
        let said = self
            .guests
            .get(&domid)
            .map(|guest| guest.history.read())
            .unwrap_or_default();
        self.host.print(&said);
        self.serve_console(domid);
    }

    /// Ends all use of a console.
    pub(crate) fn detach_from(&mut self, domid: DomId) {
        if self.attached == Some(domid) {
            self.detach();
        }
        if self.remote.attached == Some(domid) {
            self.detach_remote();
        }
    }

    /// Back to the prompt.
    pub(crate) fn detach(&mut self) {
        if self.attached.take().is_some() {
            let speaks = core::mem::take(&mut self.remote.speaks);
            self.show("\n");
            self.prompt();
            self.remote.speaks = speaks;
        }
    }

    /// Gives typed bytes to the guest until its ring is full or the operator leaves. Bytes that do not
    /// fit stay until the guest says that there is room.
    pub(crate) fn feed(&mut self, domid: DomId) {
        while self.attached == Some(domid) && !self.typed.is_empty() {
            let bytes: Vec<u8> = self
                .typed
                .iter()
                .copied()
                .take_while(|&b| b != ESCAPE)
                .collect();
            let escape = self.typed.get(bytes.len()) == Some(&ESCAPE);
            let given = match self.host.console_put(domid, &bytes) {
                Ok(given) => given,
                Err(error) => return self.console_failed(domid, error),
            };
            if given < bytes.len() && escape {
                // A guest that reads nothing must not keep the operator: what it did not take is lost.
                self.typed.drain(..=bytes.len());
                self.detach();
            } else {
                self.typed.drain(..given.min(self.typed.len()));
                if given < bytes.len() {
                    return;
                }
                if escape {
                    self.typed.pop_front();
                    self.detach();
                }
            }
        }
    }
}

impl crate::guest::Guest {
    /// Whole lines of `output`, with what was left over before; at most [`LINES_PER_SECOND`].
    fn output_lines(&mut self, output: &[u8], now: u64) -> Vec<String> {
        let second = now / 1_000_000_000;
        if self.log_second != second {
            self.log_second = second;
            self.log_lines = 0;
        }
        let mut lines = Vec::new();
        for &byte in output {
            match byte {
                b'\n' => {
                    let line = core::mem::take(&mut self.partial);
                    self.log_lines += 1;
                    if self.log_lines <= LINES_PER_SECOND {
                        lines.push(String::from_utf8_lossy(&line).into_owned());
                    }
                }
                b' '..=b'~' | b'\t' if self.partial.len() < LINE_MAX => self.partial.push(byte),
                _ => {}
            }
        }
        lines
    }
}
