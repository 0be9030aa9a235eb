//! From the hardware's exit code to an [`Exit`] and the address of the next instruction.

use super::vmcb::Vmcb;
use crate::vcpu::{Exit, FaultAccess, IoAccess, Registers};

/// Exit codes (AMD64 manual, volume 2, appendix C).
pub mod code {
    pub const WRITE_CR8: u64 = 0x18;
    pub const EXCP: u64 = 0x40;
    pub const EXCP_LAST: u64 = 0x5f;
    pub const INTR: u64 = 0x60;
    pub const NMI: u64 = 0x61;
    pub const VINTR: u64 = 0x64;
    pub const RDPMC: u64 = 0x6f;
    pub const CPUID: u64 = 0x72;
    pub const IRET: u64 = 0x74;
    pub const INVD: u64 = 0x76;
    pub const HLT: u64 = 0x78;
    pub const INVLPGA: u64 = 0x7a;
    pub const IOIO: u64 = 0x7b;
    pub const MSR: u64 = 0x7c;
    pub const SHUTDOWN: u64 = 0x7f;
    pub const VMRUN: u64 = 0x80;
    pub const VMMCALL: u64 = 0x81;
    pub const VMLOAD: u64 = 0x82;
    pub const SKINIT: u64 = 0x86;
    pub const WBINVD: u64 = 0x89;
    pub const MONITOR: u64 = 0x8a;
    pub const MWAIT_CONDITIONAL: u64 = 0x8c;
    pub const XSETBV: u64 = 0x8d;
    pub const RDPRU: u64 = 0x8e;
    pub const NPF: u64 = 0x400;
    pub const INVALID: u64 = u64::MAX;
    /// As QEMU's TCG writes it: 32 bits only.
    pub const INVALID_32: u64 = 0xffff_ffff;
}

/// Reads the exit fields of `vmcb`; `registers` are those of the guest at the exit. `nrip`: the CPU has NRIP_SAVE.
///
/// Without it the length comes from knowing the instruction. A redundant prefix before one of them would make
/// the length wrong: the guest then executes the tail of its own instruction, which harms only itself.
pub fn decode(vmcb: &Vmcb, registers: &Registers, nrip: bool) -> (Exit, u64) {
    let (info1, info2) = (vmcb.exitinfo1, vmcb.exitinfo2);
    let (exit, length) = match vmcb.exitcode {
        code::INTR => (Exit::HostInterrupt(None), 0),
        code::NMI => (Exit::HostNmi, 0),
        code::VINTR | code::IRET => (Exit::InterruptWindow, 0),
        code::WRITE_CR8 => (Exit::WriteTaskPriority, 4),
        code::VMMCALL => (Exit::Hypercall, 3),
        code::HLT => (Exit::Halt, 1),
        code::CPUID => (Exit::Cpuid, 2),
        code::MSR if info1 & 1 == 0 => (Exit::ReadMsr(registers.rcx as u32), 2),
        code::MSR => (Exit::WriteMsr(registers.rcx as u32, registers.edx_eax()), 2),
        code::IOIO => return (Exit::Io(io(info1)), info2),
        code::NPF => (
            Exit::SecondLevelFault {
                gpa: info2,
                access: fault(info1),
            },
            0,
        ),
        code::XSETBV => (Exit::SetXcr, 3),
        code::RDPMC => (Exit::ReadCounter, 2),
        code::INVD | code::WBINVD => (Exit::CacheFlush, 2),
        code::EXCP..=code::EXCP_LAST => (
            Exit::Exception((vmcb.exitcode - code::EXCP) as u8, info1 as u32),
            0,
        ),
        code::INVLPGA
        | code::VMRUN
        | code::VMLOAD..=code::SKINIT
        | code::MONITOR..=code::MWAIT_CONDITIONAL
        | code::RDPRU => (Exit::UndefinedInstruction, 0),
        code::SHUTDOWN => (Exit::Shutdown, 0),
        code::INVALID | code::INVALID_32 => (Exit::EntryFailed, 0),
        other => (
            Exit::Unexpected {
                code: other,
                info1,
                info2,
            },
            0,
        ),
    };
    let told = nrip && length != 0 && vmcb.nrip != 0;
    let counted = vmcb.rip.wrapping_add(length);
    (exit, if told { vmcb.nrip } else { counted })
}

