//! `xl`: subcommands with the output and exit codes of Xen's (tools/xl).

mod attach;
mod counters;
mod cpus;
mod create;
mod details;
mod devices;
mod holdings;
mod info;
mod json;
mod lifecycle;
mod list;
mod memory;
pub mod options;
mod sched;
mod signals;
mod table;
mod top;
mod uptime;
mod volume;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use xen_abi::DomId;

use crate::app::App;
use crate::host::Host;
use options::{Given, Known};
use table::table;

/// Exit codes: `EXIT_FAILURE`, and wrong use of a subcommand.
pub(crate) const FAILURE: i32 = 1;
const USAGE: i32 = 2;

/// What an option list is when there are no options.
const NO_OPTIONS: Known = Known {
    letters: "",
    long: &[],
};

/// A subcommand. The texts are xl's (tools/xl/xl_cmdtable.c).
struct Command<H> {
    name: &'static str,
    usage: &'static str,
    text: &'static str,
    options: &'static str,
    known: Known,
    /// Arguments that it needs.
    needs: usize,
    run: fn(&mut App<'_, H>, &Given) -> i32,
}

impl<H: Host> Command<H> {
    const fn new(
        name: &'static str,
        usage: &'static str,
        text: &'static str,
        needs: usize,
        run: fn(&mut App<'_, H>, &Given) -> i32,
    ) -> Self {
        Self {
            name,
            usage,
            text,
            options: "",
            known: NO_OPTIONS,
            needs,
            run,
        }
    }

    /// Whether `-v` and `-N` before its name mean something to it.
    fn takes_global(&self) -> bool {
        ["create", "config-update"].contains(&self.name)
    }

    const fn with(mut self, known: Known, options: &'static str) -> Self {
        self.known = known;
        self.options = options;
        self
    }
}

/// Names of all subcommands.
pub fn names<H: Host>() -> Vec<&'static str> {
    let names = table::<H>().into_iter().map(|command| command.name);
    names.collect()
}

/// The subcommand of that name.
fn find<H: Host>(name: &str) -> Option<Command<H>> {
    table().into_iter().find(|command| command.name == name)
}

/// Runs a subcommand; returns xl's exit code.
pub fn run<H: Host>(app: &mut App<'_, H>, words: &[String]) -> i32 {
    let global = words.iter().take_while(|word| {
        let letters = word.strip_prefix('-').unwrap_or_default();
        !letters.is_empty() && letters.chars().all(|letter| "vftTN".contains(letter))
    });
    let (global, words) = words.split_at(global.count());
    let global: String = global.concat();
    let Some((name, words)) = words.split_first() else {
        help(app, &Given::default());
        return FAILURE;
    };
    if name == "-h" || name == "--help" {
        return help(app, &Given::default());
    }
    let Some(command) = find::<H>(name) else {
        app.complain(&format!("command '{name}' not implemented"));
        return FAILURE;
    };
    let dry_run = global.contains('N');
    if dry_run && !command.takes_global() {
        app.complain("command does not implement -N (dryrun) option");
        return FAILURE;
    }
    let given = match options::parse(words, command.known) {
        Ok(mut given) => {
            let global = global.chars().filter_map(|letter| match letter {
                'N' => Some(('n', String::new())),
                'v' => Some(('v', String::new())),
                _ => None,
            });
            if command.takes_global() {
                given.options.extend(global);
            }
            given
        }
        Err(option) => {
            app.complain(&format!("option `{option}' not supported."));
            return USAGE;
        }
    };
    if given.has('h') {
        describe(app, &command);
        return 0;
    }
    if given.arguments.len() < command.needs {
        let plural = if command.needs > 1 { "s" } else { "" };
        let needs = command.needs;
        app.complain(&format!(
            "'xl {name}' requires at least {needs} argument{plural}.\n"
        ));
        describe(app, &command);
        return USAGE;
    }
    (command.run)(app, &given)
}

fn help<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    let Some(name) = given.arguments.first().filter(|name| *name != "help") else {
        app.say("Usage xl <subcommand> [args]\n\nxl full list of subcommands:\n");
        for command in table::<H>() {
            app.say(&format!(" {:<19} {}", command.name, command.text));
        }
        return 0;
    };
    match find::<H>(name) {
        Some(command) => {
            describe(app, &command);
            0
        }
        None => {
            app.complain(&format!("command \"{name}\" not implemented"));
            FAILURE
        }
    }
}

fn describe_named<H: Host>(app: &mut App<'_, H>, name: &str) {
    if let Some(command) = find::<H>(name) {
        describe(app, &command);
    }
}

fn describe<H: Host>(app: &mut App<'_, H>, command: &Command<H>) {
    let Command {
        name,
        usage,
        text,
        options,
        ..
    } = command;
    app.say(&format!("Usage: xl {name} {usage}\n\n{text}.\n"));
    if !options.is_empty() {
        app.say(&format!("Options:\n\n{options}"));
    }
}

/// The domain that `word` names, by number or by name; says so if there is none (xl's `find_domain`).
fn find_domain<H: Host>(app: &mut App<'_, H>, word: &str) -> Option<DomId> {
    /// libxl's `ERROR_INVAL`.
    const ERROR_INVAL: i32 = -6;
    let found = app.find(word);
    if found.is_none() {
        app.complain(&format!(
            "{word} is an invalid domain identifier (rc={ERROR_INVAL})"
        ));
    }
    found
}

/// Seconds with one digit, from nanoseconds.
fn seconds(nanoseconds: u64) -> String {
    let tenths = nanoseconds.saturating_add(50_000_000) / 100_000_000;
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// A set of CPUs as xl prints one (`print_bitmap`): `all`, `none`, `0-1,3`.
fn cpu_set(set: u64, cpus: u32) -> String {
    let cpus = cpus.min(64);
    let has = |cpu: u32| cpu < cpus && set >> cpu & 1 == 1;
    let mut parts: Vec<String> = Vec::new();
    let mut cpu = 0;
    while cpu < cpus {
        let first = cpu;
        while has(cpu) {
            cpu += 1;
        }
        match cpu - first {
            0 => cpu += 1,
            1 => parts.push(first.to_string()),
            _ if first == 0 && cpu == cpus => return "all".to_string(),
            _ => parts.push(format!("{first}-{}", cpu - 1)),
        }
    }
    match parts.as_slice() {
        [] => "none".to_string(),
        [one] if cpus == 1 && one == "0" => "all".to_string(),
        parts => parts.join(","),
    }
}

#[cfg(test)]
mod tests;
