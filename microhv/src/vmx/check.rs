//! Which field of the guest's state an entry was refused for: the checks of the Intel SDM, volume 3C, 27.3.1, over again.
//! The CPU says only that one of them failed.

use super::vmcs::Vmcs;
use crate::vcpu::state::{CR0_PE, CR0_PG, EFER_LMA, EFER_LME};
use x86::vmx::vmcs::control::{self, EntryControls};
use x86::vmx::vmcs::guest;

const CR4_PAE: u64 = 1 << 5;
const CR4_PCIDE: u64 = 1 << 17;
const RFLAGS_VM: u64 = 1 << 17;
const RFLAGS_IF: u64 = 1 << 9;
const RFLAGS_TF: u64 = 1 << 8;
const DEBUGCTL_BTF: u64 = 1 << 1;
/// Blocking by STI, by MOV SS, by NMI.
const BY_STI: u64 = 1 << 0;
const BY_MOV_SS: u64 = 1 << 1;
const BY_NMI: u64 = 1 << 3;
const UNUSABLE: u64 = 1 << 16;

/// The first field that a check rejects, and the rule.
pub fn rejected(vmcs: &Vmcs, cr0_one: u64, cr4_one: u64) -> Option<&'static str> {
    control_registers(vmcs, cr0_one, cr4_one)
        .or_else(|| segments(vmcs))
        .or_else(|| tables_and_rip(vmcs))
        .or_else(|| activity(vmcs))
}

