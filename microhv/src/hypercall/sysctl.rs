//! `sysctl`: the machine as a whole, for the control domain.

use xen_abi::Errno;
use xen_abi::domctl::XEN_SCHEDULER_CREDIT2;
use xen_abi::sysctl::{
    self as abi, PhysCapabilities, Sysctl, XenSysctlAvailheap, XenSysctlGetdomaininfolist,
    XenSysctlPhysinfo, XenSysctlReadconsole, XenSysctlSchedId,
};

use super::{Caller, DONE, Result, domctl};
use crate::guest_args::GuestArgs;
use crate::mm::frames;
use crate::{arch, console, domain};

/// `sysctl(arg)`.
pub fn call(caller: &Caller<'_>) -> Result {
    let argument = caller.argument(0);
    let mut request: Sysctl = caller.read(argument)?;
    if request.interface_version != abi::XEN_SYSCTL_INTERFACE_VERSION {
        return Err(Errno::EACCES);
    }
    caller.check_privilege()?;
    match request.cmd {
        abi::XEN_SYSCTL_READCONSOLE => {
            let mut arm: XenSysctlReadconsole = request.get();
            read_console(caller, &mut arm)?;
            request.set(&arm);
        }
        abi::XEN_SYSCTL_PHYSINFO => {
            let cpus = arch::cpu_count() as u32;
            request.set(&XenSysctlPhysinfo {
                threads_per_core: 1,
                cores_per_socket: cpus,
                nr_cpus: cpus,
                max_cpu_id: cpus - 1,
                nr_nodes: 1,
                cpu_khz: u32::try_from(arch::timer::tsc_khz()).unwrap_or(u32::MAX),
                capabilities: capabilities(),
                total_pages: frames::total_frames(),
                free_pages: frames::free_frames(),
                max_mfn: frames::total_frames(),
                hw_cap: feature_words(),
                ..Default::default()
            });
        }
        abi::XEN_SYSCTL_SCHED_ID => request.set(&XenSysctlSchedId {
            // Not credit2's code, but its interface: weights, no caps.
            sched_id: XEN_SCHEDULER_CREDIT2,
        }),
        abi::XEN_SYSCTL_GETDOMAININFOLIST => {
            let mut arm: XenSysctlGetdomaininfolist = request.get();
            let mut buffer = caller.memory(arm.buffer);
            let found = domain::all_from(arm.first_domain).take(arm.max_domains as usize);
            arm.num_domains = 0;
            for domain in found {
                buffer.put(arm.num_domains as usize, &domctl::info(&domain))?;
                arm.num_domains += 1;
            }
            request.set(&arm);
        }
        abi::XEN_SYSCTL_AVAILHEAP => {
            let mut arm: XenSysctlAvailheap = request.get();
            arm.avail_bytes = frames::free_frames() * 4096;
            request.set(&arm);
        }
        _ => return Err(Errno::ENOSYS),
    }
    caller.write(argument, &request)?;
    Ok(DONE)
}

fn capabilities() -> PhysCapabilities {
    let mut all = PhysCapabilities::HVM | PhysCapabilities::HAP | PhysCapabilities::GNTTAB_V1;
    all.set(PhysCapabilities::DIRECTIO, crate::iommu::present());
    all
}

/// Copies the log from position `index` on; `count` and `index` say afterwards how much and where it ends.
fn read_console(caller: &Caller<'_>, arm: &mut XenSysctlReadconsole) -> Result<()> {
    let mut buffer = caller.memory(arm.buffer);
    // The index in the ABI is the low half of ours: enough for 4 GiB of log.
    let mut position = if arm.incremental != 0 {
        u64::from(arm.index)
    } else {
        0
    };
    let mut copied = 0;
    let room = arm.count as usize;
    loop {
        let mut bytes = [0; 512];
        let want = bytes.len().min(room - copied);
        let got = console::ring::read_from(&mut position, &mut bytes[..want]);
        if got == 0 {
            break;
        }
        buffer.write(copied, &bytes[..got])?;
        copied += got;
    }
    if arm.clear != 0 {
        console::ring::clear();
    }
    arm.count = copied as u32;
    arm.index = position as u32;
    Ok(())
}

/// The CPU's feature words in the order of Xen's public/arch-x86/cpufeatureset.h, 0 to 7.
fn feature_words() -> [u32; 8] {
    // A leaf beyond the last one answers with another leaf's bits.
    let leaf = |leaf: u32, subleaf: u32| {
        let last = arch::cpu::cpuid(leaf & 0x8000_0000, 0).eax;
        (leaf <= last).then(|| arch::cpu::cpuid(leaf, subleaf))
    };
    let (basic, extended) = (leaf(1, 0), leaf(0x8000_0001, 0));
    let (structured, power) = (leaf(7, 0), leaf(0x8000_0007, 0));
    [
        basic.map(|leaf| leaf.edx),
        basic.map(|leaf| leaf.ecx),
        extended.map(|leaf| leaf.edx),
        extended.map(|leaf| leaf.ecx),
        leaf(0xd, 1).map(|leaf| leaf.eax),
        structured.map(|leaf| leaf.ebx),
        structured.map(|leaf| leaf.ecx),
        power.map(|leaf| leaf.edx),
    ]
    .map(Option::unwrap_or_default)
}
