//! The page of hypercall stubs that a guest asks for by writing an MSR (Xen: xen/include/public/arch-x86/cpuid.h,
//! leaf 0x40000002).

use crate::domain::Vcpu;
use crate::types::PAGE_SIZE;
use crate::vcpu::backend;
use crate::vcpu::guest_memory::GuestPhysical;

/// Bytes in a stub.
const STUB: usize = 32;
/// `mov eax, imm32`.
const MOV_EAX: u8 = 0xb8;
/// `ret`.
const RET: u8 = 0xc3;
/// `int3`.
const BREAKPOINT: u8 = 0xcc;
/// `__HYPERVISOR_iret`, which only guests without hardware virtualisation have.
const IRET: usize = 23;

/// Fills the page at guest-physical `gpa`, which is page aligned. `None` if there is no RAM.
pub fn fill(vcpu: &Vcpu, gpa: u64) -> Option<()> {
    (0..PAGE_SIZE / STUB).try_for_each(|number| {
        let stub = stub(number as u32, backend::chosen().hypercall);
        vcpu.domain.write(gpa + (number * STUB) as u64, &stub)
    })
}

fn stub(number: u32, instruction: [u8; 3]) -> [u8; STUB] {
    let mut code = [BREAKPOINT; STUB];
    if number as usize == IRET {
        return code;
    }
    code[0] = MOV_EAX;
    code[1..5].copy_from_slice(&number.to_le_bytes());
    code[5..8].copy_from_slice(&instruction);
    code[8] = RET;
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stub_is_three_instructions() {
        assert_eq!(
            &stub(29, [0x0f, 0x01, 0xd9])[..10],
            &[0xb8, 29, 0, 0, 0, 0x0f, 0x01, 0xd9, 0xc3, 0xcc]
        );
        assert_eq!(stub(23, [0x0f, 0x01, 0xd9]), [0xcc; 32]);
    }
}
