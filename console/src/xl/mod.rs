//! `xl`: subcommands with the output and exit codes of Xen's (tools/xl).

mod counters;
mod cpus;
mod devices;
mod info;
mod lifecycle;
mod list;
pub mod options;
mod uptime;

use alloc::format;
use alloc::string::{String, ToString};

use xen_abi::DomId;

use crate::app::App;
use crate::host::Host;
use options::{Given, Known};

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

    const fn with(mut self, known: Known, options: &'static str) -> Self {
        self.known = known;
        self.options = options;
        self
    }

    const TABLE: [Self; 21] = [
        Self::new(
            "create",
            "<ConfigFile> [options] [vars]",
            "Create a domain from config file <filename>",
            0,
            lifecycle::create,
        )
        .with(lifecycle::CREATE, lifecycle::CREATE_HELP),
        Self::new(
            "list",
            "[options] [Domain]",
            "List information about all/some domains",
            0,
            list::list,
        )
        .with(list::LIST, list::LIST_HELP),
        Self::new(
            "destroy",
            "[options] <Domain>",
            "Terminate a domain immediately",
            1,
            lifecycle::destroy,
        )
        .with(lifecycle::DESTROY, lifecycle::DESTROY_HELP),
        Self::new(
            "shutdown",
            "[options] <-a|Domain>",
            "Issue a shutdown signal to a domain",
            0,
            lifecycle::shutdown,
        )
        .with(lifecycle::SHUTDOWN, lifecycle::SHUTDOWN_HELP),
        Self::new(
            "reboot",
            "[options] <-a|Domain>",
            "Issue a reboot signal to a domain",
            0,
            lifecycle::reboot,
        )
        .with(lifecycle::SHUTDOWN, lifecycle::SHUTDOWN_HELP),
        Self::new(
            "pause",
            "<Domain>",
            "Pause execution of a domain",
            1,
            lifecycle::pause,
        ),
        Self::new(
            "unpause",
            "<Domain>",
            "Unpause a paused domain",
            1,
            lifecycle::unpause,
        ),
        Self::new(
            "console",
            "[options] <Domain>",
            "Attach to domain's console",
            1,
            lifecycle::console,
        )
        .with(lifecycle::CONSOLE, lifecycle::CONSOLE_HELP),
        Self::new(
            "vcpu-list",
            "[Domain, ...]",
            "List the VCPUs for all/some domains",
            0,
            cpus::list,
        ),
        Self::new(
            "vcpu-pin",
            "<Domain> <VCPU|all> <Hard affinity|-|all>",
            "Set which CPUs a VCPU can use",
            3,
            cpus::pin,
        )
        .with(cpus::PIN, ""),
        Self::new(
            "vm-list",
            "",
            "List guest domains, excluding dom0, stubdoms, etc.",
            0,
            list::vm_list,
        ),
        Self::new(
            "info",
            "[Name]",
            "Get information about Xen host",
            0,
            info::info,
        )
        .with(info::INFO, ""),
        Self::new(
            "domid",
            "<DomainName>",
            "Convert a domain name to domain id",
            1,
            list::domid,
        ),
        Self::new(
            "domname",
            "<DomainId>",
            "Convert a domain id to domain name",
            1,
            list::domname,
        ),
        Self::new(
            "rename",
            "<Domain> <NewDomainName>",
            "Rename a domain",
            2,
            lifecycle::rename,
        ),
        Self::new(
            "dmesg",
            "[-c]",
            "Read and/or clear dmesg buffer",
            0,
            info::dmesg,
        )
        .with(
            info::DMESG,
            "  -c                        Clear dmesg buffer as well as printing it",
        ),
        Self::new(
            "network-list",
            "<Domain(s)>",
            "List virtual network interfaces for a domain",
            1,
            devices::network_list,
        ),
        Self::new(
            "block-list",
            "<Domain(s)>",
            "List virtual block devices for a domain",
            1,
            devices::block_list,
        ),
        Self::new(
            "uptime",
            "[-s] [Domain]",
            "Print uptime for all/some domains",
            0,
            uptime::uptime,
        )
        .with(uptime::UPTIME, ""),
        Self::new(
            "debug-exits",
            "[Domain, ...]",
            "Count guest exits, hypercalls and events of all/some domains",
            0,
            counters::exits,
        ),
        Self::new(
            "help",
            "[Command]",
            "Show this list, or how to use a command",
            0,
            help,
        ),
    ];
}

/// Names of all subcommands.
pub fn names() -> impl Iterator<Item = &'static str> {
    [
        "create",
        "list",
        "destroy",
        "shutdown",
        "reboot",
        "pause",
        "unpause",
        "console",
        "vcpu-list",
        "vcpu-pin",
        "vm-list",
        "info",
        "domid",
        "domname",
        "rename",
        "dmesg",
        "network-list",
        "block-list",
        "uptime",
        "debug-exits",
        "help",
    ]
    .into_iter()
}

/// Runs a subcommand; returns xl's exit code.
pub fn run<H: Host>(app: &mut App<'_, H>, words: &[String]) -> i32 {
    let Some((name, words)) = words.split_first() else {
        help(app, &Given::default());
        return FAILURE;
    };
    if name == "-h" || name == "--help" {
        return help(app, &Given::default());
    }
    let Some(command) = Command::<H>::TABLE
        .iter()
        .find(|command| command.name == name)
    else {
        app.say(&format!("command '{name}' not implemented"));
        return FAILURE;
    };
    let given = match options::parse(words, command.known) {
        Ok(given) => given,
        Err(option) => {
            app.say(&format!("option `{option}' not supported."));
            return USAGE;
        }
    };
    if given.has('h') {
        describe(app, command);
        return 0;
    }
    if given.arguments.len() < command.needs {
        let plural = if command.needs > 1 { "s" } else { "" };
        let needs = command.needs;
        app.say(&format!(
            "'xl {name}' requires at least {needs} argument{plural}.\n"
        ));
        describe(app, command);
        return USAGE;
    }
    (command.run)(app, &given)
}

fn help<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    let Some(name) = given.arguments.first().filter(|name| *name != "help") else {
        app.say("Usage xl <subcommand> [args]\n\nxl full list of subcommands:\n");
        for command in &Command::<H>::TABLE {
            app.say(&format!(" {:<19} {}", command.name, command.text));
        }
        return 0;
    };
    match Command::<H>::TABLE
        .iter()
        .find(|command| command.name == name)
    {
        Some(command) => {
            describe(app, command);
            0
        }
        None => {
            app.say(&format!("command \"{name}\" not implemented"));
            FAILURE
        }
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
    let found = match word.parse::<DomId>() {
        Ok(domid) => Some(domid).filter(|&domid| app.host.domain(domid).is_ok()),
        Err(_) => app.named(word),
    };
    if found.is_none() {
        app.say(&format!(
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
    let mut parts: alloc::vec::Vec<String> = alloc::vec::Vec::new();
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
