//! Commands from the host (`cargo xtask xl`): run like those at the prompt, one at a time, and without a trace on the
//! operator's screen.

use alloc::vec::Vec;

use remote::Stream;
use xen_abi::DomId;

use super::App;
use crate::host::Host;
use crate::remote::Remote;

/// The host's end.
#[derive(Default)]
pub(crate) struct Line {
    /// Commands and answers.
    pub line: Remote,
    /// The command that runs is the host's: what it says goes there.
    pub speaks: bool,
    /// The guest whose console the host uses.
    pub attached: Option<DomId>,
}

impl<H: Host> App<'_, H> {
    /// Moves bytes both ways.
    pub(crate) fn serve_line(&mut self) {
        let input = self.host.channel_receive();
        self.remote.line.receive(&input);
        if let Some(domid) = self.remote.attached {
            if self.remote.line.take_cancelled() {
                self.detach_remote();
            } else {
                self.feed_remote(domid);
            }
        }
        self.send_line();
    }

    /// Sends what the line takes now; it says itself when it takes more.
    pub(crate) fn send_line(&mut self) {
        self.host.channel_send(&mut self.remote.line.out);
    }

    /// Runs a command of the host, if one waits.
    pub(crate) fn run_remote(&mut self) -> bool {
        let Some(words) = self.remote.line.begin() else {
            return false;
        };
        self.remote.speaks = true;
        let code = match words.split_first() {
            Some((command, arguments)) => self.run(command, arguments),
            None => 0,
        };
        self.remote.speaks = false;
        if self.remote.attached.is_none() {
            self.remote.line.end(code);
        }
        self.send_line();
        true
    }

    /// Text of the host's command.
    pub(super) fn say_remote(&mut self, stream: Stream, text: &str) {
        // What waits already brings an event when it has gone.
        let idle = self.remote.line.out.is_empty();
        self.remote.line.say(stream, text.as_bytes());
        if idle {
            self.send_line();
        }
    }

    /// Says something by the way: to the host if it gave the command, else as [`Self::notice`].
    pub(crate) fn remark(&mut self, line: &str) {
        if self.remote.speaks {
            self.complain(line);
        } else {
            self.notice(line);
        }
    }

    /// Connects the host to a guest's console, as `attach` does the operator; the command ends when it leaves.
    pub(super) fn attach_remote(&mut self, domid: DomId) {
        self.remote.attached = Some(domid);
        self.remote.line.attached();
        let said = self
            .guests
            .get(&domid)
            .map(|guest| guest.history.read())
            .unwrap_or_default();
        self.remote.line.say(Stream::Output, &said);
        self.send_line();
        self.serve_console(domid);
    }

    /// The host leaves the console, or the console ends.
    pub(super) fn detach_remote(&mut self) {
        if self.remote.attached.take().is_some() && !self.remote.speaks {
            self.remote.line.end(0);
            self.send_line();
        }
    }

    /// Gives what the host typed to the guest; what does not fit waits for room.
    pub(super) fn feed_remote(&mut self, domid: DomId) {
        let bytes: Vec<u8> = self.remote.line.typed.iter().copied().collect();
        if bytes.is_empty() {
            return;
        }
        match self.host.console_put(domid, &bytes) {
            Ok(given) => drop(self.remote.line.typed.drain(..given.min(bytes.len()))),
            Err(error) => self.console_failed(domid, error),
        }
    }
}
