//! Makes a domain: all that concerns the hypervisor. A domain that cannot be finished is destroyed.

use alloc::format;
use alloc::string::String;
use core::fmt;

use pvh::{BuildError, ImageError, Layout, LayoutError, Module, ModuleSource, Parameters, Plan};
use pvh::{Start, VcpuState};
use xen_abi::hvm::params::{
    HVM_PARAM_CONSOLE_EVTCHN, HVM_PARAM_CONSOLE_PFN, HVM_PARAM_STORE_EVTCHN, HVM_PARAM_STORE_PFN,
};
use xen_abi::{DomId, Errno};
use xl_config::DomainConfig;

use super::GuestWriter;
use super::kernel::{File, Kernel, Program, write_ramdisk};
use crate::app::DOMAIN_0;
use crate::host::Control;

/// Pages that a domain may have beyond its RAM and special pages: for what its kernel adds, such as
/// grant-table frames. Xen's toolstack gives 1 MiB (`LIBXL_MAXMEM_CONSTANT`).
const SLACK_PAGES: u64 = 256;
/// The share of the CPUs that a domain has from the start (Xen's `CSCHED2_DEFAULT_WEIGHT`).
const USUAL_WEIGHT: u32 = 256;
/// How many pages a domain may have that is to have `ram` pages of RAM.
#[must_use]
pub const fn page_limit(ram: u64) -> u64 {
    ram.saturating_add(Layout::extra_pages())
        .saturating_add(SLACK_PAGES)
}

/// Grant references of the console's and the store's pages (Xen `grant_table.h`, `GNTTAB_RESERVED_*`).
const GRANT_CONSOLE: u32 = 0;
const GRANT_STORE: u32 = 1;
/// What is being done when the hypervisor refuses to map a domain's pages.
const WRITING: &str = "writing its memory";

/// A domain that is ready to run, still paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Created {
    /// Its number.
    pub domid: DomId,
    /// Frame and port of its xenstore ring.
    pub store: (u64, u32),
    /// Frame and port of its console.
    pub console: (u64, u32),
}

/// Why a domain could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateError {
    /// The kernel cannot be started.
    Image {
        /// Its path.
        path: String,
        /// Why.
        error: ImageError,
    },
    /// A file cannot be read, or not be unpacked.
    File {
        /// What it is, and its path.
        path: String,
        /// Why.
        reason: String,
    },
    /// Memory size or number of vCPUs.
    Layout(LayoutError),
    /// More memory than is free.
    Memory {
        /// KiB that the domain needs.
        needed: u64,
        /// KiB that are free.
        free: u64,
    },
    /// Kernel and RAM disk do not fit.
    Build(String),
    /// The hypervisor refused a step.
    Refused {
        /// Which.
        step: &'static str,
        /// Its error.
        errno: Errno,
    },
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image { path, error } => write!(f, "kernel {path}: {error}"),
            Self::File { path, reason } => write!(f, "{path}: {reason}"),
            Self::Layout(error) => error.fmt(f),
            Self::Memory { needed, free } => write!(
                f,
                "not enough memory: the domain needs {needed} KiB, {free} KiB are free"
            ),
            Self::Build(reason) => f.write_str(reason),
            Self::Refused { step, errno } => write!(f, "{step}: {errno}"),
        }
    }
}

/// Makes the domain that `config` describes, with its store page granted to `store_domain`.
///
/// # Errors
/// Says what is wrong; no domain is left then.
pub fn create<H: Control>(
    host: &mut H,
    config: &DomainConfig,
    handle: [u8; 16],
    kernel: Kernel<'_>,
    store_domain: DomId,
) -> Result<Created, CreateError> {
    // Everything that needs no domain comes first.
    let Kernel {
        mut image,
        mut ramdisk,
        cmdline,
    } = kernel;
    let program = Program::open(&image.path, &mut image.content)?;
    // With maxmem the guest is built with all of it and its balloon driver gives back what is beyond memory, as
    // memory/target tells it, as soon as it starts: the kernel's own tables are made for what it may have one day.
    let wanted = config.memory.unwrap_or(0);
    let memory = config
        .maxmem
        .unwrap_or(0)
        .max(wanted)
        .saturating_mul(1 << 20);
    let layout = Layout::new(memory, config.maxvcpus).map_err(CreateError::Layout)?;
    let pages = memory / pvh::PAGE_SIZE + Layout::extra_pages();
    let info = host
        .physinfo()
        .map_err(refused("reading the machine's free memory"))?;
    if info.free_pages < pages {
        return Err(CreateError::Memory {
            needed: pages * 4,
            free: info.free_pages * 4,
        });
    }

    let limit = page_limit(memory / pvh::PAGE_SIZE);
    let domid = host
        .create_domain(handle, config.maxvcpus, limit)
        .map_err(refused("creating the domain"))?;
    let filled = load(
        host,
        domid,
        &layout,
        (&image.path, program),
        &mut ramdisk,
        &cmdline,
    )
    .and_then(|start| equip(host, config, domid, start, store_domain));
    let filled = filled.and_then(|created| {
        // What it gives back it does not get again by itself.
        let limit = page_limit(wanted.saturating_mul(256));
        host.set_max_pages(domid, limit)
            .map_err(refused("limiting its memory"))?;
        Ok(created)
    });
    match filled {
        Ok(created) => Ok(created),
        Err(error) => {
            // What went wrong is the news; a domain that cannot be destroyed stays in `xl list`.
            let _ = host.destroy_domain(domid);
            Err(error)
        }
    }
}

