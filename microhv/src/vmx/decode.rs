//! From the hardware's exit reason to an [`Exit`] (Intel SDM, volume 3D, appendix C).

use crate::vcpu::{Exit, FaultAccess, IoAccess, Registers};

/// Basic exit reasons.
pub mod reason {
    pub const EXCEPTION_OR_NMI: u16 = 0;
    pub const INTERRUPT: u16 = 1;
    pub const TRIPLE_FAULT: u16 = 2;
    pub const INTERRUPT_WINDOW: u16 = 7;
    pub const NMI_WINDOW: u16 = 8;
    pub const CPUID: u16 = 10;
    pub const GETSEC: u16 = 11;
    pub const HLT: u16 = 12;
    pub const INVD: u16 = 13;
    pub const RDPMC: u16 = 15;
    pub const VMCALL: u16 = 18;
    pub const VMCLEAR: u16 = 19;
    pub const VMXON: u16 = 27;
    pub const CONTROL_REGISTER: u16 = 28;
    pub const IO: u16 = 30;
    pub const RDMSR: u16 = 31;
    pub const WRMSR: u16 = 32;
    pub const MWAIT: u16 = 36;
    pub const MONITOR: u16 = 39;
    pub const TPR_BELOW_THRESHOLD: u16 = 43;
    pub const EPT_VIOLATION: u16 = 48;
    pub const INVEPT: u16 = 50;
    pub const PREEMPTION_TIMER: u16 = 52;
    pub const INVVPID: u16 = 53;
    pub const WBINVD: u16 = 54;
    pub const XSETBV: u16 = 55;
    pub const APIC_WRITE: u16 = 56;
}

/// Exit reason: VM entry failed because of the guest's state.
pub const ENTRY_FAILED: u32 = 1 << 31;
/// Interruption information: there is an event.
const VALID: u32 = 1 << 31;
/// Interruption information: vector 2 of type 2.
const NMI: u32 = 0x202;

/// The exit fields of the control structure.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fields {
    pub reason: u32,
    pub qualification: u64,
    pub guest_physical: u64,
    /// Interruption information and its error code.
    pub interruption: u32,
    pub error_code: u32,
    /// VM-exit instruction information, of INS and OUTS.
    pub instruction: u32,
}

/// What VM-instruction error `number` means, of those that the instructions used here can give (Intel SDM, volume 3C,
/// 31.4, table 31-1; 30-1 before 2023).
pub const fn instruction_error(number: u64) -> &'static str {
    match number {
        0 => "no VMCS is current",
        2 => "VMCLEAR with invalid physical address",
        3 => "VMCLEAR with VMXON pointer",
        4 => "VMLAUNCH with non-clear VMCS",
        5 => "VMRESUME with non-launched VMCS",
        7 => "VM entry with invalid control field(s)",
        8 => "VM entry with invalid host-state field(s)",
        9 => "VMPTRLD with invalid physical address",
        10 => "VMPTRLD with VMXON pointer",
        11 => "VMPTRLD with incorrect VMCS revision identifier",
        26 => "VM entry with events blocked by MOV SS",
        28 => "invalid operand to INVEPT",
        _ => "not one that is expected here",
    }
}

/// What happened. Control-register accesses are the backend's own and [`Exit::ControlRegister`] here.
pub fn decode(fields: &Fields, registers: &Registers) -> Exit {
    if fields.reason & ENTRY_FAILED != 0 {
        return Exit::EntryFailed;
    }
    match fields.reason as u16 {
        reason::EXCEPTION_OR_NMI if fields.interruption & 0x7ff == NMI => Exit::HostNmi,
        reason::EXCEPTION_OR_NMI => {
            let code = if fields.interruption & 1 << 11 != 0 {
                fields.error_code
            } else {
                0
            };
            Exit::Exception(fields.interruption as u8, code)
        }
        // Valid where exits acknowledge the interrupt.
        reason::INTERRUPT if fields.interruption & VALID != 0 => {
            Exit::HostInterrupt(Some(fields.interruption as u8))
        }
        reason::INTERRUPT | reason::PREEMPTION_TIMER => Exit::HostInterrupt(None),
        reason::TRIPLE_FAULT => Exit::Shutdown,
        reason::INTERRUPT_WINDOW | reason::NMI_WINDOW | reason::TPR_BELOW_THRESHOLD => {
            Exit::InterruptWindow
        }
        reason::CPUID => Exit::Cpuid,
        reason::HLT => Exit::Halt,
        reason::INVD | reason::WBINVD => Exit::CacheFlush,
        reason::RDPMC => Exit::ReadCounter,
        reason::VMCALL => Exit::Hypercall,
        reason::CONTROL_REGISTER => Exit::ControlRegister,
        reason::IO => Exit::Io(io(fields)),
        reason::RDMSR => Exit::ReadMsr(registers.rcx as u32),
        reason::WRMSR => Exit::WriteMsr(registers.rcx as u32, registers.edx_eax()),
        reason::EPT_VIOLATION => Exit::SecondLevelFault {
            gpa: fields.guest_physical,
            access: fault(fields.qualification),
        },
        reason::XSETBV => Exit::SetXcr,
        reason::APIC_WRITE => Exit::ApicWrite,
        reason::GETSEC
        | reason::VMCLEAR..=reason::VMXON
        | reason::MWAIT
        | reason::MONITOR
        | reason::INVEPT
        | reason::INVVPID => Exit::UndefinedInstruction,
        _ => Exit::Unexpected {
            code: fields.reason.into(),
            info1: fields.qualification,
            info2: fields.guest_physical,
        },
    }
}

