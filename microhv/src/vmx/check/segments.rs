//! The checks of the segment registers (Intel SDM, volume 3C, 27.3.1.2).

use super::{RFLAGS_VM, Rule, first, in_long_mode, is_canonical};
use crate::vcpu::state::CR0_PE;
use crate::vmx::vmcs::Vmcs;
use x86::vmx::vmcs::guest;

const UNUSABLE: u64 = 1 << 16;

/// The granularity bit agrees with the limit.
fn granular(limit: u64, rights: u64) -> bool {
    let scaled = rights & 1 << 15 != 0;
    (limit & 0xfff == 0xfff || !scaled) && (limit >> 20 == 0 || scaled)
}

/// Each register by itself.
pub fn one_by_one(vmcs: &Vmcs) -> Option<Rule> {
    const NAMES: [&str; 8] = [
        "ES: ", "CS: ", "SS: ", "DS: ", "FS: ", "GS: ", "LDTR: ", "TR: ",
    ];
    const CS: usize = 1;
    const SS: usize = 2;
    const LDTR: usize = 6;
    const TR: usize = 7;
    let virtual_8086 = vmcs.read(guest::RFLAGS) & RFLAGS_VM != 0;
    for (index, name) in NAMES.into_iter().enumerate() {
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
                return Some((name, "base, limit or access rights in virtual-8086 mode"));
            }
            continue;
        }
        let wide = matches!(index, 4..=7);
        let base_holds = if wide {
            is_canonical(base)
        } else {
            base >> 32 == 0
        };
        if rights & UNUSABLE != 0 && index != CS && index != TR {
            // FS and GS keep their bases.
            if matches!(index, 4 | 5) && !base_holds {
                return Some((name, "base"));
            }
            continue;
        }
        let kind = rights & 0xf;
        let right_kind = match index {
            CS => matches!(kind, 3 | 9 | 11 | 13 | 15) && rights & 1 << 4 != 0,
            LDTR => kind == 2 && rights & 1 << 4 == 0,
            TR => (kind == 11 || kind == 3 && !in_long_mode(vmcs)) && rights & 1 << 4 == 0,
            SS => matches!(kind, 3 | 7) && rights & 1 << 4 != 0,
            _ => kind & 1 == 1 && (kind & 8 == 0 || kind & 2 != 0) && rights & 1 << 4 != 0,
        };
        let rules = [
            (base_holds, "base"),
            (granular(limit, rights), "limit and granularity"),
            (
                right_kind && rights & 1 << 7 != 0 && rights & 0xffff_0f00 == 0,
                "access rights",
            ),
        ];
        if let Some((_, rule)) = first(rules) {
            return Some((name, rule));
        }
    }
    None
}

/// Privilege levels and modes that do not go together, and selectors of no global descriptor.
pub fn together(vmcs: &Vmcs) -> Option<Rule> {
    if vmcs.read(guest::RFLAGS) & RFLAGS_VM != 0 {
        return None;
    }
    let [code, stack] = [guest::CS_ACCESS_RIGHTS, guest::SS_ACCESS_RIGHTS].map(|r| vmcs.read(r));
    let ring = |rights: u64| rights >> 5 & 3;
    let real = vmcs.read(guest::CR0) & CR0_PE == 0;
    let data = code & 0xf == 3;
    first([
        (
            match code & 0xf {
                3 => ring(code) == 0,
                9 | 11 => ring(code) == ring(stack),
                _ => ring(code) <= ring(stack),
            },
            "CS: access rights: DPL against that of SS",
        ),
        (
            ring(stack) == 0 || !(real || data),
            "SS: access rights: DPL in real mode",
        ),
        (
            !in_long_mode(vmcs) || code >> 13 & 3 != 3,
            "CS: access rights: L and D",
        ),
        (
            vmcs.read(guest::TR_SELECTOR) & 1 << 2 == 0,
            "TR: selector of a local descriptor",
        ),
        (
            vmcs.read(guest::LDTR_ACCESS_RIGHTS) & UNUSABLE != 0
                || vmcs.read(guest::LDTR_SELECTOR) & 1 << 2 == 0,
            "LDTR: selector of a local descriptor",
        ),
    ])
}
