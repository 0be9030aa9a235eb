//! Domain-0 as a whole: what it knows, and one turn of its loop.

mod boot;
mod bootloader;
mod consoles;
mod create;
mod devices;
mod disk;
mod files;
mod hotplug;
mod life;
mod logs;
mod options;
mod remote;
mod shell;
mod store;
mod volumes;
mod wipe;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use ::remote::Stream;
use xen_abi::DomId;

use crate::archive::Archive;
use crate::guest::Guest;
use crate::host::Host;
use crate::terminal::LineEditor;
pub(crate) use boot::XENSTORE;
pub use create::Failure;
pub(crate) use hotplug::Force;
pub use options::Options;
pub(crate) use volumes::Change;

/// Number of Domain-0.
pub const DOMAIN_0: DomId = 0;
/// Its name.
pub const DOMAIN_0_NAME: &str = "Domain-0";

/// Domain-0.
pub struct App<'a, H> {
    /// Everything outside.
    pub host: H,
    /// The boot archive.
    pub archive: Archive<'a>,
    pub(crate) options: Options,
    /// Every other domain that we know of.
    pub(crate) guests: BTreeMap<DomId, Guest>,
    /// Logs of guests' lives by file name, under /var/log/xen.
    pub(crate) logs: BTreeMap<String, String>,
    /// Files and logs on disk.
    pub(crate) book: logs::Book,
    /// The partition table, once somebody asked for it.
    pub(crate) window: Option<volumes::Window>,
    /// Volumes that are being wiped.
    pub(crate) wiper: wipe::Wiper,
    pub(crate) editor: LineEditor,
    /// Exit code of the last command.
    pub(crate) status: i32,
    /// Bytes typed and not looked at.
    pub(crate) typed: VecDeque<u8>,
    /// The guest whose console the operator uses.
    pub(crate) attached: Option<DomId>,
    /// Whether a prompt is on the screen, with nothing running.
    pub(crate) at_prompt: bool,
    /// Whether the machine is about to end: nothing is started again.
    pub(crate) ending: bool,
    /// Whether the steps of what is being done are shown: `-v`.
    pub(crate) verbose: bool,
    /// Domains have changed, and nobody has looked at them yet.
    pub(crate) changed: bool,
    /// Domain-0 has a guest's disk. It has one at a time: no guest is restarted meanwhile.
    pub(crate) lent: bool,
    /// Some guest has said too much and is listened to again then.
    pub(crate) throttled: Option<u64>,
    /// Commands from the host.
    pub(crate) remote: remote::Line,
}

impl<'a, H: Host> App<'a, H> {
    /// Domain-0 with the boot archive and its own command line.
    pub fn new(host: H, archive: Archive<'a>, cmdline: &str) -> Self {
        Self {
            host,
            archive,
            options: Options::parse(cmdline),
            guests: BTreeMap::new(),
            logs: BTreeMap::new(),
            book: logs::Book::default(),
            window: None,
            wiper: wipe::Wiper::default(),
            editor: LineEditor::new(),
            status: 0,
            typed: VecDeque::new(),
            attached: None,
            at_prompt: false,
            ending: false,
            verbose: false,
            changed: false,
            lent: false,
            throttled: None,
            remote: remote::Line::default(),
        }
    }

    /// Waits for something to happen and deals with it; typed bytes are only collected.
    pub(crate) fn pump(&mut self, deadline: Option<u64>) {
        let late = (self.changed && !self.lent).then_some(0);
        let wiping = self.wiper.works().then_some(0);
        let own = [self.log_deadline(), self.throttled, late, wiping];
        let deadline = own.into_iter().chain([deadline]).flatten().min();
        let events = self.host.wait(deadline);
        // What happens meanwhile is the operator's business, whoever waits.
        let speaks = core::mem::take(&mut self.remote.speaks);
        if events.channel {
            self.serve_line();
        }
        if events.input {
            /// Bytes typed ahead of a guest that does not read.
            const TYPED_MAX: usize = 64 << 10;
            let typed = self.host.typed();
            let room = TYPED_MAX.saturating_sub(self.typed.len());
            self.typed.extend(typed.into_iter().take(room));
        }
        if events.consoles || self.throttled.is_some() {
            self.serve_consoles();
        }
        self.changed |= events.domains;
        if self.changed && !self.lent {
            self.changed = false;
            self.domains_changed();
        }
        self.serve_logs();
        self.serve_wipe();
        self.remote.speaks = speaks;
    }

