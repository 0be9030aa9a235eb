//! Making one domain: address space, image, rings, devices, first vCPU.

use core::sync::atomic::Ordering;

use pvh::{Image, Layout, MemoryMapEntry, Parameters};
use xen_abi::Errno;
use xen_abi::hvm::params::{
    HVM_PARAM_CONSOLE_EVTCHN, HVM_PARAM_CONSOLE_PFN, HVM_PARAM_STORE_EVTCHN, HVM_PARAM_STORE_PFN,
};
use xen_abi::memory::E820Entry;

use super::images::{self, Image as DiskImage};
use super::memory::{Memory, map_archive};
use super::{Plan, Refused};
use crate::boot::Archive;
use crate::domain::{Domain, MemoryMap, Vcpu, destroy, list};
use crate::hypercall::populate;
use crate::iommu::{self, IoDomain};
use crate::mm::{PageArc, frames};
use crate::types::{DomId, Gfn, PAGE_SIZE};
use crate::vcpu::CpuState;
use crate::{pci, timers};

/// Reserved entries of a domain's grant table (Xen: public/grant_table.h).
const GNTTAB_RESERVED_CONSOLE: u32 = 0;
const GNTTAB_RESERVED_XENSTORE: u32 = 1;

/// Builds one domain, paused. On failure nothing of it is left, and the log has the reason.
///
/// # Errors
/// See the log.
pub fn build(
    plan: &Plan<'_>,
    id: DomId,
    archive: &Archive,
    images: &[DiskImage],
    store: DomId,
) -> Result<PageArc<Domain>, Refused> {
    let kernel = &plan.kernel;
    let file = archive.file(kernel).ok_or_else(|| {
        let why = format_args!("the boot archive has no file {kernel}");
        plan.refuse("_kernel", why)
    })?;
    let image = Image::parse(file)
        .map_err(|error| plan.refuse("_kernel", format_args!("{kernel}: {error}")))?;
    let handle = pvh::boot_domain_handle(plan.name);
    let domain = list::create(Some(id), handle, plan.privileged).map_err(|_| no_memory(plan))?;
    domain.set_name(plan.name);
    if fill(&domain, plan, &image, (archive, images), store).is_err() {
        while !destroy::step(&domain) {}
        return Err(Refused);
    }
    Ok(domain)
}

fn no_memory(plan: &Plan<'_>) -> Refused {
    let wanted = plan.memory.div_ceil(1 << 20);
    let free = (frames::free_frames() * PAGE_SIZE as u64) >> 20;
    let why = format_args!("{wanted} MiB do not fit, {free} MiB are free");
    plan.refuse("_memory", why)
}

fn unexpected(plan: &Plan<'_>, errno: Errno) -> Refused {
    log::error!("domain {}: {errno:?}", plan.name);
    Refused
}

