//! Which field of the guest's state an entry was refused for: the checks of the Intel SDM, volume 3C, 27.3.1, over again.
//! The CPU says only that one of them failed.

mod segments;

use super::vmcs::Vmcs;
use crate::arch::cpu;
use crate::vcpu::state::{CR0_PE, CR0_PG, CR4_PAE, EFER_LMA, EFER_LME, RFLAGS_IF, is_pat};
use x86::msr;
use x86::vmx::vmcs::control::{self, EntryControls};
use x86::vmx::vmcs::guest;

const CR4_PCIDE: u64 = 1 << 17;
const RFLAGS_VM: u64 = 1 << 17;
const RFLAGS_TF: u64 = 1 << 8;
const DEBUGCTL_BTF: u64 = 1 << 1;
/// Blocking by STI, by MOV SS, by NMI.
const BY_STI: u64 = 1 << 0;
const BY_MOV_SS: u64 = 1 << 1;
const BY_NMI: u64 = 1 << 3;

/// What the checks need to know about the CPU.
pub struct Limits {
    /// Bits of CR0 and CR4 that are one in VMX operation, and those that may be.
    cr0: (u64, u64),
    cr4: (u64, u64),
    /// Bits above those of a physical address.
    above: u64,
}

impl Limits {
    /// This CPU's.
    pub fn read() -> Self {
        let [cr0_one, cr0_may, cr4_one, cr4_may] = [
            msr::IA32_VMX_CR0_FIXED0,
            msr::IA32_VMX_CR0_FIXED1,
            msr::IA32_VMX_CR4_FIXED0,
            msr::IA32_VMX_CR4_FIXED1,
        ]
        .map(cpu::rdmsr);
        Self {
            cr0: (cr0_one, cr0_may),
            cr4: (cr4_one, cr4_may),
            above: u64::MAX << (cpu::cpuid(0x8000_0008, 0).eax & 0x3f),
        }
    }
}

/// What is wrong: a prefix for one of several like registers, and the rule.
pub type Rule = (&'static str, &'static str);

/// The first field that a check rejects, and the rule.
pub fn rejected(vmcs: &Vmcs, limits: &Limits) -> Option<Rule> {
    control_registers(vmcs, limits)
        .or_else(|| segments::one_by_one(vmcs))
        .or_else(|| segments::together(vmcs))
        .or_else(|| tables_and_rip(vmcs))
        .or_else(|| activity(vmcs))
}

