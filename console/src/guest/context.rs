//! The first vCPU's state as `XEN_DOMCTL_sethvmcontext` carries it.

use pvh::{SegmentRegister, VcpuState};
use xen_abi::hvm::save::HvmHwCpu;

/// `state` as a CPU record; FS and GS are like the other data segments, everything not named is zero.
#[must_use]
pub fn cpu_record(state: &VcpuState) -> HvmHwCpu {
    let attributes = |segment: SegmentRegister| u32::from(segment.attributes);
    let selector = |segment: SegmentRegister| u32::from(segment.selector);
    let VcpuState {
        cs, data, tr, ldtr, ..
    } = *state;
    HvmHwCpu {
        rip: state.rip,
        rbx: state.rbx,
        rflags: state.rflags,
        cr0: state.cr0,
        cr4: state.cr4,
        msr_efer: state.efer,
        dr6: state.dr6,
        dr7: state.dr7,
        cs_sel: selector(cs),
        cs_base: cs.base,
        cs_limit: cs.limit,
        cs_arbytes: attributes(cs),
        ds_base: data.base,
        ds_limit: data.limit,
        ds_arbytes: attributes(data),
        es_base: data.base,
        es_limit: data.limit,
        es_arbytes: attributes(data),
        ss_base: data.base,
        ss_limit: data.limit,
        ss_arbytes: attributes(data),
        fs_base: data.base,
        fs_limit: data.limit,
        fs_arbytes: attributes(data),
        gs_base: data.base,
        gs_limit: data.limit,
        gs_arbytes: attributes(data),
        tr_sel: selector(tr),
        tr_base: tr.base,
        tr_limit: tr.limit,
        tr_arbytes: attributes(tr),
        ldtr_base: ldtr.base,
        ldtr_limit: ldtr.limit,
        ldtr_arbytes: attributes(ldtr),
        ..HvmHwCpu::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pvh_entry_state_survives() {
        let record = cpu_record(&VcpuState::pvh_entry(0x100_0000, 0x200_0000));
        assert_eq!(
            (record.rip, record.rbx, record.cr0),
            (0x100_0000, 0x200_0000, 0x11)
        );
        assert_eq!(
            (record.cs_arbytes, record.ss_arbytes, record.tr_arbytes),
            (0xc9b, 0xc93, 0x8b)
        );
        assert_eq!((record.cs_limit, record.tr_limit), (u32::MAX, 0x67));
        assert_eq!(record.msr_efer, 0);
    }
}
