//! The prompt and the commands that are not `xl`.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use xen_abi::sched::{SHUTDOWN_POWEROFF, SHUTDOWN_REBOOT};

use super::App;
use crate::host::Host;
use crate::terminal::{LineEvent, words};
use crate::xl;

/// Exit code for a word that is no command, as shells have it.
const NOT_FOUND: i32 = 127;
/// Exit code for wrong use.
const USAGE: i32 = 2;

/// Commands and what `help` says of them.
const COMMANDS: &[(&str, &str)] = &[
    ("cat FILE...", "Show files of the boot archive and logs"),
    ("clear", "Clear the screen"),
    ("echo WORD...", "Show words; $? is the last exit code"),
    ("help", "Show this list"),
    ("ls [PATH]", "List files of the boot archive and logs"),
    ("poweroff", "Power the machine off"),
    ("reboot", "Restart the machine"),
    ("sleep SECONDS", "Wait; Ctrl-C ends it"),
    (
        "volume COMMAND",
        "create -V SIZE NAME, list, resize -V SIZE NAME, destroy NAME",
    ),
    ("xl COMMAND", "Manage domains: xl help lists the commands"),
];

impl<H: Host> App<'_, H> {
    /// Shows the prompt.
    pub(crate) fn prompt(&mut self) {
        self.at_prompt = true;
        let prompt = if self.options.prompt_status {
            format!("[{}]Domain-0# ", self.status)
        } else {
            "Domain-0# ".to_string()
        };
        self.show(&prompt);
    }

    /// Deals with what was typed: for the guest that is attached, or for the line.
    pub(crate) fn take_typed(&mut self) {
        loop {
            if let Some(domid) = self.attached {
                self.feed(domid);
                if self.attached.is_some() {
                    return; // the rest waits for room in the guest's ring
                }
            }
            let Some(byte) = self.typed.pop_front() else {
                return;
            };
            let mut echo = Vec::new();
            let guests = &self.guests;
            let names = || guests.values().map(|guest| guest.name.clone());
            let event = self.editor.input(byte, &mut echo, &mut |before| {
                complete(before, &xl::names::<H>(), names())
            });
            self.host.print(&echo);
            match event {
                LineEvent::Editing => {}
                LineEvent::Interrupt => self.prompt(),
                LineEvent::Redraw => {
                    self.prompt();
                    let mut line = Vec::new();
                    self.editor.redraw(&mut line);
                    self.host.print(&line);
                }
                LineEvent::Line(line) => {
                    self.at_prompt = false;
                    self.run_line(&line);
                    if self.attached.is_none() {
                        self.prompt();
                    }
                }
            }
        }
    }

    /// Runs a line; its exit code is kept for the prompt and `$?`.
    pub fn run_line(&mut self, line: &str) {
        match words(line, self.status) {
            Ok(words) => {
                if let Some((command, arguments)) = words.split_first() {
                    self.status = self.run(command, arguments);
                }
            }
            Err(error) => {
                self.complain(&format!("sh: {error}"));
                self.status = USAGE;
            }
        }
    }

    pub(super) fn run(&mut self, command: &str, arguments: &[String]) -> i32 {
        match command {
            "xl" => xl::run(self, arguments),
            "volume" => {
                let words = [command.to_string()].into_iter();
                let words: Vec<String> = words.chain(arguments.iter().cloned()).collect();
                xl::run(self, &words)
            }
            "help" | "?" => {
                for (usage, text) in COMMANDS {
                    self.say(&format!(" {usage:<19} {text}"));
                }
                0
            }
            "echo" => {
                self.say(&arguments.join(" "));
                0
            }
            "clear" => {
                self.show("\x1b[H\x1b[2J");
                0
            }
            "ls" => match arguments {
                [] => self.list_files(""),
                paths => paths
                    .iter()
                    .map(|path| self.list_files(path))
                    .max()
                    .unwrap_or(0),
            },
            "cat" if arguments.is_empty() => {
                self.complain("usage: cat FILE...");
                USAGE
            }
            "cat" => arguments
                .iter()
                .map(|path| self.print_file(path))
                .max()
                .unwrap_or(0),
            "poweroff" | "halt" | "shutdown" => self.end(SHUTDOWN_POWEROFF),
            "reboot" => self.end(SHUTDOWN_REBOOT),
            "sleep" => self.sleep(arguments),
            "true" | ":" => 0,
            "false" => 1,
            _ => {
                self.complain(&format!("sh: {command}: not found (try: help)"));
                NOT_FOUND
            }
        }
    }

    fn sleep(&mut self, arguments: &[String]) -> i32 {
        const SECOND: u64 = 1_000_000_000;
        let seconds = match arguments {
            [seconds] => seconds.parse::<u64>().ok(),
            _ => None,
        };
        let Some(seconds) = seconds else {
            self.complain("usage: sleep SECONDS");
            return USAGE;
        };
        let deadline = self
            .host
            .now()
            .saturating_add(seconds.saturating_mul(SECOND));
        while self.host.now() < deadline {
            if self.interrupted() {
                return 1;
            }
            self.pump(Some(deadline));
        }
        0
    }

    /// Ends the machine: guests are asked to shut down first, and destroyed when they do not.
    fn end(&mut self, reason: u32) -> i32 {
        self.stop_guests();
        self.flush_logs();
        let errno = self.host.shutdown_machine(reason);
        self.complain(&format!("the hypervisor does not end the machine: {errno}"));
        1
    }
}

/// Candidates for the last word of `before`.
fn complete(
    before: &str,
    subcommands: &[&str],
    domains: impl Iterator<Item = String>,
) -> Vec<String> {
    let words: Vec<&str> = before.split(' ').collect();
    let Some((last, first)) = words.split_last() else {
        return Vec::new();
    };
    let first: Vec<&str> = first
        .iter()
        .copied()
        .filter(|word| !word.is_empty())
        .collect();
    let all: Vec<String> = match first.as_slice() {
        [] => COMMANDS
            .iter()
            .filter_map(|(usage, _)| usage.split(' ').next())
            .map(ToString::to_string)
            .collect(),
        ["xl"] => subcommands.iter().map(ToString::to_string).collect(),
        ["xl", ..] => domains.chain([super::DOMAIN_0_NAME.to_string()]).collect(),
        _ => Vec::new(),
    };
    all.into_iter()
        .filter(|name| name.starts_with(last))
        .collect()
}