/// The first rule that does not hold.
fn first(rules: impl IntoIterator<Item = (bool, &'static str)>) -> Option<Rule> {
    let mut broken = rules.into_iter().filter(|(holds, _)| !holds);
    broken.next().map(|(_, rule)| ("", rule))
}

fn is_canonical(address: u64) -> bool {
    (address as i64) << 16 >> 16 == address as i64
}

fn in_long_mode(vmcs: &Vmcs) -> bool {
    vmcs.read(control::VMENTRY_CONTROLS) as u32 & EntryControls::IA32E_MODE_GUEST.bits() != 0
}

fn control_registers(vmcs: &Vmcs, limits: &Limits) -> Option<Rule> {
    let [cr0, cr3, cr4, efer, pat] = [
        guest::CR0,
        guest::CR3,
        guest::CR4,
        guest::IA32_EFER_FULL,
        guest::IA32_PAT_FULL,
    ]
    .map(|field| vmcs.read(field));
    let long = in_long_mode(vmcs);
    let (pg, pe) = (cr0 & CR0_PG != 0, cr0 & CR0_PE != 0);
    let one = limits.cr0.0 & !(CR0_PE | CR0_PG);
    // The four entries that a table of PAE begins with.
    let pae = pg && !long && cr4 & CR4_PAE != 0;
    let mut entries = (0..4).map(|index| vmcs.read(guest::PDPTE0_FULL + 2 * index));
    first([
        (
            cr0 & one == one,
            "CR0: a bit that VMX fixes to one (NE) is zero",
        ),
        (
            cr0 & !limits.cr0.1 == 0,
            "CR0: a bit that this CPU does not have",
        ),
        (!pg || pe, "CR0: PG without PE"),
        (
            cr4 & limits.cr4.0 == limits.cr4.0,
            "CR4: a bit that VMX fixes to one (VMXE) is zero",
        ),
        (
            cr4 & !limits.cr4.1 == 0,
            "CR4: a bit that this CPU does not have",
        ),
        (
            !long || pg && cr4 & CR4_PAE != 0,
            "VM-entry control IA-32e mode guest without CR0.PG and CR4.PAE",
        ),
        (
            long || cr4 & CR4_PCIDE == 0,
            "CR4: PCIDE outside IA-32e mode",
        ),
        (
            cr3 & limits.above == 0,
            "CR3: bits above the physical address",
        ),
        (
            !pae || entries.all(|entry| entry & 1 == 0 || entry & (limits.above | 0x1e6) == 0),
            "PDPTE: a reserved bit",
        ),
        (efer & !0xd01 == 0, "IA32_EFER: a reserved bit"),
        (
            (efer & EFER_LMA != 0) == long,
            "IA32_EFER.LMA differs from the control IA-32e mode guest",
        ),
        (
            !pg || (efer & EFER_LMA != 0) == (efer & EFER_LME != 0),
            "IA32_EFER: LMA differs from LME while paging is on",
        ),
        (is_pat(pat), "IA32_PAT: a reserved memory type"),
        (vmcs.read(guest::DR7) >> 32 == 0, "DR7: upper half"),
        (
            is_canonical(vmcs.read(guest::IA32_SYSENTER_ESP)),
            "IA32_SYSENTER_ESP is not canonical",
        ),
        (
            is_canonical(vmcs.read(guest::IA32_SYSENTER_EIP)),
            "IA32_SYSENTER_EIP is not canonical",
        ),
    ])
}

fn tables_and_rip(vmcs: &Vmcs) -> Option<Rule> {
    let long = in_long_mode(vmcs);
    let code64 = long && vmcs.read(guest::CS_ACCESS_RIGHTS) & 1 << 13 != 0;
    let (rip, rflags) = (vmcs.read(guest::RIP), vmcs.read(guest::RFLAGS));
    first([
        (
            is_canonical(vmcs.read(guest::GDTR_BASE)),
            "GDTR: base is not canonical",
        ),
        (
            is_canonical(vmcs.read(guest::IDTR_BASE)),
            "IDTR: base is not canonical",
        ),
        (vmcs.read(guest::GDTR_LIMIT) >> 16 == 0, "GDTR: limit"),
        (vmcs.read(guest::IDTR_LIMIT) >> 16 == 0, "IDTR: limit"),
        (
            code64 || rip >> 32 == 0,
            "RIP: upper half outside 64-bit mode",
        ),
        // Bit 47 may differ from the others.
        (
            !code64 || matches!(rip as i64 >> 48, 0 | -1),
            "RIP is not canonical",
        ),
        (
            rflags & 0xffff_ffff_ffc0_802a == 2,
            "RFLAGS: a reserved bit",
        ),
        (
            !long || rflags & RFLAGS_VM == 0,
            "RFLAGS: VM in IA-32e mode",
        ),
    ])
}

fn activity(vmcs: &Vmcs) -> Option<Rule> {
    let [state, blocking, pending, rflags, event] = [
        guest::ACTIVITY_STATE,
        guest::INTERRUPTIBILITY_STATE,
        guest::PENDING_DBG_EXCEPTIONS,
        guest::RFLAGS,
        control::VMENTRY_INTERRUPTION_INFO_FIELD,
    ]
    .map(|field| vmcs.read(field));
    let valid = event & 1 << 31 != 0;
    let (interrupt, nmi) = (valid && event >> 8 & 7 == 0, valid && event >> 8 & 7 == 2);
    let shadow = blocking & (BY_STI | BY_MOV_SS) != 0;
    let stepping =
        rflags & RFLAGS_TF != 0 && vmcs.read(guest::IA32_DEBUGCTL_FULL) & DEBUGCTL_BTF == 0;
    first([
        (state <= 3, "activity state"),
        (blocking >> 5 == 0, "interruptibility state: a reserved bit"),
        (
            blocking & 3 != 3,
            "interruptibility state: blocking by STI and by MOV SS",
        ),
        (
            rflags & RFLAGS_IF != 0 || blocking & BY_STI == 0,
            "interruptibility state: blocking by STI with RFLAGS.IF clear",
        ),
        (
            !interrupt || rflags & RFLAGS_IF != 0,
            "VM-entry interruption information: an interrupt with RFLAGS.IF clear",
        ),
        (
            !interrupt || !shadow,
            "interruptibility state: an interrupt is injected while it is blocked",
        ),
        (
            !nmi || !shadow,
            "interruptibility state: an NMI is injected in an interrupt shadow",
        ),
        (
            !nmi || blocking & BY_NMI == 0,
            "interruptibility state: an NMI is injected while NMIs are blocked",
        ),
        (
            !shadow || stepping == (pending & 1 << 14 != 0),
            "pending debug exceptions: BS against RFLAGS.TF in an interrupt shadow",
        ),
        (
            vmcs.read(guest::LINK_PTR_FULL) == u64::MAX,
            "VMCS link pointer",
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Mfn;
    use crate::vcpu::{CpuState, VirtualCpu};

    const BROADWELL: Limits = Limits {
        cr0: (0x8000_0021, 0xffff_ffff),
        cr4: (0x2000, 0x37_67ff),
        above: u64::MAX << 39,
    };

    fn after(change: impl FnOnce(&Vmcs)) -> Option<String> {
        super::super::enable::prepare_for_tests();
        let mut vcpu = super::super::Vcpu::new(Mfn(5)).unwrap();
        vcpu.set_state(&CpuState::pvh(0x10_0000, 0));
        vcpu.write_registers();
        change(&vcpu.vmcs);
        let (register, rule) = rejected(&vcpu.vmcs, &BROADWELL)?;
        Some(format!("{register}{rule}"))
    }

    #[test]
    fn the_states_vcpus_start_in_are_accepted() {
        assert_eq!(after(|_| {}), None);
        super::super::enable::prepare_for_tests();
        let mut vcpu = super::super::Vcpu::new(Mfn(5)).unwrap();
        vcpu.set_state(&CpuState::startup(0x9a));
        vcpu.write_registers();
        assert_eq!(rejected(&vcpu.vmcs, &BROADWELL), None);
    }

    #[test]
    fn pae_paging_has_the_entries_of_its_state() {
        super::super::enable::prepare_for_tests();
        let mut vcpu = super::super::Vcpu::new(Mfn(5)).unwrap();
        let start = CpuState::pvh(0x10_0000, 0);
        for (pdptes, expected) in [
            ([0x5001, 0, 0x1e6, 0x6001], None),
            ([0x5001, 0, 0, 0x6003], Some("PDPTE: a reserved bit")),
        ] {
            vcpu.set_state(&CpuState {
                cr0: start.cr0 | CR0_PG,
                cr4: CR4_PAE,
                pdptes,
                ..start
            });
            vcpu.write_registers();
            assert_eq!(vcpu.state().pdptes, pdptes);
            assert_eq!(
                rejected(&vcpu.vmcs, &BROADWELL).map(|(_, rule)| rule),
                expected
            );
        }
    }

    #[test]
    fn the_field_is_named() {
        for (field, value, expected) in [
            (guest::CR0, 1 << 31 | 1 << 5, "CR0: PG without PE"),
            (guest::CR0, 1, "NE"),
            (guest::CR0, 1 << 32 | 1 << 5, "CR0: a bit that this"),
            (guest::CR4, 1 << 22 | 0x2000, "CR4: a bit that this"),
            (guest::CR3, 1 << 39, "CR3"),
            (guest::CR4, 0, "VMXE"),
            (guest::IA32_EFER_FULL, 1 << 10, "IA32_EFER.LMA differs"),
            (guest::IA32_EFER_FULL, 1 << 1, "IA32_EFER: a reserved"),
            (guest::IA32_PAT_FULL, 2, "IA32_PAT"),
            (guest::TR_ACCESS_RIGHTS, 0x89, "TR: access"),
            (guest::CS_ACCESS_RIGHTS, 0xc092, "CS: access"),
            (guest::CS_ACCESS_RIGHTS, 0xc0bb, "CS: access rights: DPL"),
            (guest::SS_ACCESS_RIGHTS, 0xc09b, "SS: access rights"),
            (guest::TR_SELECTOR, 4, "TR: selector"),
            (guest::LDTR_SELECTOR, 4, "LDTR: selector"),
            (guest::SS_LIMIT, 0x10_0000, "SS: limit"),
            (guest::FS_BASE, 1 << 60, "FS: base"),
            (guest::RFLAGS, 0, "RFLAGS"),
            (guest::RIP, 1 << 40, "RIP: upper"),
            (guest::INTERRUPTIBILITY_STATE, 1, "blocking by STI with"),
            (
                control::VMENTRY_INTERRUPTION_INFO_FIELD,
                0x8000_0040,
                "an interrupt with RFLAGS.IF",
            ),
            (guest::LINK_PTR_FULL, 0, "link"),
        ] {
            let name = after(|vmcs| vmcs.write(field, value));
            assert!(
                name.as_ref().is_some_and(|name| name.contains(expected)),
                "{expected}: {name:?}"
            );
        }
    }
}
