//! Real CPUs, by what they answered (github.com/InstLatx64/InstLatx64), and what has to come of it.

use super::measures::{
    BELOW, EXEC_SP, HANDLED, NO_MEANS, NOT_AFFECTED, SPEC_CTRL_BHI_DIS_S, SPEC_CTRL_IBRS,
    SPEC_CTRL_STIBP, UNWANTED,
};
use super::*;
use crate::arch::cpu::CpuidResult;

/// Leaf, subleaf; EAX, EBX, ECX, EDX.
pub(super) type Answer = (u32, u32, [u32; 4]);

/// One CPU: the last basic and extended leaves, the others, IA32_ARCH_CAPABILITIES.
pub(super) struct Recorded(u32, u32, &'static [Answer], Option<u64>);

const INTEL_E1: Answer = (0x8000_0001, 0, [0, 0, 0x121, 0x2c10_0800]);
const AMD_E1: Answer = (0x8000_0001, 0, [0, 0x4000_0000, 0x75c2_37ff, 0x2fd3_fbff]);

/// Microcode of 2016.
pub(super) const BROADWELL_OLD: Recorded = Recorded(
    20,
    0x8000_0008,
    &[INTEL_E1, (7, 0, [0, 0x021c_bfbb, 0, 0])],
    None,
);
pub(super) const BROADWELL: Recorded = Recorded(
    20,
    0x8000_0008,
    &[INTEL_E1, (7, 0, [0, 0x021c_bfbb, 0, 0x9c00_0400])],
    None,
);
pub(super) const SKYLAKE: Recorded = Recorded(
    22,
    0x8000_0008,
    &[INTEL_E1, (7, 0, [0, 0x029c_6fbf, 0, 0x9c00_2400])],
    None,
);
/// Microcode without TSX_CTRL.
pub(super) const CASCADE_LAKE: Recorded = Recorded(
    22,
    0x8000_0008,
    &[INTEL_E1, (7, 0, [0, 0xd39f_fffb, 0x808, 0xbc00_0400])],
    Some(0x2b),
);
pub(super) const ICE_LAKE: Recorded = Recorded(
    27,
    0x8000_0008,
    &[INTEL_E1, (7, 0, [0, 0xf3bf_bfff, 0x4041_7f4e, 0xbc04_0412])],
    Some(0x1eb),
);
pub(super) const SAPPHIRE_RAPIDS: Recorded = Recorded(
    32,
    0x8000_0008,
    &[
        INTEL_E1,
        (7, 0, [2, 0xf3bf_bffb, 0xbb41_7fee, 0xffdd_4430]),
        (7, 2, [0, 0, 0, 0x17]),
    ],
    Some(0xa8_fdeb),
);
pub(super) const GOLDMONT_PLUS: Recorded = Recorded(
    24,
    0x8000_0008,
    &[INTEL_E1, (7, 0, [0, 0x2294_e287, 0x4040_0004, 0xac00_0400])],
    Some(0x6b),
);
/// EPYC 7742.
pub(super) const ZEN_2: Recorded = Recorded(
    16,
    0x8000_0020,
    &[
        AMD_E1,
        (7, 0, [0, 0x219c_91a9, 0x40_0004, 0]),
        (0x8000_0008, 0, [0x3030, 0x018e_f757, 0x707f, 0]),
    ],
    None,
);
/// EPYC 7763.
pub(super) const ZEN_3: Recorded = Recorded(
    16,
    0x8000_0023,
    &[
        AMD_E1,
        (7, 0, [0, 0x219c_97a9, 0x40_068c, 0x10]),
        (0x8000_0008, 0, [0x3030, 0x91be_f75f, 0x603f, 0]),
        (0x8000_0021, 0, [0x204d, 0, 0, 0]),
    ],
    None,
);
/// EPYC 9124. It can flush its first-level cache and has no need to.
pub(super) const ZEN_4: Recorded = Recorded(
    16,
    0x8000_0028,
    &[
        AMD_E1,
        (7, 0, [1, 0xf1bf_97a9, 0x41_5fce, 0x1000_0010]),
        (0x8000_0008, 0, [0x3934, 0x79be_f25f, 0x601f, 0]),
        (0x8000_0021, 0, [0x0006_2fcf, 0x15c, 0, 0]),
    ],
    None,
);

/// What `cpu` says, and what comes of it.
pub(super) fn read(cpu: &Recorded, wish: &SpecCtrl, covered: bool) -> (String, Measures) {
    let &Recorded(basic, extended, answers, capabilities) = cpu;
    let cpuid = |leaf, subleaf| {
        let mut it = answers.iter();
        let found = it.find(|answer| (answer.0, answer.1) == (leaf, subleaf));
        let [eax, ebx, ecx, edx] = match (leaf, found) {
            (0, _) => [basic, 0, 0, 0],
            (0x8000_0000, _) => [extended, 0, 0, 0],
            (_, Some(answer)) => answer.2,
            (leaf, None) if leaf < 0x10 || (1 << 31..=extended).contains(&leaf) => [0; 4],
            _ => [!0; 4],
        };
        CpuidResult { eax, ebx, ecx, edx }
    };
    let register = || capabilities.expect("this CPU has no such register");
    let features = Features::new(&cpuid, register);
    let measures = measures::decide(&features, wish, covered);
    (features.to_string(), measures)
}

fn decide(cpu: &Recorded, wish: &SpecCtrl) -> Measures {
    read(cpu, wish, true).1
}

fn by_default(cpu: &Recorded) -> Measures {
    decide(cpu, &SpecCtrl::default())
}

#[test]
fn registers_get_what_the_manuals_say() {
    let legacy = by_default(&SKYLAKE);
    assert_eq!(legacy.spec_ctrl, Some(0));
    assert_eq!(legacy.at_exit, (MSR_SPEC_CTRL, SPEC_CTRL_IBRS));
    assert_eq!(legacy.at_entry, (MSR_SPEC_CTRL, 0));
    let enhanced = by_default(&SAPPHIRE_RAPIDS);
    let value = SPEC_CTRL_IBRS | SPEC_CTRL_BHI_DIS_S;
    assert_eq!(enhanced.spec_ctrl, Some(value));
    assert_eq!((enhanced.at_exit, enhanced.at_entry), ((0, 0), (0, 0)));
    let barrier = by_default(&ZEN_4);
    assert_eq!(barrier.spec_ctrl, Some(SPEC_CTRL_STIBP));
    assert_eq!(barrier.at_exit, (MSR_PRED_CMD, PRED_CMD_IBPB));
    assert_eq!(barrier.at_entry, (0, 0));
    assert_eq!(by_default(&BROADWELL_OLD).spec_ctrl, None, "there is none");
    assert_eq!((MSR_SPEC_CTRL, MSR_PRED_CMD), (0x48, 0x49));
}

/// `cpu` with other capabilities.
fn with(cpu: &Recorded, capabilities: u64) -> Measures {
    by_default(&Recorded(cpu.0, cpu.1, cpu.2, Some(capabilities)))
}

#[test]
fn each_capability_counts() {
    // TSX_CTRL: transactions go, and TAA with them; not where it is denied.
    let taa = with(&CASCADE_LAKE, 0x2b | 1 << 7);
    assert!(taa.tsx_off && !taa.verw);
    assert_eq!(taa.standing[3], HANDLED);
    assert!(!by_default(&ICE_LAKE).tsx_off);
    // MD_CLEAR says nothing where there is no MDS; FB_CLEAR and RFDS_CLEAR do, and the cache's flush is not enough then.
    for clear in [17, 28] {
        let measures = with(&ICE_LAKE, 0x1eb | 1 << clear);
        assert!(measures.verw && measures.standing[3] == HANDLED);
    }
    let both = with(&CASCADE_LAKE, 1 << 17 | 1 << 7);
    assert!(both.l1d_flush && both.verw);
    // Without RDCL_NO: flushed, unless the hypervisor below does it.
    let flushed = with(&CASCADE_LAKE, 0x22);
    assert!(flushed.l1d_flush && flushed.standing[2] == HANDLED);
    let below = with(&CASCADE_LAKE, 0x2a);
    assert!(!below.l1d_flush && below.standing[2] == BELOW);
    // MDS and a cache that cannot be flushed.
    assert!(with(&GOLDMONT_PLUS, 0x4b).verw);
    // BHI_NO.
    let denied = with(&CASCADE_LAKE, 0x2b | 1 << 20);
    assert_eq!(denied.standing[1], NOT_AFFECTED);
    assert!(denied.is_open() && !with(&ICE_LAKE, 0x1eb | 1 << 20).is_open());
}

/// `cpu`, of four leaves, with another leaf 0x80000021.
fn with_e21(cpu: &Recorded, eax: u32, ecx: u32) -> Measures {
    let &Recorded(basic, extended, &[e1, seven, e8, _], none) = cpu else {
        panic!("four leaves")
    };
    let answers = [e1, seven, e8, (0x8000_0021, 0, [eax, 0, ecx, 0])];
    by_default(&Recorded(basic, extended, answers.to_vec().leak(), none))
}

#[test]
fn a_cpu_whose_returns_are_safe_needs_no_barrier_at_exits() {
    const AUTO_IBRS: u32 = 1 << 8;
    let zen = |eax, ecx| with_e21(&ZEN_4, eax, ecx);
    let safe = zen(AUTO_IBRS | 1 << 29, 6);
    assert_eq!(safe.at_exit, (0, 0));
    assert!(safe.auto_ibrs && safe.ibpb && !safe.verw && !safe.is_open());
    let legacy = zen(1 << 29, 6);
    assert_eq!(
        legacy.at_exit,
        (MSR_SPEC_CTRL, SPEC_CTRL_IBRS | SPEC_CTRL_STIBP)
    );
    assert!(zen(1 << 5, 0).verw && zen(0, 0).verw);
    let confused = with_e21(&ZEN_3, AUTO_IBRS | 1 << 29, 6);
    assert_eq!(confused.at_exit, (MSR_PRED_CMD, PRED_CMD_IBPB), "BTC");
}

#[test]
fn the_operator_overrules_the_need_but_not_the_means() {
    let all = Some(true);
    let wish = SpecCtrl {
        ibrs: all,
        stibp: all,
        ibpb: all,
        ibpb_entry: all,
        rsb: all,
        verw: all,
        l1d_flush: all,
        exec_sp: all,
        enabled: true,
    };
    let poor = decide(&BROADWELL_OLD, &wish);
    assert!(poor.rsb && poor.verw, "these need no register");
    assert_eq!((poor.spec_ctrl, poor.at_exit), (None, (0, 0)));
    assert!(!poor.ibpb && !poor.l1d_flush && poor.is_open());
    let rich = decide(&SKYLAKE, &wish);
    assert_eq!(rich.spec_ctrl, Some(SPEC_CTRL_STIBP));
    assert_eq!(rich.at_exit, (MSR_PRED_CMD, PRED_CMD_IBPB));
    assert!(rich.ibpb && rich.verw && rich.l1d_flush);

    let no = SpecCtrl {
        enabled: false,
        ..wish
    };
    for cpu in [&BROADWELL, &SAPPHIRE_RAPIDS, &ZEN_4] {
        let nothing = decide(cpu, &no);
        assert_eq!(nothing.standing[0], UNWANTED);
        let expected = Measures {
            spec_ctrl: Some(0),
            auto_ibrs: false,
            tsx_off: false,
            ibpb: false,
            rsb: false,
            at_exit: (0, 0),
            at_entry: (0, 0),
            verw: false,
            l1d_flush: false,
            small_code: false,
            standing: nothing.standing,
        };
        assert_eq!(nothing, expected);
    }
    let wish = SpecCtrl {
        ibpb_entry: Some(false),
        ..SpecCtrl::default()
    };
    let measures = decide(&ZEN_4, &wish);
    assert_eq!(measures.standing[0], UNWANTED, "SRSO");
    assert!(measures.auto_ibrs && measures.ibpb);
    let wish = SpecCtrl {
        verw: Some(false),
        ..SpecCtrl::default()
    };
    let Recorded(basic, extended, answers, _) = CASCADE_LAKE;
    let buffers = |capabilities| {
        let cpu = Recorded(basic, extended, answers, Some(capabilities));
        decide(&cpu, &wish).standing[3]
    };
    assert_eq!(
        (buffers(0), buffers(1 << 17)),
        (HANDLED, UNWANTED),
        "FB_CLEAR: flushing is not enough"
    );
}

#[test]
fn code_in_large_pages_is_a_wish_of_its_own() {
    let code = |cpu, enabled, exec_sp| {
        let wish = SpecCtrl {
            enabled,
            exec_sp,
            ..SpecCtrl::default()
        };
        let measures = decide(cpu, &wish);
        (measures.small_code, measures.standing[4])
    };
    assert_eq!(code(&SKYLAKE, false, None), (true, HANDLED), "as in Xen");
    assert_eq!(code(&SKYLAKE, true, Some(true)), (false, EXEC_SP));
    assert_eq!(code(&ICE_LAKE, true, Some(false)), (true, NOT_AFFECTED));
    assert_eq!(code(&ZEN_2, true, Some(false)), (false, NOT_AFFECTED));
    const HYPERVISOR: Answer = (1, 0, [0, 0, 1 << 31, 0]);
    let below = Recorded(20, 0x8000_0008, &[INTEL_E1, HYPERVISOR], None);
    assert_eq!(code(&below, true, None), (false, BELOW));
    assert_eq!(code(&below, true, Some(false)), (true, HANDLED));
}

#[test]
fn a_backend_whose_assembly_lacks_the_macros_is_said_to_have_no_means() {
    for cpu in [&SKYLAKE, &SAPPHIRE_RAPIDS, &ZEN_4] {
        let (_, late) = read(cpu, &SpecCtrl::default(), false);
        assert!(!late.rsb && late.ibpb && late.is_open());
        assert_eq!((late.at_exit, late.at_entry), ((0, 0), (0, 0)));
        assert_eq!(late.standing[0], NO_MEANS);
        assert_eq!(late.standing[1..], by_default(cpu).standing[1..]);
    }
}

#[test]
fn threads_are_told_from_cores() {
    let share = |last, [eax, ebx, ecx]: [u32; 3], ids: &[u32]| {
        let cpuid = |leaf, _| CpuidResult {
            eax: if leaf == 0 { last } else { eax },
            ebx,
            ecx,
            edx: 0,
        };
        share_cores(cpuid, ids.iter().copied())
    };
    assert!(share(22, [1, 2, 0x100], &[0, 2, 1, 3]), "EPYC 7742");
    assert!(
        !share(22, [1, 2, 0x100], &[0, 2, 4]),
        "turned off in the firmware"
    );
    assert!(!share(16, [0, 1, 0x100], &[0, 1]), "EPYC 7763 without SMT");
    assert!(!share(20, [1, 1, 0x100], &[0, 1]), "Bochs 3.0");
    assert!(!share(20, [1, 2, 0x200], &[0, 1]), "a level of cores");
    assert!(!share(10, [1, 2, 0x100], &[0, 1]), "there is no such leaf");
}
