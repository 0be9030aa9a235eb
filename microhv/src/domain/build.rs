//! The boot-time domains: Domain-0 and those that loader.conf lists.
//!
//! A domain that cannot be built is named with its reason, and the others are built all the same.

use core::fmt::{self, Write};
use core::sync::atomic::Ordering;

use config::loader_conf::DomainConf;
use config::xen_cmdline::Dom0Mem;
use config::{LoaderConf, XenCmdline};
use pvh::{GuestMemory, Image, Layout, Module, ModuleSource, Parameters, Range};
use xen_abi::Errno;
use xen_abi::hvm::params::{
    HVM_PARAM_CONSOLE_EVTCHN, HVM_PARAM_CONSOLE_PFN, HVM_PARAM_STORE_EVTCHN, HVM_PARAM_STORE_PFN,
};

use super::{Domain, MemoryMap, MemoryRange, Vcpu, list};
use crate::boot::{Archive, Orders};
use crate::hypercall::{FIRST_GUEST, populate};
use crate::iommu::IoDomain;
use crate::mm::frame_table;
use crate::mm::{PageArc, phys};
use crate::paging::Access;
use crate::types::{DomId, Gfn, Mfn, PAGE_SIZE};
use crate::vcpu::CpuState;
use crate::{pci, timers};

/// Domain-0's memory when `dom0_mem` does not say.
const DEFAULT_DOM0_MEMORY: u64 = 64 << 20;
/// A service domain's memory when loader.conf does not say.
const DEFAULT_MEMORY: u64 = 16 << 20;
/// The store domain's number: first in the list, as all others need it.
const XENSTORE: &str = "xenstore";
/// Where a domain's RAM below 4 GiB ends at the latest.
const LOW_END: u64 = 0xf000_0000;
/// Frames that belong to the machine (Xen: `DOMID_XEN`).
const MACHINE: DomId = DomId(xen_abi::xen::DOMID_XEN);

/// A domain's command line.
type CommandLine = heapless::String<512>;

/// What a boot-time domain is built from.
struct Plan<'a> {
    name: &'a str,
    kernel: &'a str,
    memory: u64,
    vcpus: u32,
    affinity: u64,
    privileged: bool,
    command_line: CommandLine,
}

/// Builds Domain-0 and the domains of loader.conf, and lets them run.
///
/// # Errors
/// The sentence that says why there is no Domain-0: without it the machine is of no use.
pub fn boot_domains(orders: &Orders) -> Result<(), Failure> {
    let Orders {
        archive,
        conf,
        options,
    } = orders;
    let store = conf
        .domains()
        .filter_map(Result::ok)
        .position(|domain| domain.name.text == XENSTORE)
        .map_or(DomId(1), |index| DomId(index as u16 + 1));
    let dom0 = build_dom0(conf, options, archive, store)?;
    let mut id = 0;
    for domain in conf.domains() {
        id += 1;
        let domain = match domain {
            Ok(domain) => domain,
            Err(diagnostic) => {
                log::error!("{diagnostic}");
                continue;
            }
        };
        let name = domain.name.text;
        let built = plan(conf, &domain, &dom0).and_then(|plan| {
            let mut devices = heapless::Vec::<pci::Sbdf, 8>::new();
            for device in domain.pptdevs() {
                let device = device.map_err(|diagnostic| {
                    log::error!("{diagnostic}");
                    Failure::Said
                })?;
                let sbdf = pci::Sbdf::new(device.bus, device.slot, device.function);
                devices.push(sbdf).map_err(|_| Failure::TooManyDevices)?;
            }
            build(&plan, DomId(id), archive, store, &devices)
        });
        match built {
            Ok(built) => built.unpause(),
            Err(failure) => log::error!("domain {name} is not built: {failure}"),
        }
    }
    FIRST_GUEST.store(u64::from(id) + 1, Ordering::Relaxed);
    list::reserve_up_to(id);
    dom0.unpause();
    Ok(())
}

