//! microhv's own hypercall, number 60: `HYPERVISOR_microhv_op(cmd, arg)`. What Xen has no stable call for: device
//! assignment as our driver domains need it, and counters for performance work.
//!
//! `arg` is the guest address of the command's structure. Errors common to all: `ENOSYS` for an unknown command,
//! `EFAULT` for a bad address, `EPERM` where the caller may not ask.

use crate::event_channel::EvtchnPort;
use crate::hypercall::NR_HYPERCALLS;
use crate::xen::DomId;

abi_numbers! { u32;
    /// Describes the caller's `index`-th assigned PCI device ([`GetDevice`]); `ENOENT` when there are fewer.
    MICROHV_GET_DEVICE = 0;
    /// Binds an MSI-X table entry of an assigned device to a new event channel of the caller ([`MsixBind`]).
    /// `ENODEV`: not the caller's device. `EINVAL`: no such entry. `EBUSY`: bound already. Closing the port unbinds.
    MICROHV_MSIX_BIND = 1;
    /// Counters of one domain ([`Exits`]); control privilege.
    MICROHV_EXITS = 2;
    /// The hypervisor's own size ([`Info`]); control privilege.
    MICROHV_INFO = 3;
    /// What one domain holds now ([`Holdings`]); control privilege.
    MICROHV_HOLDINGS = 4;
}

/// Base-address registers of a device; a 64-bit one takes its own slot and leaves the next unused (size 0).
pub const NR_BARS: usize = 6;

abi_flags! {
    /// [`Bar`] flags.
    pub struct BarFlags: u32 {
        /// An I/O port range (not mapped: ports exit). Clear: memory, mapped at guest physical = host physical.
        const IO = 1 << 0;
        const PREFETCHABLE = 1 << 1;
        const BITS_64 = 1 << 2;
        /// The page or pages of the MSI-X table inside this BAR are not mapped (microhv writes the table).
        const MSIX_TABLE = 1 << 3;
    }
}

abi_struct! {
    /// One base-address register.
    pub struct Bar {
        /// Guest physical address (or port).
        gpa: u64,
        /// Bytes; 0: unused.
        size: u64,
        flags: BarFlags,
        _pad: u32,
    }

    /// Argument of `MICROHV_GET_DEVICE`: `index` in, the rest out.
    pub struct GetDevice {
        index: u32,
        /// Segment in bits 16 to 31, bus 8 to 15, device 3 to 7, function 0 to 2: the host's own.
        sbdf: u32,
        vendor: u16,
        device: u16,
        /// Class, subclass, programming interface, revision from bit 31 down, as at configuration offset 8.
        class: u32,
        /// MSI-X vectors; 0: none.
        msix_vectors: u32,
        _pad: u32,
        bars: [Bar; NR_BARS],
    }

    /// Argument of `MICROHV_MSIX_BIND`: `port` out. The entry is unmasked when the call returns; enabling MSI-X in the
    /// device's capability is microhv's work too.
    pub struct MsixBind {
        sbdf: u32,
        entry: u32,
        port: EvtchnPort,
        _pad: u32,
    }

    /// Argument of `MICROHV_EXITS`: `domid` in, the rest out. All counters count since the domain's creation.
    pub struct Exits {
        domid: DomId,
        _pad: [u16; 3],
        /// By [`ExitReason`].
        exits: [u64; NR_EXIT_REASONS],
        /// By hypercall number.
        hypercalls: [u64; NR_HYPERCALLS],
        /// Event channels of this domain made pending by others.
        events_received: u64,
        /// `EVTCHNOP_send` by this domain.
        events_sent: u64,
        /// Pages moved by `GNTTABOP_copy`.
        grant_copies: u64,
        /// Pages mapped by `GNTTABOP_map_grant_ref`.
        grant_maps: u64,
        /// Interrupts posted to a vCPU while it was in guest mode on another CPU.
        interrupts_posted: u64,
    }

    /// Argument of `MICROHV_HOLDINGS`: `domid` in, the rest out.
    pub struct Holdings {
        domid: DomId,
        _pad: u16,
        /// Event channels that are not free.
        ports: u32,
        /// Entries of its grant table that others use now.
        grants_used: u32,
        /// Pages of others that it has mapped.
        grants_mapped: u32,
        /// Pages of its own memory.
        pages: u64,
    }

    /// Argument of `MICROHV_INFO`: all out.
    pub struct Info {
        /// Bytes of the hypervisor's image in memory.
        image_bytes: u64,
        /// Bytes it uses for itself, image included, page tables of domains and IOMMU not.
        used_bytes: u64,
        /// Bytes of second-level and IOMMU page tables.
        page_table_bytes: u64,
        /// Bytes of RAM of the machine.
        total_bytes: u64,
    }
}

