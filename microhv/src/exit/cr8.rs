//! MOV to CR8 while an interrupt waits: the one instruction whose operand microhv reads from the guest's code,
//! because not every CPU says at the exit which register it names.

use crate::domain::Vcpu;
use crate::vcpu::guest_memory::Translation;
use crate::vcpu::{Event, VcpuRun};

/// Handles the instruction.
pub fn handle(vcpu: &Vcpu, run: &mut VcpuRun) {
    let mut code = [0; 4];
    let (how, rip) = (Translation::of(&*run.hw), run.hw.registers().rip);
    let base = if run.hw.is_64bit() {
        0
    } else {
        run.hw.state().segments.cs.base
    };
    let read = how.read(&*vcpu.domain, base.wrapping_add(rip), &mut code);
    let source = read.and_then(|()| source(code));
    let source = source.map(|number| run.hw.registers().by_number(number));
    match source {
        Some(value @ 0..=15) => {
            vcpu.vlapic.set_cr8(value as u8);
            run.hw.skip_instruction();
        }
        Some(_) => run.hw.inject(Event::GENERAL_PROTECTION),
        // Another vCPU changed the code in between, or an encoding nobody uses.
        None => run.hw.inject(Event::INVALID_OPCODE),
    }
}

/// The number of the register that MOV to CR8 reads: with REX.R, or with LOCK as AMD has it outside 64-bit mode.
fn source(code: [u8; 4]) -> Option<u8> {
    match code {
        [
            prefix @ (0x44 | 0x45 | 0x4c | 0x4d),
            0x0f,
            0x22,
            modrm @ 0xc0..=0xc7,
        ] => Some(modrm & 7 | (prefix & 1) << 3),
        [0xf0, 0x0f, 0x22, modrm @ 0xc0..=0xc7] => Some(modrm & 7),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_found_in_the_encoding() {
        assert_eq!(source([0x44, 0x0f, 0x22, 0xc0]), Some(0), "mov cr8, rax");
        assert_eq!(source([0x45, 0x0f, 0x22, 0xc7]), Some(15), "mov cr8, r15");
        assert_eq!(
            source([0xf0, 0x0f, 0x22, 0xc1]),
            Some(1),
            "lock mov cr0, ecx"
        );
        assert_eq!(source([0x0f, 0x22, 0xc0, 0x90]), None, "mov cr0, rax");
        assert_eq!(source([0x44, 0x0f, 0x20, 0xc0]), None, "mov rax, cr8");
    }
}
