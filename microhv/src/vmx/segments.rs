//! Segment registers between [`Segments`] and the fields of the control structure.

use super::vmcs::Vmcs;
use crate::vcpu::{Segment, Segments};
use x86::vmx::vmcs::guest;

/// Access rights: the register holds no segment (SDM 25.4.1).
const UNUSABLE: u32 = 1 << 16;
/// Attributes: present.
const PRESENT: u16 = 1 << 7;
/// From the fields of ES to those of TR.
const TR: u32 = guest::TR_SELECTOR - guest::ES_SELECTOR;

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

/// In the order of their fields, which are in steps of two. The last two are tables: no selector, no access rights.
fn in_order(segments: &mut Segments) -> [&mut Segment; 10] {
    let s = segments;
    [
        &mut s.es,
        &mut s.cs,
        &mut s.ss,
        &mut s.ds,
        &mut s.fs,
        &mut s.gs,
        &mut s.ldtr,
        &mut s.tr,
        &mut s.gdtr,
        &mut s.idtr,
    ]
}
const _: () = assert!(guest::IDTR_LIMIT == guest::ES_LIMIT + 18);
const _: () = assert!(guest::IDTR_BASE == guest::ES_BASE + 18);

/// Writes all segment and table registers.
pub fn write(vmcs: &Vmcs, mut segments: Segments) {
    for (step, segment) in (0..).step_by(2).zip(in_order(&mut segments)) {
        vmcs.write(guest::ES_LIMIT + step, segment.limit.into());
        vmcs.write(guest::ES_BASE + step, segment.base);
        if step <= TR {
            vmcs.write(guest::ES_SELECTOR + step, segment.selector.into());
            let rights = to_rights(segment.attributes).into();
            vmcs.write(guest::ES_ACCESS_RIGHTS + step, rights);
        }
    }
}

/// Reads them.
pub fn read(vmcs: &Vmcs) -> Segments {
    let mut segments = Segments::default();
    for (step, segment) in (0..).step_by(2).zip(in_order(&mut segments)) {
        segment.limit = vmcs.read(guest::ES_LIMIT + step) as u32;
        segment.base = vmcs.read(guest::ES_BASE + step);
        if step <= TR {
            segment.selector = vmcs.read(guest::ES_SELECTOR + step) as u16;
            segment.attributes = from_rights(vmcs.read(guest::ES_ACCESS_RIGHTS + step) as u32);
        }
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vcpu::CpuState;

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
        let mut state = CpuState::startup(0x9a).segments;
        state.tr.base = 0x7777;
        state.gs.selector = 0x33;
        state.idtr.base = 0x1234;
        write(&vmcs, state);
        assert_eq!(vmcs.read(guest::CS_SELECTOR), 0x9a00);
        assert_eq!(vmcs.read(guest::CS_BASE), 0x9a000);
        assert_eq!(vmcs.read(guest::CS_ACCESS_RIGHTS), 0x9b);
        assert_eq!(vmcs.read(guest::TR_BASE), 0x7777);
        assert_eq!(vmcs.read(guest::LDTR_ACCESS_RIGHTS), 0x82);
        assert_eq!(vmcs.read(guest::GS_SELECTOR), 0x33);
        assert_eq!(vmcs.read(guest::IDTR_BASE), 0x1234);
        assert_eq!(read(&vmcs), state);
    }
}