fn build_dom0(
    conf: &LoaderConf<'_>,
    options: &XenCmdline<'_>,
    archive: &Archive,
    store: DomId,
) -> Result<PageArc<Domain>, Failure> {
    let mut command_line = CommandLine::new();
    if let Some(more) = conf.get("console_cmdline") {
        let _ = write!(command_line, "{more}");
    }
    let plan = Plan {
        name: "Domain-0",
        kernel: match conf.get("console_kernel") {
            Some(value) => {
                value
                    .plain("console_kernel")
                    .map_err(|diagnostic| {
                        log::error!("{diagnostic}");
                        Failure::Said
                    })?
                    .text
            }
            None => "/boot/console",
        },
        memory: options
            .dom0_mem
            .map_or(DEFAULT_DOM0_MEMORY, |memory: Dom0Mem| {
                memory.resolve(crate::mm::frames::total_frames() * PAGE_SIZE as u64)
            }),
        // Domain-0's kernel uses one vCPU, whatever dom0_max_vcpus allows.
        vcpus: 1,
        affinity: u64::MAX,
        privileged: true,
        command_line,
    };
    build(&plan, DomId(0), archive, store, &[])
}

fn plan<'a>(
    conf: &LoaderConf<'a>,
    domain: &DomainConf<'a>,
    dom0: &Domain,
) -> Result<Plan<'a>, Failure> {
    let mut failed = false;
    for diagnostic in domain.errors() {
        log::error!("{diagnostic}");
        failed = true;
    }
    if failed {
        return Err(Failure::Said);
    }
    let name = domain.name.text;
    let kernel = domain.kernel().ok().flatten();
    let mut command_line = CommandLine::new();
    if name == XENSTORE {
        let port = dom0.params.get(HVM_PARAM_STORE_EVTCHN).unwrap_or(0);
        let _ = write!(command_line, "dom0_store_port={port} ");
    }
    for interface in conf.cloned_interfaces() {
        // The bridge learns of its interfaces as rc.conf has them; other domains ignore it.
        let mut setting = heapless::String::<64>::new();
        if name == "bridge"
            && write!(setting, "ifconfig_{}", interface.text).is_ok()
            && let Some(value) = conf.get(&setting)
        {
            let _ = write!(command_line, "{setting}=\"{value}\" ");
        }
    }
    if let Some(more) = domain.cmdline() {
        write!(command_line, "{more}").map_err(|_| Failure::CommandLine)?;
    }
    Ok(Plan {
        name,
        kernel: kernel.map_or("", |kernel| kernel.text),
        memory: domain.memory().ok().flatten().unwrap_or(DEFAULT_MEMORY),
        vcpus: domain.vcpus().ok().flatten().unwrap_or(1),
        affinity: domain
            .cpus()
            .ok()
            .flatten()
            .map_or(u64::MAX, |cpus| cpus.words()[0]),
        privileged: false,
        command_line,
    })
}

/// Builds one domain, paused. On failure nothing of it is left.
fn build(
    plan: &Plan<'_>,
    id: DomId,
    archive: &Archive,
    store: DomId,
    devices: &[pci::Sbdf],
) -> Result<PageArc<Domain>, Failure> {
    let mut path = heapless::String::<128>::new();
    let kernel = if plan.kernel.is_empty() {
        write!(path, "/boot/{}", plan.name).map_err(|_| Failure::CommandLine)?;
        path.as_str()
    } else {
        plan.kernel
    };
    let mut shown = heapless::String::<128>::new();
    let _ = shown.push_str(kernel);
    let file = archive
        .file(kernel)
        .ok_or(Failure::NoImage(shown.clone()))?;
    let image = Image::parse(file).map_err(|error| Failure::Image(shown, error))?;
    let domain = list::create(
        Some(id),
        pvh::boot_domain_handle(plan.name),
        plan.privileged,
    )
    .map_err(|_| Failure::NoMemory(plan.memory))?;
    domain.set_name(plan.name);
    let built = fill(&domain, plan, &image, archive, store, devices);
    if let Err(failure) = built {
        while !super::destroy::step(&domain) {}
        return Err(failure);
    }
    Ok(domain)
}

