//! `xl info` and `xl dmesg`.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use xen_abi::sysctl::PhysCapabilities;

use super::FAILURE;
use super::options::{Given, Known};
use crate::app::App;
use crate::host::Host;

pub(super) const INFO: Known = Known {
    letters: "n",
    long: &[("numa", 'n')],
};
pub(super) const DMESG: Known = Known {
    letters: "c",
    long: &[("clear", 'c')],
};

/// Prints what is known of the machine, or one line of it.
pub(super) fn info<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    let mut lines: Vec<(&str, String)> = Vec::new();
    let version = app.host.version();
    let number = format!("{}.{}{}", version.major, version.minor, version.extra);
    lines.push(("host", "microhv".to_string()));
    lines.push(("release", env!("CARGO_PKG_VERSION").to_string()));
    lines.push(("version", format!("microhv {}", env!("CARGO_PKG_VERSION"))));
    lines.push(("machine", "x86_64".to_string()));
    match app.host.physinfo() {
        Ok(physinfo) => {
            let mib = |pages: u64| (pages / 256).to_string();
            lines.push(("nr_cpus", physinfo.nr_cpus.to_string()));
            lines.push(("max_cpu_id", physinfo.max_cpu_id.to_string()));
            lines.push(("nr_nodes", physinfo.nr_nodes.to_string()));
            lines.push(("cores_per_socket", physinfo.cores_per_socket.to_string()));
            lines.push(("threads_per_core", physinfo.threads_per_core.to_string()));
            let khz = physinfo.cpu_khz;
            lines.push(("cpu_mhz", format!("{}.{:03}", khz / 1000, khz % 1000)));
            let caps: Vec<String> = physinfo
                .hw_cap
                .iter()
                .map(|word| format!("{word:08x}"))
                .collect();
            lines.push(("hw_caps", caps.join(":")));
            lines.push(("virt_caps", virt_caps(physinfo.capabilities)));
            lines.push(("total_memory", mib(physinfo.total_pages)));
            let free = physinfo
                .free_pages
                .saturating_sub(physinfo.outstanding_pages);
            lines.push(("free_memory", mib(free)));
            lines.push(("sharing_freed_memory", "0".to_string()));
            lines.push(("sharing_used_memory", "0".to_string()));
            lines.push(("outstanding_claims", mib(physinfo.outstanding_pages)));
            lines.push(("free_cpus", "0".to_string()));
        }
        Err(_) => app.say("libxl_physinfo failed."),
    }
    let wanted = given.arguments.first().filter(|_| !given.has('n'));
    if given.has('n') {
        show(app, core::mem::take(&mut lines), None);
        topology(app);
    }
    lines.push(("xen_major", version.major.to_string()));
    lines.push(("xen_minor", version.minor.to_string()));
    lines.push(("xen_extra", version.extra));
    lines.push(("xen_version", number));
    lines.push(("xen_caps", version.capabilities));
    lines.push(("xen_scheduler", "credit2".to_string()));
    lines.push(("xen_pagesize", "4096".to_string()));
    lines.push(("platform_params", "virt_start=0x0".to_string()));
    lines.push(("xen_changeset", version.changeset));
    lines.push(("xen_commandline", version.commandline));
    lines.push(("cc_compiler", version.compiler));
    lines.push(("cc_compile_by", version.compile_by));
    lines.push(("cc_compile_domain", version.compile_domain));
    lines.push(("cc_compile_date", version.compile_date));
    lines.push(("build_id", String::new()));
    if let Ok(info) = app.host.microhv_info() {
        let kib = |bytes: u64| format!("{} KiB", bytes.div_ceil(1024));
        lines.push(("microhv_image", kib(info.image_bytes)));
        lines.push(("microhv_memory", kib(info.used_bytes)));
        lines.push(("microhv_page_tables", kib(info.page_table_bytes)));
    }
    lines.push(("xend_config_format", "4".to_string()));

    show(app, lines, wanted);
    0
}

/// Prints lines, or the values of those that are wanted.
fn show<H: Host>(app: &mut App<'_, H>, lines: Vec<(&str, String)>, wanted: Option<&String>) {
    for (name, value) in lines {
        match wanted {
            None => app.say(&format!("{name:<22} : {value}")),
            // xl compares the beginning of the line with the name asked for.
            Some(wanted) if name.starts_with(wanted.as_str()) => app.say(&value),
            Some(_) => {}
        }
    }
}

/// CPUs, devices and memory by node: one node, every CPU a core of its own (`XEN_SYSCTL_physinfo` says no more).
fn topology<H: Host>(app: &mut App<'_, H>) {
    let Ok(physinfo) = app.host.physinfo() else {
        app.say("libxl_get_cpu_topology failed.");
        return;
    };
    app.say("cpu_topology           :\ncpu:    core    socket     node");
    let cores = physinfo.cores_per_socket.max(1);
    for cpu in 0..=physinfo.max_cpu_id {
        let core = cpu / physinfo.threads_per_core.max(1);
        let (socket, core) = (core / cores, core % cores);
        app.say(&format!(
            "{cpu:>3}:    {core:>4}     {socket:>4}     {:>4}",
            0
        ));
    }
    app.say("device topology        :\ndevice           node\nNo device topology data available");
    app.say("numa_info              :\nnode:    memsize    memfree    distances");
    let (size, free) = (physinfo.total_pages / 256, physinfo.free_pages / 256);
    app.say(&format!("{:>4}:    {size:>6}     {free:>6}      10", 0));
}

fn virt_caps(capabilities: PhysCapabilities) -> String {
    let hvm = capabilities.contains(PhysCapabilities::HVM);
    let directio = hvm && capabilities.contains(PhysCapabilities::DIRECTIO);
    let names = [
        (hvm, "hvm"),
        (directio, "hvm_directio"),
        (capabilities.contains(PhysCapabilities::HAP), "hap"),
        (
            capabilities.contains(PhysCapabilities::IOMMU_HAP_PT_SHARE),
            "iommu_hap_pt_share",
        ),
        (
            capabilities.contains(PhysCapabilities::GNTTAB_V1),
            "gnttab-v1",
        ),
        (
            capabilities.contains(PhysCapabilities::GNTTAB_V2),
            "gnttab-v2",
        ),
    ];
    let names: Vec<&str> = names
        .iter()
        .filter(|(has, _)| *has)
        .map(|(_, name)| *name)
        .collect();
    names.join(" ")
}

/// Prints the hypervisor's log.
pub(super) fn dmesg<H: Host>(app: &mut App<'_, H>, given: &Given) -> i32 {
    match app.host.log(given.has('c')) {
        Ok(log) => {
            let log = String::from_utf8_lossy(&log).replace(['\r', '\0'], "");
            app.show(&log);
            if !log.is_empty() && !log.ends_with('\n') {
                app.show("\n");
            }
            0
        }
        Err(errno) => {
            app.complain(&format!("xc_console_read failed: {errno}"));
            FAILURE
        }
    }
}