// Not inlined: its 9 KiB and the 15 KiB in which a domain comes into being are not on the stack of 32 KiB together.
#[inline(never)]
fn fill(
    domain: &PageArc<Domain>,
    plan: &Plan<'_>,
    image: &Image<'_>,
    (archive, images): (&Archive, &[DiskImage]),
    store: DomId,
) -> Result<(), Refused> {
    let mut layout =
        Layout::new(plan.memory, plan.vcpus).map_err(|error| plan.refuse("_memory", error))?;
    let pages = plan.memory / PAGE_SIZE as u64 + Layout::extra_pages();
    domain.max_vcpus.store(plan.vcpus, Ordering::Relaxed);
    if frames::free_frames() < pages {
        return Err(no_memory(plan));
    }
    if !plan.devices.is_empty() && iommu::present() {
        let io = IoDomain::new().map_err(|_| no_memory(plan))?;
        domain.p2m.lock().io = Some(io);
    }
    let modules = if plan.privileged {
        map_archive(domain, &mut layout, archive, images)
    } else if plan.name == images::OWNER {
        images::give(domain, &mut layout, images)
    } else {
        Ok(heapless::Vec::new())
    }
    .map_err(|errno| unexpected(plan, errno))?;
    let pages = pages + domain.p2m.lock().ram_pages();
    domain.max_pages.store(pages, Ordering::Relaxed);
    for range in layout.populate() {
        let first = Gfn(range.first_gfn());
        populate(domain, first, range.frames()).map_err(|_| no_memory(plan))?;
    }
    for id in 0..plan.vcpus {
        let vcpu = Vcpu::create(domain, id).ok_or_else(|| no_memory(plan))?;
        vcpu.sched.set_affinity(plan.affinity);
    }
    let parameters = Parameters {
        cmdline: &plan.command_line,
        modules: &modules,
    };
    let start = pvh::build(&mut Memory(domain), &layout, image, &parameters)
        .map_err(|error| plan.refuse("_memory", error))?;
    if plan.verbose {
        describe(plan, image, &layout, &start);
    }
    *domain.memory_map.lock() = memory_map(&layout);
    connect_ring(domain, GNTTAB_RESERVED_CONSOLE, DomId(0), start.console_gfn)
        .and_then(|()| connect_ring(domain, GNTTAB_RESERVED_XENSTORE, store, start.store_gfn))
        .map_err(|errno| unexpected(plan, errno))?;
    timers::publish_wallclock(domain);
    if !plan.devices.is_empty() && !iommu::present() {
        log::warn!(
            "{}: not assigned: {}",
            plan.cite("_pptdevs"),
            pci::AssignError::NoIommu
        );
    }
    for &device in plan.devices.iter().filter(|_| iommu::present()) {
        pci::assign(domain, device)
            .map_err(|error| plan.refuse("_pptdevs", format_args!("{device}: {error}")))?;
    }
    if let Some(vcpu) = domain.vcpu(0)
        && vcpu.initialise(&CpuState::pvh(start.entry, start.start_info))
    {
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
        plan.command_line,
    );
    Ok(())
}

/// What `dom0=verbose` wants to know: where everything is.
fn describe(plan: &Plan<'_>, image: &Image<'_>, layout: &Layout, start: &pvh::Start) {
    let name = plan.name;
    for segment in image.segments() {
        log::info!(
            "{name}: {} at {:#x}, {} bytes, of these {} from the file",
            plan.kernel,
            segment.address,
            segment.size,
            segment.bytes.len()
        );
    }
    for range in layout.populate() {
        log::info!("{name}: memory {:#x} to {:#x}", range.start, range.end());
    }
    for entry in layout.memory_map() {
        let (range, kind) = (entry.range, entry.kind as u32);
        log::info!(
            "{name}: map {:#x} to {:#x}, type {kind}",
            range.start,
            range.end()
        );
    }
    log::info!(
        "{name}: entry {:#x}, start info {:#x}, free from {:#x}, store ring {:#x}, console ring {:#x}",
        start.entry,
        start.start_info,
        start.used_end,
        start.store_gfn << 12,
        start.console_gfn << 12
    );
}

/// What the domain is told of its memory.
fn memory_map(layout: &Layout) -> MemoryMap {
    let mut map = MemoryMap::new();
    for MemoryMapEntry { range, kind } in layout.memory_map() {
        // There is room for each: of ranges that are reserved, there are two.
        let _ = map.push(E820Entry::new(range.start, range.size, kind as u32));
    }
    map
}

/// Prepares the ring at `gfn` for `remote`: parameters, an unbound event channel, and the reserved grant.
fn connect_ring(domain: &Domain, gref: u32, remote: DomId, gfn: u64) -> Result<(), Errno> {
    let (page, channel) = if gref == GNTTAB_RESERVED_CONSOLE {
        (HVM_PARAM_CONSOLE_PFN, HVM_PARAM_CONSOLE_EVTCHN)
    } else {
        (HVM_PARAM_STORE_PFN, HVM_PARAM_STORE_EVTCHN)
    };
    let port = domain.evtchn.lock().alloc_unbound(remote)?;
    domain.params.set(page, gfn);
    domain.params.set(channel, u64::from(port));
    domain.grant.lock().seed(gref, remote, Gfn(gfn))
}