fn fill(
    domain: &PageArc<Domain>,
    plan: &Plan<'_>,
    image: &Image<'_>,
    archive: &Archive,
    store: DomId,
    devices: &[pci::Sbdf],
) -> Result<(), Failure> {
    let mut layout = Layout::new(plan.memory, plan.vcpus).map_err(Failure::Layout)?;
    domain.max_vcpus.store(plan.vcpus, Ordering::Relaxed);
    domain.max_pages.store(
        plan.memory / PAGE_SIZE as u64 + Layout::extra_pages(),
        Ordering::Relaxed,
    );
    if !devices.is_empty() && crate::iommu::present() {
        let io = IoDomain::new().map_err(|_| Failure::NoMemory(plan.memory))?;
        domain.p2m.lock().set_io(io);
    }
    let module = if plan.privileged {
        Some(map_archive(domain, &mut layout, archive)?)
    } else {
        None
    };
    for range in layout.populate() {
        populate_range(domain, range, plan.memory)?;
    }
    for vcpu in 0..plan.vcpus {
        let vcpu = Vcpu::create(domain, vcpu).ok_or(Failure::NoMemory(plan.memory))?;
        vcpu.sched.set_affinity(plan.affinity);
    }
    let modules: &[Module<'_>] = module.as_slice();
    let parameters = Parameters {
        cmdline: plan.command_line.trim_end(),
        modules,
    };
    let start = pvh::build(&mut Memory(domain), &layout, image, &parameters).map_err(|error| {
        log::error!("domain {}: {error}", plan.name);
        Failure::Said
    })?;
    domain.set_memory_map(
        layout
            .memory_map()
            .iter()
            .map(|entry| MemoryRange {
                start: entry.range.start,
                size: entry.range.size,
                kind: entry.kind as u32,
            })
            .collect::<MemoryMap>(),
    );
    for (page, port, remote, gref, gfn) in [
        (
            HVM_PARAM_CONSOLE_PFN,
            HVM_PARAM_CONSOLE_EVTCHN,
            DomId(0),
            0,
            start.console_gfn,
        ),
        (
            HVM_PARAM_STORE_PFN,
            HVM_PARAM_STORE_EVTCHN,
            store,
            1,
            start.store_gfn,
        ),
    ] {
        let number = domain
            .evtchn
            .lock()
            .alloc_unbound(remote)
            .map_err(Failure::Errno)?;
        domain.params.set(page, gfn);
        domain.params.set(port, u64::from(number));
        domain
            .grant
            .lock()
            .seed(gref, remote, Gfn(gfn))
            .map_err(Failure::Errno)?;
    }
    timers::publish_wallclock(domain);
    for &device in devices {
        pci::assign(&**domain, device).map_err(|error| {
            log::error!("domain {}: device {device}: {error}", plan.name);
            Failure::Said
        })?;
    }
    if let Some(vcpu) = domain.vcpu(0) {
        vcpu.initialise(&CpuState::pvh(start.entry, start.start_info));
        vcpu.bring_up();
    }
    log::info!(
        "domain {} ({}): {} KiB, {} vCPU{}, entry {:#x}, \"{}\"",
        plan.name,
        domain.id,
        plan.memory >> 10,
        plan.vcpus,
        if plan.vcpus == 1 { "" } else { "s" },
        start.entry,
        plan.command_line.trim_end(),
    );
    Ok(())
}

/// Populates `range` with the largest pages that fit.
fn populate_range(domain: &Domain, range: Range, memory: u64) -> Result<(), Failure> {
    let mut gfn = range.first_gfn();
    let end = gfn + range.frames();
    while gfn < end {
        let order = [18, 9, 0]
            .into_iter()
            .find(|&order| gfn.is_multiple_of(1 << order) && end - gfn >= 1 << order)
            .unwrap_or(0);
        populate(domain, Gfn(gfn), order).map_err(|errno| match errno {
            Errno::ENOMEM => Failure::NoMemory(memory),
            other => Failure::Errno(other),
        })?;
        gfn += 1 << order;
    }
    Ok(())
}

/// Lets Domain-0 read the whole boot archive, behind its RAM, without a copy.
fn map_archive(
    domain: &Domain,
    layout: &mut Layout,
    archive: &Archive,
) -> Result<Module<'static>, Failure> {
    let range = archive.range();
    let (first, size) = (range.start, range.end - range.start);
    let frames = (size + first % PAGE_SIZE as u64).div_ceil(PAGE_SIZE as u64);
    // Below 4 GiB if there is room: the runtime of our domains looks no further.
    let low = layout.low_ram().end().next_multiple_of(2 << 20);
    let base = if low + frames * PAGE_SIZE as u64 <= LOW_END {
        low
    } else {
        layout.after_ram()
    };
    layout
        .reserve(Range {
            start: base,
            size: frames * PAGE_SIZE as u64,
        })
        .map_err(Failure::Layout)?;
    let start = Mfn::containing(first);
    for page in 0..frames {
        let mfn = Mfn(start.0 + page);
        // The hold that this makes is never given up: the archive stays.
        frame_table::assign(mfn, 0, MACHINE);
        let frame = frame_table::get(mfn).ok_or(Failure::NoMemory(0))?;
        domain
            .p2m
            .lock()
            .add_frame(
                Gfn::containing(base + page * PAGE_SIZE as u64),
                frame,
                Access::READ,
            )
            .map_err(|_| Failure::NoMemory(size))?;
    }
    Ok(Module {
        source: ModuleSource::Present {
            gpa: base + first % PAGE_SIZE as u64,
            size,
        },
        cmdline: "",
    })
}

