//! Segment registers between [`CpuState`]'s form and the fields of the control structure.

use super::vmcs::Vmcs;
use crate::vcpu::{CpuState, Segment, Table};
use x86::vmx::vmcs::guest;

/// Access rights: the register holds no segment (SDM 25.4.1).
const UNUSABLE: u32 = 1 << 16;
/// Attributes: present.
const PRESENT: u16 = 1 << 7;

/// Fields of one register are in steps of two from these: selector, limit, access rights, base. In the order ES, CS,
/// SS, DS, FS, GS, LDTR, TR.
const FIRST: [u32; 4] = [
    guest::ES_SELECTOR,
    guest::ES_LIMIT,
    guest::ES_ACCESS_RIGHTS,
    guest::ES_BASE,
];

/// Bits 8-11 of the packed attributes are bits 12-15 of the access rights.
const fn to_rights(attributes: u16) -> u32 {
    if attributes & PRESENT == 0 {
        return UNUSABLE;
    }
    attributes as u32 & 0xff | (attributes as u32 & 0xf00) << 4
}

const fn from_rights(rights: u32) -> u16 {
    if rights & UNUSABLE != 0 {
        return 0;
    }
    (rights & 0xff | rights >> 4 & 0xf00) as u16
}

fn registers(state: &mut CpuState) -> [&mut Segment; 8] {
    let CpuState {
        es,
        cs,
        ss,
        ds,
        fs,
        gs,
        ldtr,
        tr,
        ..
    } = state;
    [es, cs, ss, ds, fs, gs, ldtr, tr]
}

/// Writes all segment and table registers of `state`.
pub fn write(vmcs: &Vmcs, state: &CpuState) {
    for (step, segment) in (0..).step_by(2).zip(registers(&mut state.clone())) {
        let values = [
            segment.selector.into(),
            segment.limit.into(),
            to_rights(segment.attributes).into(),
            segment.base,
        ];
        for (first, value) in FIRST.into_iter().zip(values) {
            vmcs.write(first + step, value);
        }
    }
    for (limit, base, table) in [
        (guest::GDTR_LIMIT, guest::GDTR_BASE, state.gdtr),
        (guest::IDTR_LIMIT, guest::IDTR_BASE, state.idtr),
    ] {
        vmcs.write(limit, table.limit.into());
        vmcs.write(base, table.base);
    }
}

/// Reads them into `state`.
pub fn read(vmcs: &Vmcs, state: &mut CpuState) {
    for (step, segment) in (0..).step_by(2).zip(registers(state)) {
        let [selector, limit, rights, base] = FIRST.map(|first| vmcs.read(first + step));
        *segment = Segment {
            selector: selector as u16,
            limit: limit as u32,
            attributes: from_rights(rights as u32),
            base,
        };
    }
    let table = |limit, base| Table {
        limit: vmcs.read(limit) as u16,
        base: vmcs.read(base),
    };
    state.gdtr = table(guest::GDTR_LIMIT, guest::GDTR_BASE);
    state.idtr = table(guest::IDTR_LIMIT, guest::IDTR_BASE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_the_manuals() {
        assert_eq!(to_rights(0xc9b), 0xc09b);
        assert_eq!(to_rights(0xa9b), 0xa09b, "64-bit code");
        assert_eq!(to_rights(0x000), 1 << 16, "nothing there");
        assert_eq!(from_rights(0xc093), 0xc93);
        assert_eq!(from_rights(0x1_c093), 0);
    }

    #[test]
    fn every_register_has_its_fields() {
        let vmcs = Vmcs::new(1).unwrap();
        let mut state = CpuState::startup(0x9a);
        state.tr.base = 0x7777;
        state.gs.selector = 0x33;
        state.idtr.base = 0x1234;
        write(&vmcs, &state);
        assert_eq!(vmcs.read(guest::CS_SELECTOR), 0x9a00);
        assert_eq!(vmcs.read(guest::CS_BASE), 0x9a000);
        assert_eq!(vmcs.read(guest::CS_ACCESS_RIGHTS), 0x9b);
        assert_eq!(vmcs.read(guest::TR_BASE), 0x7777);
        assert_eq!(vmcs.read(guest::LDTR_ACCESS_RIGHTS), 0x82);
        assert_eq!(vmcs.read(guest::GS_SELECTOR), 0x33);
        assert_eq!(vmcs.read(guest::IDTR_BASE), 0x1234);
        let mut back = CpuState::pvh(0, 0);
        read(&vmcs, &mut back);
        assert_eq!(
            (back.cs, back.tr, back.gs, back.idtr),
            (state.cs, state.tr, state.gs, state.idtr)
        );
    }
}
