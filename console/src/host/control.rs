//! The control privilege: what Domain-0 asks of the hypervisor.

use alloc::string::String;
use alloc::vec::Vec;
use pvh::{MemoryMap, Range, VcpuState};
use xen_abi::domctl::{XenDomctlGetdomaininfo, XenDomctlGetvcpuinfo};
use xen_abi::microhv::{Exits, Holdings, Info};
use xen_abi::sysctl::XenSysctlPhysinfo;
use xen_abi::xen::DomainHandle;
use xen_abi::{DomId, Errno};

/// The answers of `HYPERVISOR_xen_version`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// Major number.
    pub major: u16,
    /// Minor number.
    pub minor: u16,
    /// What follows the numbers.
    pub extra: String,
    /// `xen_caps`.
    pub capabilities: String,
    /// Revision of the source.
    pub changeset: String,
    /// `xen_cmdline`.
    pub commandline: String,
    /// Compiler.
    pub compiler: String,
    /// Who compiled it.
    pub compile_by: String,
    /// Where.
    pub compile_domain: String,
    /// When.
    pub compile_date: String,
}

/// Control hypercalls. All errors are the hypervisor's.
#[allow(clippy::missing_errors_doc, reason = "said once, above")]
pub trait Control {
    /// All domains, in the order of their numbers.
    fn domains(&mut self) -> Result<Vec<XenDomctlGetdomaininfo>, Errno>;
    /// One domain; `ESRCH` if it does not exist.
    fn domain(&mut self, domid: DomId) -> Result<XenDomctlGetdomaininfo, Errno>;
    /// One vCPU.
    fn vcpu(&mut self, domid: DomId, vcpu: u32) -> Result<XenDomctlGetvcpuinfo, Errno>;
    /// CPUs on which a vCPU may run, bit by bit: hard affinity.
    fn affinity(&mut self, domid: DomId, vcpu: u32) -> Result<u64, Errno>;
    /// Sets the hard affinity.
    fn set_affinity(&mut self, domid: DomId, vcpu: u32, cpus: u64) -> Result<(), Errno>;
    /// Sets the share of the CPUs (256 is usual) and the cap in percent of one (0: none).
    fn set_weight(&mut self, domid: DomId, weight: u16, cap: u16) -> Result<(), Errno>;
    /// The share of the CPUs that [`Control::set_weight`] sets.
    fn weight(&mut self, domid: DomId) -> Result<u16, Errno>;
    /// How many pages it may have from now on; what it has stays.
    fn set_max_pages(&mut self, domid: DomId, pages: u64) -> Result<(), Errno>;
    /// Sends one of `XEN_DOMCTL_SENDTRIGGER_*` to a vCPU.
    fn trigger(&mut self, domid: DomId, vcpu: u32, trigger: u32) -> Result<(), Errno>;
    /// The machine.
    fn physinfo(&mut self) -> Result<XenSysctlPhysinfo, Errno>;
    /// The hypervisor's version.
    fn version(&mut self) -> Version;
    /// The hypervisor's own size.
    fn microhv_info(&mut self) -> Result<Info, Errno>;
    /// A domain's counters.
    fn exits(&mut self, domid: DomId) -> Result<Exits, Errno>;
    /// What a domain holds now.
    fn holdings(&mut self, domid: DomId) -> Result<Holdings, Errno>;
    /// The hypervisor's log; empties it if `clear`.
    fn log(&mut self, clear: bool) -> Result<Vec<u8>, Errno>;

    /// Makes an empty, paused domain with `vcpus` vCPUs that may have `pages` pages.
    fn create_domain(
        &mut self,
        handle: DomainHandle,
        vcpus: u32,
        pages: u64,
    ) -> Result<DomId, Errno>;
    /// Ends a domain and frees all it has.
    fn destroy_domain(&mut self, domid: DomId) -> Result<(), Errno>;
    /// One more reason not to run.
    fn pause_domain(&mut self, domid: DomId) -> Result<(), Errno>;
    /// One reason fewer.
    fn unpause_domain(&mut self, domid: DomId) -> Result<(), Errno>;
    /// Backs a range of a domain's address space with zeroed memory.
    fn populate(&mut self, domid: DomId, range: Range) -> Result<(), Errno>;
    /// What `XENMEM_memory_map` tells the domain.
    fn set_memory_map(&mut self, domid: DomId, map: &MemoryMap) -> Result<(), Errno>;
    /// Writes into a domain's populated memory.
    fn write_memory(&mut self, domid: DomId, gpa: u64, bytes: &[u8]) -> Result<(), Errno>;
    /// Fills in grant-table entries before the domain runs: (reference, who may map, frame).
    fn seed_grants(&mut self, domid: DomId, grants: &[(u32, DomId, u64)]) -> Result<(), Errno>;
    /// Reads an HVM parameter.
    fn hvm_param(&mut self, domid: DomId, index: u32) -> Result<u64, Errno>;
    /// Sets an HVM parameter.
    fn set_hvm_param(&mut self, domid: DomId, index: u32, value: u64) -> Result<(), Errno>;
    /// Makes a port in `domid` to which `remote` may bind.
    fn alloc_unbound(&mut self, domid: DomId, remote: DomId) -> Result<u32, Errno>;
    /// The state in which vCPU 0 starts.
    fn set_vcpu(&mut self, domid: DomId, state: &VcpuState) -> Result<(), Errno>;
    /// Shuts the machine down with one of `SHUTDOWN_*`; returns only if that fails.
    fn shutdown_machine(&mut self, reason: u32) -> Errno;
}