macro_rules! exit_reasons {
    ($( $(#[$meta:meta])* $name:ident = $value:expr, $text:expr; )*) => {
        /// Why a vCPU left guest mode, in vendor-neutral terms.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum ExitReason { $( $(#[$meta])* $name = $value, )* }

        impl ExitReason {
            /// Every reason, in the order of the counters.
            pub const ALL: &'static [ExitReason] = &[ $( ExitReason::$name, )* ];

            /// The name to print.
            pub const fn name(self) -> &'static str {
                match self { $( ExitReason::$name => $text, )* }
            }
        }
    };
}

exit_reasons! {
    /// A hypercall.
    Hypercall = 0, "hypercall";
    /// CPUID.
    Cpuid = 1, "cpuid";
    /// RDMSR.
    MsrRead = 2, "msr-read";
    /// WRMSR.
    MsrWrite = 3, "msr-write";
    /// IN, OUT and their string forms.
    IoPort = 4, "io-port";
    /// HLT.
    Halt = 5, "hlt";
    /// A physical interrupt.
    Interrupt = 6, "interrupt";
    /// The guest became able to take an interrupt.
    InterruptWindow = 7, "interrupt-window";
    /// A second-level page fault.
    NestedPageFault = 8, "nested-page-fault";
    /// An intercepted exception.
    Exception = 9, "exception";
    /// A control-register access.
    ControlRegister = 10, "control-register";
    /// A non-maskable interrupt.
    Nmi = 11, "nmi";
    /// PAUSE in a loop.
    Pause = 12, "pause";
    /// WBINVD or INVD.
    Wbinvd = 13, "wbinvd";
    /// XSETBV.
    Xsetbv = 14, "xsetbv";
    /// A triple fault or shutdown.
    Shutdown = 15, "shutdown";
    /// An instruction that guests may not use (VMRUN, VMXON, MONITOR and the like).
    Forbidden = 16, "forbidden-instruction";
    /// INIT, SIPI and task switches.
    Startup = 17, "startup";
    /// Anything else.
    Other = 18, "other";
}

/// Type of a partition that is a volume's, or is to be, but may still hold what was on its sectors before (as bytes of the
/// GUID partition table: 6876726d-6f68-7675-a5e0-776970656d65). No domain but Domain-0, which fills it with zeros, gets it.
pub const VOLUME_UNWIPED: [u8; 16] = [
    0x6d, 0x72, 0x76, 0x68, 0x68, 0x6f, 0x75, 0x76, 0xa5, 0xe0, 0x77, 0x69, 0x70, 0x65, 0x6d, 0x65,
];

/// Slots of [`Exits::exits`]; those after the last reason are zero.
pub const NR_EXIT_REASONS: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    #[test]
    fn layouts_are_fixed() {
        assert_eq!(size_of::<Bar>(), 24);
        assert_eq!(size_of::<GetDevice>(), 24 + 6 * 24);
        assert_eq!(offset_of!(GetDevice, bars), 24);
        assert_eq!(size_of::<MsixBind>(), 16);
        assert_eq!(offset_of!(MsixBind, port), 8);
        assert_eq!(size_of::<Exits>(), 8 + 24 * 8 + 64 * 8 + 5 * 8);
        assert_eq!(offset_of!(Exits, hypercalls), 200);
        assert_eq!(size_of::<Info>(), 32);
        assert_eq!(size_of::<Holdings>(), 24);
    }

    #[test]
    fn every_reason_has_its_counter() {
        for (index, reason) in ExitReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
        assert!(ExitReason::ALL.len() <= NR_EXIT_REASONS);
    }
}