/// A domain's memory while it is built.
struct Memory<'a>(&'a Domain);

impl GuestMemory for Memory<'_> {
    type Error = Errno;

    fn write(&mut self, gpa: u64, bytes: &[u8]) -> Result<(), Errno> {
        let mut gpa = gpa;
        let mut rest = bytes;
        let p2m = self.0.p2m.lock();
        while !rest.is_empty() {
            let offset = gpa as usize % PAGE_SIZE;
            let (piece, after) = rest.split_at(rest.len().min(PAGE_SIZE - offset));
            let mapping = p2m.lookup(Gfn::containing(gpa)).ok_or(Errno::EFAULT)?;
            phys::write(mapping.mfn, offset, piece);
            gpa += piece.len() as u64;
            rest = after;
        }
        Ok(())
    }
}

/// Why a domain is not there.
#[derive(Debug)]
pub enum Failure {
    /// The archive has no such file.
    NoImage(heapless::String<128>),
    /// The file is no kernel we can start.
    Image(heapless::String<128>, pvh::ImageError),
    /// No address space of that shape.
    Layout(pvh::LayoutError),
    /// Not so many bytes left.
    NoMemory(u64),
    /// More devices than a domain may have.
    TooManyDevices,
    /// The command line is too long.
    CommandLine,
    /// Something else refused.
    Errno(Errno),
    /// The log has the reason already.
    Said,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoImage(path) => write!(f, "no file {path} in the boot archive"),
            Self::Image(path, error) => write!(f, "{path}: {error}"),
            Self::Layout(error) => write!(f, "{error}"),
            Self::NoMemory(bytes) => write!(
                f,
                "{} MiB of memory wanted, {} MiB free",
                bytes.div_ceil(1 << 20),
                crate::mm::frames::free_frames() / 256
            ),
            Self::TooManyDevices => write!(f, "more than 8 devices"),
            Self::CommandLine => write!(f, "its command line is longer than 511 bytes"),
            Self::Errno(errno) => write!(f, "{errno:?}"),
            Self::Said => write!(f, "see above"),
        }
    }
}
