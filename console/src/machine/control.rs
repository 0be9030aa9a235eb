//! Control hypercalls.

use alloc::string::String;
use alloc::vec::Vec;

use console::guest::cpu_record;
use console::host::{Control, Version};
use domain::xen_abi::domctl::{
    CreateFlags, EmulationFlags, XenArchDomainconfig, XenDomctlCreatedomain,
    XenDomctlGetdomaininfo, XenDomctlGetvcpuinfo,
};
use domain::xen_abi::memory::E820Entry;
use domain::xen_abi::microhv::{Exits, Holdings, Info};
use domain::xen_abi::sysctl::XenSysctlPhysinfo;
use domain::xen_abi::version::{
    XENVER_CAPABILITIES, XENVER_CHANGESET, XENVER_COMMANDLINE, XENVER_EXTRAVERSION,
};
use domain::{DomId, Errno, control, event};
use pvh::{MemoryMap, PAGE_SIZE, Range, VcpuState};

use super::{Real, WINDOW_PAGES};

/// Ports and grant frames of a guest: Xen's defaults for what xl creates.
const MAX_EVTCHN_PORT: u32 = 1023;
const MAX_GRANT_FRAMES: i32 = 64;
const MAX_MAPTRACK_FRAMES: i32 = 1024;
/// CPUs that an affinity speaks of.
const CPUS: usize = 64;
/// Bytes of the log read at a time.
const LOG_CHUNK: usize = 16 << 10;
/// Frame at which a new domain's grant table is looked at: behind its special pages, where nothing is.
const SCRATCH_GFN: u64 = 0xff000;

impl Control for Real {
    fn domains(&mut self) -> Result<Vec<XenDomctlGetdomaininfo>, Errno> {
        control::domains()
    }

    fn domain(&mut self, domid: DomId) -> Result<XenDomctlGetdomaininfo, Errno> {
        // The hypervisor answers with the next domain if there is no such one.
        control::domain_info(domid).and_then(|info| {
            if info.domain == domid {
                Ok(info)
            } else {
                Err(Errno::ESRCH)
            }
        })
    }

    fn vcpu(&mut self, domid: DomId, vcpu: u32) -> Result<XenDomctlGetvcpuinfo, Errno> {
        control::vcpu_info(domid, vcpu)
    }

    fn affinity(&mut self, domid: DomId, vcpu: u32) -> Result<u64, Errno> {
        let map = control::get_affinity(domid, vcpu, CPUS)?;
        let bytes = map.iter().rev().take(8);
        Ok(bytes.fold(0, |bits, &byte| bits << 8 | u64::from(byte)))
    }

    fn set_affinity(&mut self, domid: DomId, vcpu: u32, cpus: u64) -> Result<(), Errno> {
        control::set_affinity(domid, vcpu, &cpus.to_le_bytes())
    }

    fn set_weight(&mut self, domid: DomId, weight: u16, cap: u16) -> Result<(), Errno> {
        control::set_scheduling(domid, weight, cap)
    }

    fn weight(&mut self, domid: DomId) -> Result<u16, Errno> {
        control::scheduling(domid).map(|(weight, _)| weight)
    }

    fn set_max_pages(&mut self, domid: DomId, pages: u64) -> Result<(), Errno> {
        control::set_max_memory(domid, pages.saturating_mul(PAGE_SIZE / 1024))
    }

    fn trigger(&mut self, domid: DomId, vcpu: u32, trigger: u32) -> Result<(), Errno> {
        control::send_trigger(domid, vcpu, trigger)
    }

    fn physinfo(&mut self) -> Result<XenSysctlPhysinfo, Errno> {
        control::physinfo()
    }

    fn version(&mut self) -> Version {
        let (major, minor) = control::version().unwrap_or_default();
        let text = |what| control::version_text(what).unwrap_or_default();
        let compiled = control::compile_info().unwrap_or_default();
        Version {
            major,
            minor,
            extra: text(XENVER_EXTRAVERSION),
            capabilities: text(XENVER_CAPABILITIES),
            changeset: text(XENVER_CHANGESET),
            commandline: text(XENVER_COMMANDLINE),
            compiler: zero_terminated(&compiled.compiler),
            compile_by: zero_terminated(&compiled.compile_by),
            compile_domain: zero_terminated(&compiled.compile_domain),
            compile_date: zero_terminated(&compiled.compile_date),
        }
    }

    fn microhv_info(&mut self) -> Result<Info, Errno> {
        control::hypervisor_info()
    }

    fn exits(&mut self, domid: DomId) -> Result<Exits, Errno> {
        control::exits(domid)
    }