/// Qualification of an I/O exit (SDM table 28-5), and the address size from the instruction information.
fn io(fields: &Fields) -> IoAccess {
    let bits = fields.qualification;
    IoAccess {
        port: (bits >> 16) as u16,
        size: (bits & 7) as u8 + 1,
        input: bits & 1 << 3 != 0,
        string: bits & 1 << 4 != 0,
        repeat: bits & 1 << 5 != 0,
        address_size: 2 << (fields.instruction >> 7 & 7).min(2),
    }
}

/// Qualification of an EPT violation (SDM table 28-7).
fn fault(bits: u64) -> FaultAccess {
    FaultAccess {
        write: bits & 1 << 1 != 0,
        execute: bits & 1 << 2 != 0,
        present: bits & 7 << 3 != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(reason: u32, qualification: u64) -> Exit {
        let registers = Registers {
            rax: 0xffff_ffff_0000_0001,
            rdx: 2,
            rcx: 0xc000_0080,
            ..Registers::default()
        };
        let fields = Fields {
            reason,
            qualification,
            guest_physical: 0xfee0_0000,
            instruction: 2 << 7,
            ..Fields::default()
        };
        decode(&fields, &registers)
    }

    #[test]
    fn the_errors_that_the_cpu_gives_have_the_manuals_names() {
        for (number, name) in [
            (4, "VMLAUNCH with non-clear"),
            (5, "VMRESUME with non-launched"),
            (7, "invalid control"),
            (8, "invalid host-state"),
            (11, "revision"),
            (26, "MOV SS"),
            (28, "INVEPT"),
        ] {
            assert!(instruction_error(number).contains(name), "{number}");
        }
        assert_eq!(instruction_error(0), "no VMCS is current");
        assert_eq!(instruction_error(6), instruction_error(u64::MAX));
    }

    #[test]
    fn reasons_are_the_manuals() {
        for (reason, expected) in [
            (1, Exit::HostInterrupt(None)),
            (2, Exit::Shutdown),
            (7, Exit::InterruptWindow),
            (8, Exit::InterruptWindow),
            (10, Exit::Cpuid),
            (12, Exit::Halt),
            (13, Exit::CacheFlush),
            (15, Exit::ReadCounter),
            (18, Exit::Hypercall),
            (24, Exit::UndefinedInstruction),
            (28, Exit::ControlRegister),
            (31, Exit::ReadMsr(0xc000_0080)),
            (32, Exit::WriteMsr(0xc000_0080, 0x2_0000_0001)),
            (36, Exit::UndefinedInstruction),
            (43, Exit::InterruptWindow),
            (50, Exit::UndefinedInstruction),
            (52, Exit::HostInterrupt(None)),
            (56, Exit::ApicWrite),
            (55, Exit::SetXcr),
            (0x8000_0021, Exit::EntryFailed),
            (
                9,
                Exit::Unexpected {
                    code: 9,
                    info1: 0,
                    info2: 0xfee0_0000,
                },
            ),
        ] {
            assert_eq!(exit(reason, 0), expected);
        }
    }

    #[test]
    fn io_is_taken_apart() {
        // rep outsb with 64-bit addresses to port 0xe9.
        let expected = IoAccess {
            port: 0xe9,
            size: 1,
            input: false,
            string: true,
            repeat: true,
            address_size: 8,
        };
        assert_eq!(exit(30, 0xe9_0000 | 1 << 5 | 1 << 4), Exit::Io(expected));
        let Exit::Io(input) = exit(30, 0xcfc_0000 | 1 << 3 | 3) else {
            panic!()
        };
        assert_eq!(
            (input.port, input.size, input.input, input.string),
            (0xcfc, 4, true, false)
        );
    }

    #[test]
    fn faults_say_what_was_tried() {
        let fault = |bits| match exit(48, bits) {
            Exit::SecondLevelFault {
                gpa: 0xfee0_0000,
                access,
            } => (access.write, access.execute, access.present),
            other => panic!("{other:?}"),
        };
        assert_eq!(fault(1), (false, false, false));
        assert_eq!(fault(2 | 1 << 3 | 1 << 5), (true, false, true));
        assert_eq!(fault(4), (false, true, false));
    }

    #[test]
    fn exceptions_and_nmis_share_a_reason() {
        let exit = |interruption, error_code| {
            decode(
                &Fields {
                    interruption,
                    error_code,
                    ..Fields::default()
                },
                &Registers::default(),
            )
        };
        assert_eq!(exit(0x8000_0202, 0), Exit::HostNmi);
        assert_eq!(exit(0x8000_0301, 5), Exit::Exception(1, 0));
        assert_eq!(exit(0x8000_0b11, 5), Exit::Exception(17, 5));
    }
}
