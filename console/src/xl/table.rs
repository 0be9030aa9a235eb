//! The subcommands. Texts are those of xl's own table (tools/xl/xl_cmdtable.c).

use alloc::vec;
use alloc::vec::Vec;

use super::{
    Command, attach, counters, cpus, create, devices, help, holdings, info, lifecycle, list,
    memory, sched, signals, top, uptime, volume,
};
use crate::host::Host;

/// All subcommands, in the order in which `xl help` names them.
pub(super) fn table<H: Host>() -> Vec<Command<H>> {
    vec![
        Command::new(
            "create",
            "<ConfigFile> [options] [vars]",
            "Create a domain from config file <filename>",
            0,
            create::create,
        )
        .with(create::CREATE, create::CREATE_HELP),
        Command::new(
            "config-update",
            "<Domain> <ConfigFile> [options] [vars]",
            "Update a running domain's saved configuration, used when rebuilding the domain after reboot",
            1,
            create::config_update,
        )
        .with(create::UPDATE, create::UPDATE_HELP),
        Command::new(
            "list",
            "[options] [Domain]",
            "List information about all/some domains",
            0,
            list::list,
        )
        .with(list::LIST, list::LIST_HELP),
        Command::new(
            "destroy",
            "[options] <Domain>",
            "Terminate a domain immediately",
            1,
            lifecycle::destroy,
        )
        .with(lifecycle::DESTROY, lifecycle::DESTROY_HELP),
        Command::new(
            "shutdown",
            "[options] <-a|Domain>",
            "Issue a shutdown signal to a domain",
            0,
            lifecycle::shutdown,
        )
        .with(lifecycle::SHUTDOWN, lifecycle::SHUTDOWN_HELP),
        Command::new(
            "reboot",
            "[options] <-a|Domain>",
            "Issue a reboot signal to a domain",
            0,
            lifecycle::reboot,
        )
        .with(lifecycle::SHUTDOWN, lifecycle::SHUTDOWN_HELP),
        Command::new(
            "pause",
            "<Domain>",
            "Pause execution of a domain",
            1,
            lifecycle::pause,
        ),
        Command::new(
            "unpause",
            "<Domain>",
            "Unpause a paused domain",
            1,
            lifecycle::unpause,
        ),
        Command::new(
            "console",
            "[options] <Domain>",
            "Attach to domain's console",
            1,
            lifecycle::console,
        )
        .with(lifecycle::CONSOLE, lifecycle::CONSOLE_HELP),
        Command::new(
            "vcpu-list",
            "[Domain, ...]",
            "List the VCPUs for all/some domains",
            0,
            cpus::list,
        ),
        Command::new(
            "vcpu-pin",
            "<Domain> <VCPU|all> <Hard affinity|-|all>",
            "Set which CPUs a VCPU can use",
            3,
            cpus::pin,
        )
        .with(cpus::PIN, ""),
        Command::new(
            "vcpu-set",
            "[option] <Domain> <vCPUs>",
            "Set the number of active VCPUs allowed for the domain",
            2,
            cpus::set,
        )
        .with(cpus::SET, cpus::SET_HELP),
        Command::new(
            "mem-max",
            "<Domain> <MemMB['b'[bytes]|'k'[KB]|'m'[MB]|'g'[GB]|'t'[TB]]>",
            "Set the maximum amount reservation for a domain",
            2,
            memory::max,
        ),
        Command::new(
            "mem-set",
            "<Domain> <MemMB['b'[bytes]|'k'[KB]|'m'[MB]|'g'[GB]|'t'[TB]]>",
            "Set the current memory usage for a domain",
            2,
            memory::set,
        ),
        Command::new(
            "sched-credit2",
            "[-d <Domain> [-w[=WEIGHT]]] [-p CPUPOOL]",
            "Get/set credit2 scheduler parameters",
            0,
            sched::credit2,
        )
        .with(sched::CREDIT2, sched::CREDIT2_HELP),
        Command::new(
            "trigger",
            "<Domain> <nmi|reset|init|power|sleep|s3resume> [<VCPU>]",
            "Send a trigger to a domain",
            2,
            signals::trigger,
        ),
        Command::new(
            "sysrq",
            "<Domain> <letter>",
            "Send a sysrq to a domain",
            2,
            signals::sysrq,
        ),
        Command::new(
            "top",
            "[-b] [-d SECONDS] [-i ITERATIONS]",
            "Monitor a host and the domains in real time",
            0,
            top::top,
        )
        .with(top::TOP, top::TOP_HELP),
        Command::new(
            "vm-list",
            "",
            "List guest domains, excluding dom0, stubdoms, etc.",
            0,
            list::vm_list,
        ),
        Command::new(
            "info",
            "[Name]",
            "Get information about Xen host",
            0,
            info::info,
        )
        .with(info::INFO, ""),
        Command::new(
            "domid",
            "<DomainName>",
            "Convert a domain name to domain id",
            1,
            list::domid,
        ),
        Command::new(
            "domname",
            "<DomainId>",
            "Convert a domain id to domain name",
            1,
            list::domname,
        ),
        Command::new(
            "rename",
            "<Domain> <NewDomainName>",
            "Rename a domain",
            2,
            lifecycle::rename,
        ),
        Command::new(
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
        Command::new(
            "network-attach",
            "<Domain> [type=<type>] [mac=<mac>] [bridge=<bridge>] [ip=<ip>] [script=<script>] \
             [backend=<BackDomain>] [vifname=<name>] [rate=<rate>] [model=<model>] [accel=<accel>] \
             [mtu=<mtu>]",
            "Create a new virtual network device",
            1,
            attach::network_attach,
        ),
        Command::new(
            "network-list",
            "<Domain(s)>",
            "List virtual network interfaces for a domain",
            1,
            devices::network_list,
        ),
        Command::new(
            "network-detach",
            "<Domain> <DevId|mac>",
            "Destroy a domain's virtual network device",
            2,
            attach::network_detach,
        ),
        Command::new(
            "block-attach",
            "<Domain> <disk-spec-component(s)>...",
            "Create a new virtual block device",
            2,
            attach::block_attach,
        ),
        Command::new(
            "block-list",
            "<Domain(s)>",
            "List virtual block devices for a domain",
            1,
            devices::block_list,
        ),
        Command::new(
            "block-detach",
            "[option] <Domain> <DevId>",
            "Destroy a domain's virtual block device",
            2,
            attach::block_detach,
        )
        .with(attach::DETACH, attach::DETACH_HELP),
        Command::new(
            "uptime",
            "[-s] [Domain]",
            "Print uptime for all/some domains",
            0,
            uptime::uptime,
        )
        .with(uptime::UPTIME, ""),
        Command::new(
            "debug-exits",
            "[Domain, ...]",
            "Count guest exits, hypercalls and events of all/some domains",
            0,
            counters::exits,
        ),
        Command::new(
            "debug-use",
            "",
            "Show what the domains and the machine hold: pages, ports, grants, store nodes",
            0,
            holdings::print,
        ),
        Command::new(
            "volume",
            volume::VOLUME_USAGE,
            "Manage volumes, partitions of the machine's disk for guests",
            1,
            volume::volume,
        )
        .with(volume::VOLUME, volume::VOLUME_HELP),
        Command::new(
            "help",
            "[Command]",
            "Show this list, or how to use a command",
            0,
            help,
        ),
    ]
}