/// EXITINFO1 of an IOIO exit (volume 2, 15.10.2).
fn io(info: u64) -> IoAccess {
    IoAccess {
        port: (info >> 16) as u16,
        size: (info >> 4 & 7) as u8,
        input: info & 1 != 0,
        string: info & 1 << 2 != 0,
        repeat: info & 1 << 3 != 0,
        address_size: (info >> 7 & 7) as u8 * 2,
    }
}

/// EXITINFO1 of a nested page fault (volume 2, 15.25.6).
fn fault(info: u64) -> FaultAccess {
    FaultAccess {
        present: info & 1 != 0,
        write: info & 1 << 1 != 0,
        execute: info & 1 << 4 != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mm::PageBox;

    fn exit(code: u64, info1: u64, info2: u64) -> (Exit, u64) {
        let mut vmcb = PageBox::<Vmcb>::new_zeroed().unwrap();
        vmcb.exitcode = code;
        vmcb.exitinfo1 = info1;
        vmcb.exitinfo2 = info2;
        vmcb.nrip = 0x99;
        vmcb.rip = 0x1000;
        let registers = Registers {
            rax: 0xffff_ffff_0000_0001,
            rdx: 2,
            rcx: 0xc000_0080,
            ..Registers::default()
        };
        decode(&vmcb, &registers, false)
    }

    #[test]
    fn instructions_have_their_lengths() {
        for (code, expected, length) in [
            (0x81, Exit::Hypercall, 3),
            (0x18, Exit::WriteTaskPriority, 4),
            (0x78, Exit::Halt, 1),
            (0x72, Exit::Cpuid, 2),
            (0x8d, Exit::SetXcr, 3),
            (0x89, Exit::CacheFlush, 2),
            (0x83, Exit::UndefinedInstruction, 0),
            (0x8b, Exit::UndefinedInstruction, 0),
            (0x60, Exit::HostInterrupt(None), 0),
        ] {
            assert_eq!(exit(code, 0, 0), (expected, 0x1000 + length));
        }
    }

    #[test]
    fn msr_accesses_carry_their_operands() {
        assert_eq!(exit(0x7c, 0, 0).0, Exit::ReadMsr(0xc000_0080));
        assert_eq!(
            exit(0x7c, 1, 0).0,
            Exit::WriteMsr(0xc000_0080, 0x2_0000_0001)
        );
    }

    #[test]
    fn io_is_taken_apart() {
        // rep outsb with 64-bit addresses to port 0xe9.
        let decoded = exit(0x7b, 0xe9_0000 | 1 << 9 | 1 << 4 | 1 << 3 | 1 << 2, 0x1234);
        let expected = IoAccess {
            port: 0xe9,
            size: 1,
            input: false,
            string: true,
            repeat: true,
            address_size: 8,
        };
        assert_eq!(decoded, (Exit::Io(expected), 0x1234));
        let Exit::Io(input) = exit(0x7b, 0xcfc_0000 | 1 << 6 | 1, 0).0 else {
            panic!()
        };
        assert_eq!(
            (input.port, input.size, input.input, input.string),
            (0xcfc, 4, true, false)
        );
    }

    #[test]
    fn faults_and_failures() {
        let access = FaultAccess {
            present: false,
            write: true,
            execute: false,
        };
        assert_eq!(
            exit(0x400, 0x1_0000_0006, 0xfee0_0000).0,
            Exit::SecondLevelFault {
                gpa: 0xfee0_0000,
                access
            }
        );
        assert_eq!(exit(u64::MAX, 0, 0).0, Exit::EntryFailed);
        assert_eq!(exit(0xffff_ffff, 0, 0).0, Exit::EntryFailed);
        assert_eq!(exit(0x41, 0, 0).0, Exit::Exception(1, 0));
        assert_eq!(
            exit(0x7d, 1, 2).0,
            Exit::Unexpected {
                code: 0x7d,
                info1: 1,
                info2: 2
            }
        );
    }
}
