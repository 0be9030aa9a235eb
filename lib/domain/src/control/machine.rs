//! Machine-wide information: sysctl, version, microhv's counters.
#![expect(unsafe_code, reason = "hypercalls with buffers")]

use crate::hypercall;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use xen_abi::domctl::XenDomctlGetdomaininfo;
use xen_abi::microhv::{Exits, Holdings, Info, MICROHV_EXITS, MICROHV_HOLDINGS, MICROHV_INFO};
use xen_abi::sysctl::*;
use xen_abi::version::*;
use xen_abi::{DomId, Errno};

/// Every domain, by ascending id.
pub fn domains() -> Result<Vec<XenDomctlGetdomaininfo>, Errno> {
    const BATCH: usize = 32;
    let mut all: Vec<XenDomctlGetdomaininfo> = Vec::new();
    let mut buffer = vec![XenDomctlGetdomaininfo::default(); BATCH];
    let mut first_domain: DomId = 0;
    loop {
        let arm = XenSysctlGetdomaininfolist {
            first_domain,
            max_domains: BATCH as u32,
            buffer: buffer.as_mut_ptr() as u64,
            ..Default::default()
        };
        let mut request = Sysctl::new(XEN_SYSCTL_GETDOMAININFOLIST).with(&arm);
        // SAFETY: the buffer is borrowed mutably and has as many elements as said.
        unsafe { hypercall::sysctl(&mut request) }?;
        let count = (request.get::<XenSysctlGetdomaininfolist>().num_domains as usize).min(BATCH);
        all.extend_from_slice(&buffer[..count]);
        match all.last() {
            Some(last) if count == BATCH && last.domain < DomId::MAX => {
                first_domain = last.domain + 1
            }
            _ => return Ok(all),
        }
    }
}

/// CPUs, memory, capabilities.
pub fn physinfo() -> Result<XenSysctlPhysinfo, Errno> {
    let mut request = Sysctl::new(XEN_SYSCTL_PHYSINFO).with(&XenSysctlPhysinfo::default());
    // SAFETY: the structure carries no address.
    unsafe { hypercall::sysctl(&mut request) }?;
    Ok(request.get())
}

/// Idle nanoseconds of each CPU, at most `max_cpus`.
pub fn cpu_idle_times(max_cpus: usize) -> Result<Vec<u64>, Errno> {
    let mut buffer = vec![XenSysctlCpuinfo::default(); max_cpus];
    let arm = XenSysctlGetcpuinfo {
        max_cpus: max_cpus as u32,
        info: buffer.as_mut_ptr() as u64,
        ..Default::default()
    };
    let mut request = Sysctl::new(XEN_SYSCTL_GETCPUINFO).with(&arm);
    // SAFETY: the buffer is borrowed mutably and has as many elements as said.
    unsafe { hypercall::sysctl(&mut request) }?;
    let count = (request.get::<XenSysctlGetcpuinfo>().nr_cpus as usize).min(max_cpus);
    Ok(buffer[..count].iter().map(|cpu| cpu.idletime).collect())
}

/// Reads the hypervisor's log ring into `buffer`: from `index` on (what the last call returned), or with `None` from the oldest byte.
/// Returns the number of bytes and the index to go on at; 0 bytes: that was all.
pub fn read_log(index: Option<u32>, clear: bool, buffer: &mut [u8]) -> Result<(usize, u32), Errno> {
    let arm = XenSysctlReadconsole {
        clear: u8::from(clear),
        incremental: u8::from(index.is_some()),
        index: index.unwrap_or(0),
        buffer: buffer.as_mut_ptr() as u64,
        count: u32::try_from(buffer.len()).unwrap_or(u32::MAX),
        ..Default::default()
    };
    let mut request = Sysctl::new(XEN_SYSCTL_READCONSOLE).with(&arm);
    // SAFETY: the buffer is borrowed mutably and at least as long as said.
    unsafe { hypercall::sysctl(&mut request) }?;
    let reply: XenSysctlReadconsole = request.get();
    Ok(((reply.count as usize).min(buffer.len()), reply.index))
}

/// A domain's counters of exits, hypercalls, events and grants.
pub fn exits(domid: DomId) -> Result<Exits, Errno> {
    let mut op = Exits {
        domid,
        ..Default::default()
    };
    // SAFETY: the structure carries no address.
    unsafe { hypercall::microhv_op(MICROHV_EXITS, &mut op) }?;
    Ok(op)
}

/// What a domain holds now.
pub fn holdings(domid: DomId) -> Result<Holdings, Errno> {
    let mut op = Holdings {
        domid,
        ..Default::default()
    };
    // SAFETY: the structure carries no address.
    unsafe { hypercall::microhv_op(MICROHV_HOLDINGS, &mut op) }?;
    Ok(op)
}

/// The hypervisor's own size.
pub fn hypervisor_info() -> Result<Info, Errno> {
    let mut op = Info::default();
    // SAFETY: the structure carries no address.
    unsafe { hypercall::microhv_op(MICROHV_INFO, &mut op) }?;
    Ok(op)
}

/// Major and minor version of the interface.
pub fn version() -> Result<(u16, u16), Errno> {
    // SAFETY: the command reads no argument.
    let version = unsafe { hypercall::xen_version(XENVER_VERSION, &mut 0_u64) }?;
    Ok(((version >> 16) as u16, version as u16))
}

/// A version string: `XENVER_EXTRAVERSION`, `XENVER_CAPABILITIES`, `XENVER_CHANGESET` or `XENVER_COMMANDLINE`; others are `EINVAL`.
pub fn version_text(cmd: u32) -> Result<String, Errno> {
    // Longer than any of them: nothing is written outside.
    let mut buffer = [0_u8; XEN_CAPABILITIES_INFO_LEN];
    if !matches!(
        cmd,
        XENVER_EXTRAVERSION | XENVER_CAPABILITIES | XENVER_CHANGESET | XENVER_COMMANDLINE
    ) {
        return Err(Errno::EINVAL);
    }
    // SAFETY: the command writes at most 1024 bytes.
    unsafe { hypercall::xen_version(cmd, &mut buffer) }?;
    let length = buffer
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(buffer.len());
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// Compiler and date of the hypervisor.
pub fn compile_info() -> Result<CompileInfo, Errno> {
    let mut info = CompileInfo::default();
    // SAFETY: the structure is the command's.
    unsafe { hypercall::xen_version(XENVER_COMPILE_INFO, &mut info) }?;
    Ok(info)
}
