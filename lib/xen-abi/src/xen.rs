//! Domain ids, VIRQs and the shared pages (`xen.h`, `arch-x86/xen.h`, `arch-x86/xen-x86_64.h`).

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A domain's number.
pub type DomId = u16;

abi_numbers! { DomId;
    DOMID_FIRST_RESERVED = 0x7ff0;
    /// The calling domain.
    DOMID_SELF = 0x7ff0;
    DOMID_IO = 0x7ff1;
    DOMID_XEN = 0x7ff2;
    DOMID_COW = 0x7ff3;
    DOMID_INVALID = 0x7ff4;
    DOMID_ANY = 0x7ff5;
    DOMID_IDLE = 0x7fff;
}

abi_numbers! { u32;
    VIRQ_TIMER = 0;
    VIRQ_DEBUG = 1;
    /// Bytes from the operator's console wait for `CONSOLEIO_read`.
    VIRQ_CONSOLE = 2;
    /// A domain shut down or died (control domain).
    VIRQ_DOM_EXC = 3;
    VIRQ_TBUF = 4;
    VIRQ_DEBUGGER = 6;
    VIRQ_XENOPROF = 7;
    /// New bytes in the hypervisor's log ring.
    VIRQ_CON_RING = 8;
    VIRQ_PCPU_STATE = 9;
    VIRQ_MEM_EVENT = 10;
    VIRQ_ARGO = 11;
    VIRQ_ENOMEM = 12;
    VIRQ_XENPMU = 13;
    VIRQ_ARCH_0 = 16;
    NR_VIRQS = 24;
}

/// Console I/O commands of `HYPERVISOR_console_io(cmd, count, buffer)`.
pub const CONSOLEIO_WRITE: u32 = 0;
/// Reads up to `count` bytes of operator input; returns the number read.
pub const CONSOLEIO_READ: u32 = 1;

abi_numbers! { u32;
    VMASST_CMD_ENABLE = 0;
    VMASST_CMD_DISABLE = 1;
    VMASST_TYPE_RUNSTATE_UPDATE_FLAG = 5;
}

/// vCPUs that have a `vcpu_info` inside `shared_info`.
pub const XEN_LEGACY_MAX_VCPUS: usize = 32;

/// A guest page is 4 KiB, whatever the mapping underneath.
pub const PAGE_SHIFT: u32 = 12;
/// Bytes of a guest page.
pub const PAGE_SIZE: usize = 4096;

abi_flags! {
    /// `vcpu_time_info.flags`.
    pub struct PvclockFlags: u8 {
        /// All vCPUs' clocks agree: no monotonicity fix-up is needed across vCPUs.
        const TSC_STABLE_BIT = 1 << 0;
        const GUEST_STOPPED = 1 << 1;
    }

    /// `hvm_start_info.flags`.
    pub struct SifFlags: u32 {
        const PRIVILEGED = 1 << 0;
        const INITDOMAIN = 1 << 1;
        const MULTIBOOT_MOD = 1 << 2;
        const MOD_START_PFN = 1 << 3;
        const VIRT_P2M_4TOOLS = 1 << 4;
    }
}

abi_struct! {
    /// The paravirtual clock of one vCPU (`struct vcpu_time_info`).
    ///
    /// `time = system_time + (((tsc - tsc_timestamp) << tsc_shift) * tsc_to_system_mul >> 32)` nanoseconds since boot;
    /// a negative shift shifts right. An odd `version` means an update is under way.
    pub struct VcpuTimeInfo {
        version: u32,
        _pad0: u32,
        tsc_timestamp: u64,
        system_time: u64,
        tsc_to_system_mul: u32,
        tsc_shift: i8,
        flags: PvclockFlags,
        _pad1: [u8; 2],
    }

    /// `struct arch_vcpu_info`.
    pub struct ArchVcpuInfo {
        cr2: u64,
        _pad: u64,
    }

    /// `struct vcpu_info`: what one vCPU shares with the hypervisor.
    pub struct VcpuInfo {
        evtchn_upcall_pending: u8,
        evtchn_upcall_mask: u8,
        _pad: [u8; 6],
        evtchn_pending_sel: u64,
        arch: ArchVcpuInfo,
        time: VcpuTimeInfo,
    }

    /// `struct arch_shared_info` of x86.
    pub struct ArchSharedInfo {
        max_pfn: u64,
        pfn_to_mfn_frame_list_list: u64,
        nmi_reason: u64,
        p2m_cr3: u64,
        p2m_vaddr: u64,
        p2m_generation: u64,
    }

    /// `struct shared_info`: what a domain shares with the hypervisor. 64-bit guest's layout.
    pub struct SharedInfo {
        vcpu_info: [VcpuInfo; XEN_LEGACY_MAX_VCPUS],
        evtchn_pending: [u64; 64],
        evtchn_mask: [u64; 64],
        /// Odd while the wall clock is being written.
        wc_version: u32,
        /// Wall-clock time at system time zero: seconds since 1970 UTC, low 32 bits.
        wc_sec: u32,
        wc_nsec: u32,
        wc_sec_hi: u32,
        arch: ArchSharedInfo,
    }

    /// `struct xenctl_bitmap`: a bitmap in the caller's memory.
    pub struct XenctlBitmap {
        /// Guest address of the bytes.
        bitmap: u64,
        nr_bits: u32,
        _pad: u32,
    }

    /// `struct multicall_entry`, guest's view.
    pub struct MulticallEntry {
        op: u64,
        result: u64,
        args: [u64; 6],
    }
}

