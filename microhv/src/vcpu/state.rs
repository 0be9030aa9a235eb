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

impl Segment {
    /// One with these parts.
    pub const fn new(selector: u16, attributes: u16, limit: u32, base: u64) -> Self {
        Self {
            selector,
            attributes,
            limit,
            base,
        }
    }
}

/// Segment and table registers; of GDTR and IDTR only limit and base count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the architecture's")]
pub struct Segments {
    pub es: Segment,
    pub cs: Segment,
    pub ss: Segment,
    pub ds: Segment,
    pub fs: Segment,
    pub gs: Segment,
    pub gdtr: Segment,
    pub ldtr: Segment,
    pub idtr: Segment,
    pub tr: Segment,
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
    /// What the tables of PAE paging begin with, if the state has that.
    pub pdptes: [u64; 4],
    pub efer: u64,
    pub segments: Segments,
}

/// CR0.PE.
pub const CR0_PE: u64 = 1 << 0;
/// CR0.ET, always one.
pub const CR0_ET: u64 = 1 << 4;
/// CR0.PG.
pub const CR0_PG: u64 = 1 << 31;
/// CR4.PAE.
pub const CR4_PAE: u64 = 1 << 5;
/// RFLAGS bit 1, always one.
pub const RFLAGS_ONE: u64 = 1 << 1;
/// RFLAGS.IF.
pub const RFLAGS_IF: u64 = 1 << 9;
/// EFER.LME.
pub const EFER_LME: u64 = 1 << 8;
/// EFER.LMA.
pub const EFER_LMA: u64 = 1 << 10;
/// The PAT register after reset (AMD64 manual, volume 2, 7.8.2).
pub const PAT_RESET: u64 = 0x0007_0406_0007_0406;

/// Each of its eight entries is a memory type that exists.
pub fn is_pat(value: u64) -> bool {
    let mut entries = value.to_le_bytes().into_iter();
    entries.all(|entry| matches!(entry, 0 | 1 | 4..=7))
}

/// #DB and #AC, of which a guest can make an endless chain that never leaves guest mode, and #MC, which is the host's:
/// the exceptions that exit, by number.
pub const EXCEPTIONS: u32 = 1 << 1 | 1 << 17 | 1 << 18;

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
        let data = Segment::new(0, DATA32, u32::MAX, 0);
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
            pdptes: [0; 4],
            efer: 0,
            segments: Segments {
                cs: Segment::new(0, CODE32, u32::MAX, 0),
                ds: data,
                es: data,
                ss: data,
                fs: data,
                gs: data,
                ldtr: Segment::new(0, LDT, 0, 0),
                tr: Segment::new(0, TSS32_BUSY, 0x67, 0),
                ..Segments::default()
            },
        }
    }

    /// The state after INIT followed by a start-up IPI with `vector`: real mode at `vector`·4096.
    pub fn startup(vector: u8) -> Self {
        let data = Segment::new(0, DATA16, 0xffff, 0);
        let table = Segment::new(0, 0, 0xffff, 0);
        let code = u64::from(vector) << 12;
        Self {
            registers: Registers {
                rflags: RFLAGS_ONE,
                rdx: 0x600,
                ..Registers::default()
            },
            cr0: CR0_INIT,
            segments: Segments {
                cs: Segment::new((code >> 4) as u16, CODE16, 0xffff, code),
                ds: data,
                es: data,
                ss: data,
                fs: data,
                gs: data,
                ldtr: Segment::new(0, LDT, 0xffff, 0),
                tr: Segment::new(0, TSS32_BUSY, 0xffff, 0),
                gdtr: table,
                idtr: table,
            },
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
        assert_eq!(
            (state.segments.cs.base, state.segments.cs.limit),
            (0, u32::MAX)
        );
    }

    #[test]
    fn startup_is_real_mode_at_the_vector() {
        let state = CpuState::startup(0x9a);
        assert_eq!(state.segments.cs.base, 0x9a000);
        assert_eq!(state.segments.cs.selector, 0x9a00);
        assert_eq!(state.registers.rip, 0);
        assert_eq!(state.cr0 & (CR0_PE | CR0_PG), 0);
    }
}
