//! XSETBV: which extended state the guest turns on.

use crate::fpu;
use crate::vcpu::{Event, VcpuRun};

/// Handles the instruction: XCR0 changes if the value is legal, else #GP.
pub fn handle(run: &mut VcpuRun) {
    let registers = run.hw.registers();
    let value = registers.edx_eax();
    if run.hw.cpl() != 0 || registers.rcx as u32 != 0 || !is_legal(value, fpu::supported()) {
        run.hw.inject(Event::GENERAL_PROTECTION);
        return;
    }
    // The guest's XCR0 is in the CPU while its vCPU is.
    fpu::set_xcr0(value);
    run.hw.skip_instruction();
}

const X87: u64 = 1 << 0;
const SSE: u64 = 1 << 1;
const AVX: u64 = 1 << 2;
const AVX512: u64 = 7 << 5;

/// The CPU would accept `value` (Intel SDM volume 1, 13.3), and it has only what microhv switches.
fn is_legal(value: u64, supported: u64) -> bool {
    value & X87 != 0
        && value & !supported == 0
        && (value & AVX == 0 || value & SSE != 0)
        && (value & AVX512 == 0 || (value & AVX512 == AVX512 && value & AVX != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combinations_are_the_manuals() {
        let supported = X87 | SSE | AVX | AVX512 | 1 << 9;
        for legal in [1, 3, 7, 0xe7, 0x2e7, 0x201] {
            assert!(is_legal(legal, supported), "{legal:#x}");
        }
        for illegal in [0, 2, 5, 0x27, 0xe3, 0x18 | 3, 1 << 63 | 3] {
            assert!(!is_legal(illegal, supported), "{illegal:#x}");
        }
        assert!(!is_legal(7, X87 | SSE));
    }
}