    /// One turn of the loop.
    pub fn turn(&mut self) {
        self.pump(None);
        self.take_typed();
        // What was typed while a command of the host ran has waited.
        while self.run_remote() {
            self.take_typed();
        }
    }

    /// Shows text to whoever gave the command; on the operator's terminal lines end as it wants it.
    pub(crate) fn show(&mut self, text: &str) {
        if self.remote.speaks {
            return self.say_remote(Stream::Output, text);
        }
        let mut bytes = Vec::with_capacity(text.len() + 16);
        for byte in text.bytes() {
            if byte == b'\n' {
                bytes.push(b'\r');
            }
            bytes.push(byte);
        }
        self.host.print(&bytes);
    }

    /// Shows a line, in one go: the hypervisor's log comes between lines then.
    pub(crate) fn say(&mut self, line: &str) {
        self.show(&alloc::format!("{line}\n"));
    }

    /// Says what is wrong: standard error, where there is such a thing.
    pub(crate) fn complain(&mut self, line: &str) {
        if self.remote.speaks {
            self.say_remote(Stream::Error, line);
            self.say_remote(Stream::Error, "\n");
        } else {
            self.say(line);
        }
    }

    /// Says something that no command asked for: the prompt comes again behind it.
    ///
    /// With `prompt_status` it does not: there a prompt means that a command has ended.
    pub(crate) fn notice(&mut self, line: &str) {
        if self.attached.is_some() {
            return;
        }
        let speaks = core::mem::take(&mut self.remote.speaks);
        self.interrupt_prompt(line);
        self.remote.speaks = speaks;
    }

    fn interrupt_prompt(&mut self, line: &str) {
        let again = self.at_prompt && !self.options.prompt_status;
        if again {
            self.host.print(b"\r\x1b[K");
        } else if self.at_prompt {
            self.show("\n");
        }
        self.say(line);
        if again {
            self.prompt();
            let mut line = Vec::new();
            self.editor.redraw(&mut line);
            self.host.print(&line);
        }
    }

    /// Adds a line to a guest's log, `/var/log/xen/xl-NAME.log`.
    pub(crate) fn log_life(&mut self, name: &str, line: &str) {
        if self.verbose {
            self.say(&alloc::format!("libxl: detail: {name}: {line}"));
        }
        const LOG_MAX: usize = 16 << 10;
        self.log_line(
            &alloc::format!("xl-{}.log", crate::logs::file_name(name)),
            line,
        );
        let seconds = self.host.now() / 1_000_000_000;
        let log = self
            .logs
            .entry(alloc::format!("xl-{name}.log"))
            .or_default();
        if log.len() > LOG_MAX {
            let half = log.len() / 2;
            let cut = log.bytes().skip(half).position(|byte| byte == b'\n');
            *log = log
                .get(half + cut.unwrap_or(0) + 1..)
                .unwrap_or_default()
                .to_string();
        }
        log.push_str(&alloc::format!("[{seconds:>6}] {line}\n"));
    }

    /// Name of a domain; `(null)`, as xl says, if it has none.
    pub(crate) fn name_of(&self, domid: DomId) -> String {
        match self.guests.get(&domid) {
            _ if domid == DOMAIN_0 => DOMAIN_0_NAME.to_string(),
            Some(guest) => guest.name.clone(),
            None => "(null)".to_string(),
        }
    }

    /// The domain that `word` names, by number or by name.
    pub(crate) fn find(&mut self, word: &str) -> Option<DomId> {
        match word.parse::<DomId>() {
            Ok(domid) => Some(domid).filter(|&domid| self.host.domain(domid).is_ok()),
            Err(_) => self.named(word),
        }
    }

    /// The domain of that name.
    pub(crate) fn named(&self, name: &str) -> Option<DomId> {
        if name == DOMAIN_0_NAME {
            return Some(DOMAIN_0);
        }
        self.guests
            .iter()
            .find(|(_, guest)| guest.name == name)
            .map(|(&domid, _)| domid)
    }
}
