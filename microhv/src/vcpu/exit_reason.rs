//! Why a virtual CPU left guest mode.

/// One access to an I/O port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoAccess {
    /// First port.
    pub port: u16,
    /// Width in bytes: 1, 2 or 4.
    pub size: u8,
    /// True for IN and INS.
    pub input: bool,
    /// INS or OUTS.
    pub string: bool,
    /// With a REP prefix.
    pub repeat: bool,
    /// Width of the address and count registers in bytes (2, 4 or 8) of a string instruction.
    pub address_size: u8,
}

/// What a guest did when its second-level table stopped it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultAccess {
    /// It wrote.
    pub write: bool,
    /// It fetched an instruction.
    pub execute: bool,
    /// The page is mapped, only not for this kind of access.
    pub present: bool,
}

/// Why [`super::VirtualCpu::run`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// A physical interrupt is pending on this CPU.
    HostInterrupt,
    /// A physical NMI is pending on this CPU.
    HostNmi,
    /// The guest can take an interrupt now.
    InterruptWindow,
    /// The hypercall instruction, at any privilege level.
    Hypercall,
    /// HLT.
    Halt,
    /// CPUID.
    Cpuid,
    /// RDMSR of register ecx.
    ReadMsr(u32),
    /// WRMSR of register ecx with edx:eax.
    WriteMsr(u32, u64),
    /// IN, OUT, INS or OUTS.
    Io(IoAccess),
    /// XSETBV.
    SetXcr,
    /// INVD, WBINVD.
    CacheFlush,
    /// RDPMC.
    ReadCounter,
    /// An instruction that the guest's CPU does not have.
    UndefinedInstruction,
    /// An intercepted exception: vector and error code (0 where it has none).
    Exception(u8, u32),
    /// A guest-physical access that the second-level table does not allow.
    SecondLevelFault {
        /// Guest-physical address, bytes.
        gpa: u64,
        /// The kind of access.
        access: FaultAccess,
    },
    /// Triple fault.
    Shutdown,
    /// The hardware refused the guest's state.
    EntryFailed,
    /// Anything else: the hardware's own code and information fields.
    Unexpected {
        /// Exit code.
        code: u64,
        /// First information field.
        info1: u64,
        /// Second information field.
        info2: u64,
    },
}

/// The classes in which exits are counted, per vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "as in Exit")]
pub enum ExitReason {
    HostInterrupt,
    HostNmi,
    InterruptWindow,
    Hypercall,
    Halt,
    Cpuid,
    ReadMsr,
    WriteMsr,
    Io,
    SetXcr,
    CacheFlush,
    ReadCounter,
    UndefinedInstruction,
    Exception,
    SecondLevelFault,
    Shutdown,
    EntryFailed,
    Unexpected,
}

/// Number of [`ExitReason`]s.
pub const EXIT_REASONS: usize = 18;

/// Names of the reasons, by [`ExitReason`] as an index.
pub const EXIT_NAMES: [&str; EXIT_REASONS] = [
    "interrupt",
    "nmi",
    "window",
    "hypercall",
    "hlt",
    "cpuid",
    "rdmsr",
    "wrmsr",
    "io",
    "xsetbv",
    "wbinvd",
    "rdpmc",
    "undefined",
    "exception",
    "fault",
    "shutdown",
    "entry-failed",
    "unexpected",
];

impl Exit {
    /// The class in which this exit is counted.
    #[must_use]
    pub const fn reason(&self) -> ExitReason {
        match self {
            Self::HostInterrupt => ExitReason::HostInterrupt,
            Self::HostNmi => ExitReason::HostNmi,
            Self::InterruptWindow => ExitReason::InterruptWindow,
            Self::Hypercall => ExitReason::Hypercall,
            Self::Halt => ExitReason::Halt,
            Self::Cpuid => ExitReason::Cpuid,
            Self::ReadMsr(_) => ExitReason::ReadMsr,
            Self::WriteMsr(..) => ExitReason::WriteMsr,
            Self::Io(_) => ExitReason::Io,
            Self::SetXcr => ExitReason::SetXcr,
            Self::CacheFlush => ExitReason::CacheFlush,
            Self::ReadCounter => ExitReason::ReadCounter,
            Self::UndefinedInstruction => ExitReason::UndefinedInstruction,
            Self::Exception(..) => ExitReason::Exception,
            Self::SecondLevelFault { .. } => ExitReason::SecondLevelFault,
            Self::Shutdown => ExitReason::Shutdown,
            Self::EntryFailed => ExitReason::EntryFailed,
            Self::Unexpected { .. } => ExitReason::Unexpected,
        }
    }
}

impl ExitReason {
    /// The class under which counter number `index` (an [`ExitReason`] as a number) goes to Domain-0.
    #[must_use]
    pub fn published(index: usize) -> xen_abi::microhv::ExitReason {
        use xen_abi::microhv::ExitReason as Public;
        const PUBLISHED: [Public; EXIT_REASONS] = {
            let mut table = [Public::Other; EXIT_REASONS];
            table[ExitReason::HostInterrupt as usize] = Public::Interrupt;
            table[ExitReason::HostNmi as usize] = Public::Nmi;
            table[ExitReason::InterruptWindow as usize] = Public::InterruptWindow;
            table[ExitReason::Hypercall as usize] = Public::Hypercall;
            table[ExitReason::Halt as usize] = Public::Halt;
            table[ExitReason::Cpuid as usize] = Public::Cpuid;
            table[ExitReason::ReadMsr as usize] = Public::MsrRead;
            table[ExitReason::WriteMsr as usize] = Public::MsrWrite;
            table[ExitReason::Io as usize] = Public::IoPort;
            table[ExitReason::SetXcr as usize] = Public::Xsetbv;
            table[ExitReason::CacheFlush as usize] = Public::Wbinvd;
            table[ExitReason::UndefinedInstruction as usize] = Public::Forbidden;
            table[ExitReason::Exception as usize] = Public::Exception;
            table[ExitReason::SecondLevelFault as usize] = Public::NestedPageFault;
            table[ExitReason::Shutdown as usize] = Public::Shutdown;
            table
        };
        PUBLISHED.get(index).copied().unwrap_or(Public::Other)
    }

    /// A short name for tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        EXIT_NAMES.get(self as usize).copied().unwrap_or("?")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_name() {
        assert_eq!(ExitReason::Unexpected as usize + 1, EXIT_REASONS);
        assert_eq!(ExitReason::HostInterrupt.name(), "interrupt");
        assert_eq!(ExitReason::SecondLevelFault.name(), "fault");
        assert_eq!(ExitReason::Unexpected.name(), "unexpected");
    }
}