/// The name of the first rule that does not hold.
fn first(rules: impl IntoIterator<Item = (bool, &'static str)>) -> Option<&'static str> {
    rules
        .into_iter()
        .find_map(|(holds, name)| (!holds).then_some(name))
}

fn is_canonical(address: u64) -> bool {
    (address as i64) << 16 >> 16 == address as i64
}

fn control_registers(vmcs: &Vmcs, cr0_one: u64, cr4_one: u64) -> Option<&'static str> {
    let [cr0, cr3, cr4, efer, pat] = [
        guest::CR0,
        guest::CR3,
        guest::CR4,
        guest::IA32_EFER_FULL,
        guest::IA32_PAT_FULL,
    ]
    .map(|field| vmcs.read(field));
    let entry = vmcs.read(control::VMENTRY_CONTROLS) as u32;
    let long = entry & EntryControls::IA32E_MODE_GUEST.bits() != 0;
    let (pg, pe) = (cr0 & CR0_PG != 0, cr0 & CR0_PE != 0);
    let one = cr0_one & !(CR0_PE | CR0_PG);
    first([
        (
            cr0 & one == one,
            "CR0: a bit that VMX fixes to one (NE) is zero",
        ),
        (!pg || pe, "CR0: PG without PE"),
        (
            cr4 & cr4_one == cr4_one,
            "CR4: a bit that VMX fixes to one (VMXE) is zero",
        ),
        (
            !long || pg && cr4 & CR4_PAE != 0,
            "VM-entry control IA-32e mode guest without CR0.PG and CR4.PAE",
        ),
        (
            long || cr4 & CR4_PCIDE == 0,
            "CR4: PCIDE outside IA-32e mode",
        ),
        (cr3 >> 52 == 0, "CR3: bits above the physical address"),
        (efer & !0xd01 == 0, "IA32_EFER: a reserved bit"),
        (
            (efer & EFER_LMA != 0) == long,
            "IA32_EFER.LMA differs from the control IA-32e mode guest",
        ),
        (
            !pg || (efer & EFER_LMA != 0) == (efer & EFER_LME != 0),
            "IA32_EFER: LMA differs from LME while paging is on",
        ),
        (
            pat.to_le_bytes()
                .iter()
                .all(|entry| matches!(entry, 0 | 1 | 4..=7)),
            "IA32_PAT: a reserved memory type",
        ),
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

/// The granularity bit agrees with the limit.
fn granular(limit: u64, rights: u64) -> bool {
    let scaled = rights & 1 << 15 != 0;
    (limit & 0xfff == 0xfff || !scaled) && (limit >> 20 == 0 || scaled)
}

fn segments(vmcs: &Vmcs) -> Option<&'static str> {
    const NAMES: [[&str; 3]; 8] = [
        ["ES: base", "ES: limit and granularity", "ES: access rights"],
        ["CS: base", "CS: limit and granularity", "CS: access rights"],
        ["SS: base", "SS: limit and granularity", "SS: access rights"],
        ["DS: base", "DS: limit and granularity", "DS: access rights"],
        ["FS: base", "FS: limit and granularity", "FS: access rights"],
        ["GS: base", "GS: limit and granularity", "GS: access rights"],
        [
            "LDTR: base",
            "LDTR: limit and granularity",
            "LDTR: access rights",
        ],
        ["TR: base", "TR: limit and granularity", "TR: access rights"],
    ];
    const CS: usize = 1;
    const LDTR: usize = 6;
    const TR: usize = 7;
    let virtual_8086 = vmcs.read(guest::RFLAGS) & RFLAGS_VM != 0;
    for (index, names) in NAMES.into_iter().enumerate() {
        let step = 2 * index as u32;
        let [selector, base, limit, rights] = [
            guest::ES_SELECTOR,
            guest::ES_BASE,
            guest::ES_LIMIT,
            guest::ES_ACCESS_RIGHTS,
        ]
        .map(|first| vmcs.read(first + step));
        if virtual_8086 && index < LDTR {
            let exact = base == selector << 4 && limit == 0xffff && rights == 0xf3;
            if !exact {
                return Some(
                    "a segment register in virtual-8086 mode: base, limit or access rights",
                );
            }
            continue;
        }
        if rights & UNUSABLE != 0 && index != CS && index != TR {
            continue;
        }
        let kind = rights & 0xf;
        let right_kind = match index {
            CS => matches!(kind, 3 | 9 | 11 | 13 | 15) && rights & 1 << 4 != 0,
            LDTR => kind == 2 && rights & 1 << 4 == 0,
            TR => matches!(kind, 3 | 11) && rights & 1 << 4 == 0,
            _ => kind & 1 == 1 && (kind & 8 == 0 || kind & 2 != 0) && rights & 1 << 4 != 0,
        };
        let wide = matches!(index, 4..=7);
        let rules = [
            (
                if wide {
                    is_canonical(base)
                } else {
                    base >> 32 == 0
                },
                names[0],
            ),
            (granular(limit, rights), names[1]),
            (
                right_kind && rights & 1 << 7 != 0 && rights & 0xffff_0f00 == 0,
                names[2],
            ),
        ];
        if let Some(name) = first(rules) {
            return Some(name);
        }
    }
    None
}

fn tables_and_rip(vmcs: &Vmcs) -> Option<&'static str> {
    let long =
        vmcs.read(control::VMENTRY_CONTROLS) as u32 & EntryControls::IA32E_MODE_GUEST.bits() != 0;
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
        (!code64 || is_canonical(rip), "RIP is not canonical"),
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

fn activity(vmcs: &Vmcs) -> Option<&'static str> {
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

    fn after(change: impl FnOnce(&Vmcs)) -> Option<&'static str> {
        super::super::enable::prepare_for_tests();
        let mut vcpu = super::super::Vcpu::new(Mfn(5)).unwrap();
        vcpu.set_state(&CpuState::pvh(0x10_0000, 0));
        vcpu.write_registers();
        change(&vcpu.vmcs);
        rejected(&vcpu.vmcs, 0x8000_0021, 0x2000)
    }

    #[test]
    fn the_states_vcpus_start_in_are_accepted() {
        assert_eq!(after(|_| {}), None);
        super::super::enable::prepare_for_tests();
        let mut vcpu = super::super::Vcpu::new(Mfn(5)).unwrap();
        vcpu.set_state(&CpuState::startup(0x9a));
        vcpu.write_registers();
        assert_eq!(rejected(&vcpu.vmcs, 0x8000_0021, 0x2000), None);
    }

    #[test]
    fn the_field_is_named() {
        for (field, value, expected) in [
            (guest::CR0, 1 << 31 | 1 << 5, "CR0: PG without PE"),
            (guest::CR0, 1, "NE"),
            (guest::CR4, 0, "VMXE"),
            (guest::IA32_EFER_FULL, 1 << 10, "IA32_EFER.LMA differs"),
            (guest::IA32_EFER_FULL, 1 << 1, "IA32_EFER: a reserved"),
            (guest::IA32_PAT_FULL, 2, "IA32_PAT"),
            (guest::TR_ACCESS_RIGHTS, 0x89, "TR: access"),
            (guest::CS_ACCESS_RIGHTS, 0xc092, "CS: access"),
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
                name.is_some_and(|name| name.contains(expected)),
                "{expected}: {name:?}"
            );
        }
    }
}