/// Gives the domain its memory, with everything in it that it starts with.
fn load<H: Control>(
    host: &mut H,
    domid: DomId,
    layout: &Layout,
    (path, program): (&str, Program<'_>),
    ramdisk: &mut Option<File<'_>>,
    cmdline: &str,
) -> Result<Start, CreateError> {
    let module = ramdisk.as_ref().map(|file| Module {
        source: ModuleSource::Later {
            size: file.content.size(),
        },
        cmdline: "",
    });
    let parameters = Parameters {
        cmdline,
        modules: module.as_slice(),
    };
    // A domain that is too small is refused before anything is written.
    let plan = Plan::new(layout, program.end(), &parameters).map_err(build_error)?;
    for range in layout.populate() {
        host.populate(domid, range)
            .map_err(refused("giving it memory"))?;
    }
    host.set_memory_map(domid, &layout.memory_map())
        .map_err(refused("setting its memory map"))?;
    let mut writer = GuestWriter { host, domid };
    let entry = program.write(path, &mut writer, refused(WRITING))?;
    if let (Some(file), Some((gpa, _))) = (ramdisk, plan.module(0)) {
        write_ramdisk(file, gpa, &mut writer, refused(WRITING))?;
    }
    plan.write(&mut writer, layout, entry, &parameters)
        .map_err(build_error)
}

fn build_error(error: BuildError<Errno>) -> CreateError {
    match error {
        BuildError::Memory(errno) => refused(WRITING)(errno),
        error => CreateError::Build(format!("{error}")),
    }
}

/// Gives the domain its ports, grants and CPUs.
fn equip<H: Control>(
    host: &mut H,
    config: &DomainConfig,
    domid: DomId,
    start: Start,
    store_domain: DomId,
) -> Result<Created, CreateError> {
    let store_port = host
        .alloc_unbound(domid, store_domain)
        .map_err(refused("making its xenstore port"))?;
    let console_port = host
        .alloc_unbound(domid, DOMAIN_0)
        .map_err(refused("making its console port"))?;
    for (index, value) in [
        (HVM_PARAM_STORE_PFN, start.store_gfn),
        (HVM_PARAM_STORE_EVTCHN, store_port.into()),
        (HVM_PARAM_CONSOLE_PFN, start.console_gfn),
        (HVM_PARAM_CONSOLE_EVTCHN, console_port.into()),
    ] {
        host.set_hvm_param(domid, index, value)
            .map_err(refused("setting its parameters"))?;
    }
    let grants = [
        (GRANT_CONSOLE, DOMAIN_0, start.console_gfn),
        (GRANT_STORE, store_domain, start.store_gfn),
    ];
    host.seed_grants(domid, &grants)
        .map_err(refused("granting its special pages"))?;
    for vcpu in 0..config.maxvcpus {
        if let Some(affinity) = &config.cpus {
            let cpus = affinity.of(vcpu as usize).words()[0];
            host.set_affinity(domid, vcpu, cpus)
                .map_err(refused("pinning its vCPUs"))?;
        }
    }
    let usual = (config.cpu_weight, config.cap) == (USUAL_WEIGHT, 0);
    if !usual {
        let number = |value| u16::try_from(value).unwrap_or(u16::MAX);
        host.set_weight(domid, number(config.cpu_weight), number(config.cap))
            .map_err(refused("setting its share of the CPUs"))?;
    }
    host.set_vcpu(domid, &VcpuState::pvh_entry(start.entry, start.start_info))
        .map_err(refused("setting its first vCPU"))?;
    Ok(Created {
        domid,
        store: (start.store_gfn, store_port),
        console: (start.console_gfn, console_port),
    })
}

fn refused(step: &'static str) -> impl Fn(Errno) -> CreateError {
    move |errno| CreateError::Refused { step, errno }
}
