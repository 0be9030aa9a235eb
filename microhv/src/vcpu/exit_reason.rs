//! Why a virtual CPU left guest mode.

pub use xen_abi::microhv::ExitReason;

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
    /// A physical interrupt is pending on this CPU, or is acknowledged and waits for its handler: its vector.
    HostInterrupt(Option<u8>),
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
    /// The guest sent itself an illegal interrupt: nothing is to be done, and the instruction is over.
    ApicWrite,
    /// RDMSR of register ecx.
    ReadMsr(u32),
    /// WRMSR of register ecx with edx:eax.
    WriteMsr(u32, u64),
    /// IN, OUT, INS or OUTS.
    Io(IoAccess),
    /// XSETBV.
    SetXcr,
    /// MOV to CR8, while an interrupt waits.
    WriteTaskPriority,
    /// A write of a control register that the backend dealt with.
    ControlRegister,
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

/// Number of classes in which exits are counted.
pub const EXIT_REASONS: usize = ExitReason::ALL.len();

impl Exit {
    /// The class in which this exit is counted.
    pub const fn reason(&self) -> ExitReason {
        match self {
            Self::HostInterrupt(_) => ExitReason::Interrupt,
            Self::HostNmi => ExitReason::Nmi,
            Self::InterruptWindow => ExitReason::InterruptWindow,
            Self::Hypercall => ExitReason::Hypercall,
            Self::Halt => ExitReason::Halt,
            Self::Cpuid => ExitReason::Cpuid,
            Self::ReadMsr(_) => ExitReason::MsrRead,
            Self::WriteMsr(..) | Self::ApicWrite => ExitReason::MsrWrite,
            Self::Io(_) => ExitReason::IoPort,
            Self::SetXcr => ExitReason::Xsetbv,
            Self::WriteTaskPriority | Self::ControlRegister => ExitReason::ControlRegister,
            Self::CacheFlush => ExitReason::Wbinvd,
            Self::ReadCounter | Self::UndefinedInstruction => ExitReason::Forbidden,
            Self::Exception(..) => ExitReason::Exception,
            Self::SecondLevelFault { .. } => ExitReason::NestedPageFault,
            Self::Shutdown => ExitReason::Shutdown,
            Self::EntryFailed | Self::Unexpected { .. } => ExitReason::Other,
        }
    }
}
