//! The architectural state in which a virtual CPU starts.

use super::Registers;

/// A segment register with its hidden part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Segment {
    /// The visible selector.
    pub selector: u16,
    /// Attributes packed as in the descriptor: type, S, DPL, P in bits 0-7; AVL, L, D/B, G in bits 8-11.
    pub attributes: u16,
    /// Limit in bytes (already scaled by G).
    pub limit: u32,
    /// Linear base.
    pub base: u64,
}

/// GDTR or IDTR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Limit in bytes.
    pub limit: u16,
    /// Linear base.
    pub base: u64,
}

/// Everything that defines where a vCPU starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the architecture's")]
pub struct CpuState {
    pub registers: Registers,
    pub cr0: u64,
    pub cr2: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub efer: u64,
    pub cs: Segment,
    pub ds: Segment,
    pub es: Segment,
    pub ss: Segment,
    pub fs: Segment,
    pub gs: Segment,
    pub ldtr: Segment,
    pub tr: Segment,
    pub gdtr: Table,
    pub idtr: Table,
}

/// CR0.PE.
pub const CR0_PE: u64 = 1 << 0;
/// CR0.ET, always one.
pub const CR0_ET: u64 = 1 << 4;
/// CR0.PG.
pub const CR0_PG: u64 = 1 << 31;
/// RFLAGS bit 1, always one.
pub const RFLAGS_ONE: u64 = 1 << 1;
/// EFER.LME.
pub const EFER_LME: u64 = 1 << 8;
/// EFER.LMA.
pub const EFER_LMA: u64 = 1 << 10;

/// CR0 after INIT: ET, NW, CD.
const CR0_INIT: u64 = 0x6000_0010;

const CODE32: u16 = 0xc9b;
const DATA32: u16 = 0xc93;
const CODE16: u16 = 0x09b;
const DATA16: u16 = 0x093;
const LDT: u16 = 0x082;
const TSS32_BUSY: u16 = 0x08b;

impl CpuState {
    /// The state the PVH boot protocol asks for (xen/include/public/arch-x86/hvm/start_info.h):
    /// 32-bit protected mode, paging off, flat segments, ebx = `start_info`.
    pub fn pvh(entry: u32, start_info: u32) -> Self {
        let data = Segment {
            selector: 0,
            attributes: DATA32,
            limit: u32::MAX,
            base: 0,
        };
        Self {
            registers: Registers {
                rip: entry.into(),
                rbx: start_info.into(),
                rflags: RFLAGS_ONE,
                ..Registers::default()
            },
            cr0: CR0_PE | CR0_ET,
            cr2: 0,
            cr3: 0,
            cr4: 0,
            efer: 0,
            cs: Segment {
                attributes: CODE32,
                ..data
            },
            ds: data,
            es: data,
            ss: data,
            fs: data,
            gs: data,
            ldtr: Segment {
                attributes: LDT,
                ..Segment::default()
            },
            tr: Segment {
                attributes: TSS32_BUSY,
                limit: 0x67,
                ..Segment::default()
            },
            gdtr: Table::default(),
            idtr: Table::default(),
        }
    }

    /// The state after INIT followed by a start-up IPI with `vector`: real mode at `vector`·4096.
    pub fn startup(vector: u8) -> Self {
        let data = Segment {
            selector: 0,
            attributes: DATA16,
            limit: 0xffff,
            base: 0,
        };
        Self {
            registers: Registers {
                rflags: RFLAGS_ONE,
                rdx: 0x600,
                ..Registers::default()
            },
            cr0: CR0_INIT,
            cs: Segment {
                selector: u16::from(vector) << 8,
                attributes: CODE16,
                limit: 0xffff,
                base: u64::from(vector) << 12,
            },
            ldtr: Segment {
                attributes: LDT,
                limit: 0xffff,
                ..Segment::default()
            },
            tr: Segment {
                attributes: TSS32_BUSY,
                limit: 0xffff,
                ..Segment::default()
            },
            gdtr: Table {
                limit: 0xffff,
                base: 0,
            },
            idtr: Table {
                limit: 0xffff,
                base: 0,
            },
            ds: data,
            es: data,
            ss: data,
            fs: data,
            gs: data,
            ..Self::pvh(0, 0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pvh_start_is_flat_protected_mode() {
        let state = CpuState::pvh(0x0100_0000, 0x2000);
        assert_eq!(state.registers.rip, 0x0100_0000);
        assert_eq!(state.registers.rbx, 0x2000);
        assert_eq!(state.cr0 & (CR0_PE | CR0_PG), CR0_PE);
        assert_eq!((state.cs.base, state.cs.limit), (0, u32::MAX));
    }

    #[test]
    fn startup_is_real_mode_at_the_vector() {
        let state = CpuState::startup(0x9a);
        assert_eq!(state.cs.base, 0x9a000);
        assert_eq!(state.cs.selector, 0x9a00);
        assert_eq!(state.registers.rip, 0);
        assert_eq!(state.cr0 & (CR0_PE | CR0_PG), 0);
    }
}
