//! What the CPU says about itself, by the names that Xen prints.
#![forbid(unsafe_code)]

use crate::arch::cpu::CpuidResult;
use core::fmt::{self, Display};

/// Leaf, subleaf, and which of EAX, EBX, ECX, EDX; in place of a leaf, the number of IA32_ARCH_CAPABILITIES.
type Word = (u32, u32, usize);

const CAPS: Word = (super::MSR_ARCH_CAPABILITIES, 0, 0);
const L1C: Word = (1, 0, 2);
const L7B: Word = (7, 0, 1);
const L7D: Word = (7, 0, 3);
const L72D: Word = (7, 2, 3);
const E1C: Word = (0x8000_0001, 0, 2);
const E8B: Word = (0x8000_0008, 0, 1);
const E21A: Word = (0x8000_0021, 0, 0);
const E21C: Word = (0x8000_0021, 0, 2);

/// One statement: any of the bits says it.
pub struct Fact(&'static str, &'static [(Word, u32)]);

macro_rules! facts {
    ($($name:ident: $($word:ident $bit:literal)+;)*) => {
        $(pub const $name: Fact = Fact(stringify!($name), &[$(($word, $bit)),+]);)*
        /// All that the log names, in its order.
        const ALL: &[Fact] = &[$($name),*];
    };
}

// Intel SDM volume 4, table 2-2 (IA32_ARCH_CAPABILITIES) and volume 2, CPUID; AMD64 manual, volume 3, E.3 and E.4.
facts! {
    RDCL_NO: CAPS 0; EIBRS: CAPS 1; RSBA: CAPS 2; RRSBA: CAPS 19; SKIP_L1DFL: CAPS 3; SSB_NO: CAPS 4 E8B 26;
    MDS_NO: CAPS 5; IF_PSCHANGE_MC_NO: CAPS 6; TAA_NO: CAPS 8; FBSDP_NO: CAPS 14; FB_CLEAR: CAPS 17; BHI_NO: CAPS 20; PBRSB_NO: CAPS 24;
    GDS_NO: CAPS 26; RFDS_NO: CAPS 27; IBRS_ALWAYS: E8B 16; STIBP_ALWAYS: E8B 17; IBRS_FAST: E8B 18; BTC_NO: E8B 29;
    IBPB_RET: E8B 30; SRSO_NO: E21A 29; TSA_SQ_NO: E21C 1; TSA_L1_NO: E21C 2;
    IBPB: L7D 26 E8B 12; IBRS: L7D 26 E8B 14; AUTO_IBRS: E21A 8; STIBP: L7D 27 E8B 15; SSBD: L7D 31 E8B 24;
    L1D_FLUSH: L7D 28; MD_CLEAR: L7D 10; BHI_CTRL: L72D 4; TSX_CTRL: CAPS 7; GDS_CTRL: CAPS 25; RFDS_CLEAR: CAPS 28;
    VERW_CLEAR: E21A 5;
}

const HAS_CAPS: Fact = Fact("", &[(L7D, 29)]);
/// STIBP of the kind that costs little where it is always on.
pub const STIBP_CHEAP: Fact = Fact("", &[(E8B, 15)]);
/// There are transactions (RTM).
pub const RTM: Fact = Fact("", &[(L7B, 11)]);
/// Below is another hypervisor.
pub const VIRTUALISED: Fact = Fact("", &[(L1C, 31)]);
/// Its extension for guests is one that only CPUs have which never pass on data of a failed check (Meltdown, L1TF, MDS, RFDS)
/// and therefore have no bits to deny those faults.
pub const CHECKS_FIRST: Fact = Fact("", &[(E1C, 2)]);

/// The answers of one CPU.
pub struct Features<'a> {
    cpuid: &'a dyn Fn(u32, u32) -> CpuidResult,
    capabilities: u32,
}

impl<'a> Features<'a> {
    /// `capabilities` reads IA32_ARCH_CAPABILITIES and is called only if there is one.
    pub fn new(
        cpuid: &'a dyn Fn(u32, u32) -> CpuidResult,
        capabilities: impl FnOnce() -> u64,
    ) -> Self {
        let mut features = Self {
            cpuid,
            capabilities: 0,
        };
        if features.has(&HAS_CAPS) {
            features.capabilities = capabilities() as u32;
        }
        features
    }

    /// Whether the CPU says `fact`.
    pub fn has(&self, fact: &Fact) -> bool {
        let word = |(leaf, subleaf, register): Word| {
            // Beyond the last leaf some CPUs repeat another.
            if leaf == CAPS.0 {
                self.capabilities
            } else if leaf > (self.cpuid)(leaf & 1 << 31, 0).eax {
                0
            } else {
                let answer = (self.cpuid)(leaf, subleaf);
                [answer.eax, answer.ebx, answer.ecx, answer.edx][register]
            }
        };
        let mut bits = fact.1.iter();
        bits.any(|&(place, bit)| word(place) & 1 << bit != 0)
    }
}

/// What the CPU says, each with a space before it.
impl Display for Features<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::list(f, "none", ALL.iter().map(|fact| (fact.0, self.has(fact))))
    }
}