/// `xen_domain_handle_t`: a domain's UUID.
pub type DomainHandle = [u8; 16];

/// Reads an arm of a 128-byte union. Every arm of domctl and sysctl is at most that long: checked at compile time.
pub(crate) fn union_get<T: FromBytes>(union: &[u64; 16]) -> T {
    const { assert!(size_of::<T>() <= 128) };
    match T::read_from_prefix(union.as_bytes()) {
        Ok((arm, _)) => arm,
        // Not reached: the length is checked above, and `FromBytes` accepts any bytes.
        Err(_) => T::new_zeroed(),
    }
}

/// Writes an arm of a 128-byte union.
pub(crate) fn union_set<T: IntoBytes + Immutable>(union: &mut [u64; 16], arm: &T) {
    const { assert!(size_of::<T>() <= 128) };
    union.as_mut_bytes()[..size_of::<T>()].copy_from_slice(arm.as_bytes());
}

impl VcpuTimeInfo {
    /// Nanoseconds of system time at time-stamp counter value `tsc`. The caller has read the structure consistently
    /// (same even `version` before and after). A counter before `tsc_timestamp` counts as equal to it.
    pub fn system_time_at(&self, tsc: u64) -> u64 {
        let delta = tsc.saturating_sub(self.tsc_timestamp);
        let shift = u32::from(self.tsc_shift.unsigned_abs()).min(63);
        let scaled = if self.tsc_shift < 0 {
            delta >> shift
        } else {
            delta << shift
        };
        let nanoseconds = (u128::from(scaled) * u128::from(self.tsc_to_system_mul)) >> 32;
        self.system_time.wrapping_add(nanoseconds as u64)
    }

    /// The inverse for a frequency: `(tsc_to_system_mul, tsc_shift)` for a counter of `hertz`.
    pub fn scale_for_hertz(hertz: u64) -> (u32, i8) {
        // Shift the rate into [1 GHz, 2 GHz), so that the multiplier keeps 31 significant bits.
        let mut shift = 0_i8;
        let mut rate = hertz.max(1);
        while rate >= 2_000_000_000 {
            rate >>= 1;
            shift -= 1;
        }
        while rate < 1_000_000_000 {
            rate <<= 1;
            shift += 1;
        }
        (
            ((1_000_000_000_u128 << 32) / u128::from(rate)).min(u128::from(u32::MAX)) as u32,
            shift,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scaled_clock_counts_seconds() {
        for hertz in [
            1_000_u64,
            999_999_999,
            1_000_000_000,
            1_193_182,
            2_400_000_000,
            5_000_000_001,
        ] {
            let (tsc_to_system_mul, tsc_shift) = VcpuTimeInfo::scale_for_hertz(hertz);
            let time = VcpuTimeInfo {
                tsc_to_system_mul,
                tsc_shift,
                tsc_timestamp: 5,
                system_time: 7,
                ..Default::default()
            };
            let ns = time.system_time_at(5 + hertz * 10) - 7;
            assert!(ns.abs_diff(10_000_000_000) < 100, "{hertz} Hz: {ns} ns");
        }
    }

    #[test]
    fn a_counter_before_the_timestamp_does_not_wrap() {
        let time = VcpuTimeInfo {
            tsc_timestamp: 100,
            system_time: 42,
            tsc_to_system_mul: u32::MAX,
            ..Default::default()
        };
        assert_eq!(time.system_time_at(3), 42);
    }
}
