//! The state in which vCPU 0 of a PVH domain starts.

/// A segment register, with attributes as `hvm_hw_cpu` has them (and AMD's VMCB): the 12 bits
/// type, S, DPL, P (0 to 7) and AVL, L, D/B, G (8 to 11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentRegister {
    /// Visible selector.
    pub selector: u16,
    /// Attributes.
    pub attributes: u16,
    /// Last valid offset, in bytes.
    pub limit: u32,
    /// Linear address of the segment.
    pub base: u64,
}

/// Registers of a vCPU that is about to run; all others are zero.
///
/// Source: Xen `docs/misc/pvh.pandoc`, section "CPU state".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VcpuState {
    /// Instruction pointer.
    pub rip: u64,
    /// Guest-physical address of `hvm_start_info`.
    pub rbx: u64,
    /// Only the reserved bit 1 is set.
    pub rflags: u64,
    /// PE and ET.
    pub cr0: u64,
    /// Value of CR4.
    pub cr4: u64,
    /// Value of IA32_EFER.
    pub efer: u64,
    /// 32-bit code segment, flat.
    pub cs: SegmentRegister,
    /// DS, ES, SS (and FS, GS): 32-bit data, flat.
    pub data: SegmentRegister,
    /// 32-bit busy TSS, limit 0x67.
    pub tr: SegmentRegister,
    /// Not present.
    pub ldtr: SegmentRegister,
    /// Reset value of DR6.
    pub dr6: u64,
    /// Reset value of DR7.
    pub dr7: u64,
}

impl VcpuState {
    /// 32-bit protected mode without paging at `entry`, EBX = `start_info`.
    #[must_use]
    pub fn pvh_entry(entry: u32, start_info: u32) -> Self {
        const CR0_PE: u64 = 1 << 0;
        const CR0_ET: u64 = 1 << 4;
        Self {
            rip: entry.into(),
            rbx: start_info.into(),
            rflags: 1 << 1,
            cr0: CR0_PE | CR0_ET,
            cr4: 0,
            efer: 0,
            cs: flat(0xc9b),
            data: flat(0xc93),
            tr: SegmentRegister {
                attributes: 0x08b,
                limit: 0x67,
                ..SegmentRegister::default()
            },
            ldtr: SegmentRegister {
                attributes: 0x082,
                ..SegmentRegister::default()
            },
            dr6: 0xffff_0ff0,
            dr7: 0x0000_0400,
        }
    }
}

fn flat(attributes: u16) -> SegmentRegister {
    SegmentRegister {
        attributes,
        limit: u32::MAX,
        ..SegmentRegister::default()
    }
}