    fn holdings(&mut self, domid: DomId) -> Result<Holdings, Errno> {
        control::holdings(domid)
    }

    fn log(&mut self, clear: bool) -> Result<Vec<u8>, Errno> {
        let mut log = Vec::new();
        let mut buffer = alloc::vec![0; LOG_CHUNK];
        let mut index = None;
        loop {
            let (count, next) = control::read_log(index, false, &mut buffer)?;
            if count == 0 {
                break;
            }
            log.extend_from_slice(buffer.get(..count).unwrap_or_default());
            index = Some(next);
        }
        if clear {
            control::read_log(None, true, &mut [])?;
        }
        Ok(log)
    }

    fn create_domain(&mut self, handle: [u8; 16], vcpus: u32, pages: u64) -> Result<DomId, Errno> {
        let config = XenDomctlCreatedomain {
            handle,
            flags: CreateFlags::HVM | CreateFlags::HAP,
            max_vcpus: vcpus,
            max_evtchn_port: MAX_EVTCHN_PORT,
            max_grant_frames: MAX_GRANT_FRAMES,
            max_maptrack_frames: MAX_MAPTRACK_FRAMES,
            arch: XenArchDomainconfig {
                emulation_flags: EmulationFlags::LAPIC,
                misc_flags: 0,
            },
            ..XenDomctlCreatedomain::default()
        };
        let domid = control::create_domain(None, &config)?;
        let limited = control::set_max_vcpus(domid, vcpus)
            .and_then(|()| control::set_max_memory(domid, pages.saturating_mul(PAGE_SIZE / 1024)));
        if let Err(errno) = limited {
            // The first error is the one that says something.
            let _ = control::destroy_domain(domid);
            return Err(errno);
        }
        Ok(domid)
    }

    fn destroy_domain(&mut self, domid: DomId) -> Result<(), Errno> {
        self.window.clear();
        control::destroy_domain(domid)
    }

    fn pause_domain(&mut self, domid: DomId) -> Result<(), Errno> {
        control::pause_domain(domid)
    }

    fn unpause_domain(&mut self, domid: DomId) -> Result<(), Errno> {
        // Nothing of a running domain stays mapped here.
        self.window.clear();
        control::unpause_domain(domid)
    }

    fn populate(&mut self, domid: DomId, range: Range) -> Result<(), Errno> {
        control::populate_range(domid, range.first_gfn(), range.frames())
    }

    fn set_memory_map(&mut self, domid: DomId, map: &MemoryMap) -> Result<(), Errno> {
        let map = map.iter();
        let map: Vec<E820Entry> = map
            .map(|e| E820Entry::new(e.range.start, e.range.size, e.kind as u32))
            .collect();
        control::set_memory_map(domid, &map)
    }

    fn write_memory(&mut self, domid: DomId, gpa: u64, bytes: &[u8]) -> Result<(), Errno> {
        let mut gfn = gpa / PAGE_SIZE;
        let mut offset = (gpa % PAGE_SIZE) as usize;
        let mut rest = bytes;
        while !rest.is_empty() {
            let wanted = (offset + rest.len())
                .div_ceil(PAGE_SIZE as usize)
                .min(WINDOW_PAGES);
            let gfns: Vec<u64> = (gfn..).take(wanted).collect();
            let room = wanted * PAGE_SIZE as usize - offset;
            let (now, later) = rest.split_at(rest.len().min(room));
            let view = self.window.map(domid, &gfns)?;
            view.write_bytes(offset, now).map_err(|_| Errno::EFAULT)?;
            rest = later;
            gfn += wanted as u64;
            offset = 0;
        }
        Ok(())
    }

    fn seed_grants(&mut self, domid: DomId, grants: &[(u32, DomId, u64)]) -> Result<(), Errno> {
        control::seed_grants(&mut self.window, domid, SCRATCH_GFN, grants)
    }

    fn hvm_param(&mut self, domid: DomId, index: u32) -> Result<u64, Errno> {
        control::get_param(domid, index)
    }

    fn set_hvm_param(&mut self, domid: DomId, index: u32, value: u64) -> Result<(), Errno> {
        control::set_param(domid, index, value)
    }

    fn alloc_unbound(&mut self, domid: DomId, remote: DomId) -> Result<u32, Errno> {
        event::alloc_unbound_for(domid, remote)
    }

    fn set_vcpu(&mut self, domid: DomId, state: &VcpuState) -> Result<(), Errno> {
        control::set_cpu_context(domid, &cpu_record(state))
    }

    fn shutdown_machine(&mut self, reason: u32) -> Errno {
        event::shutdown(reason)
    }
}

fn zero_terminated(bytes: &[u8]) -> String {
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}
