use super::*;
use proptest::prelude::*;

const GUEST: Guest = Guest {
    domain: 5,
    vcpu_id: 1,
    vcpu_count: 2,
    cr4: 0,
    xcr0_supported: 7,
    tsc_khz: 2_400_000,
    delivers_interrupts: false,
};

/// A host that has everything.
fn all(leaf: u32, _: u32) -> CpuidResult {
    let eax = match leaf {
        0 => 0x20,
        0x8000_0000 => 0x8000_0021,
        _ => u32::MAX,
    };
    CpuidResult {
        eax,
        ebx: u32::MAX,
        ecx: u32::MAX,
        edx: u32::MAX,
    }
}

#[test]
fn what_is_not_switched_is_hidden() {
    let one = answer(1, 0, &GUEST, &all);
    assert_eq!(
        one.ecx & (1 << 3 | 1 << 5 | 1 << 15 | 1 << 24),
        0,
        "MONITOR, VMX, PDCM, TSC deadline"
    );
    assert_eq!(one.ecx & (X2APIC | HYPERVISOR), X2APIC | HYPERVISOR);
    assert_eq!(one.ebx >> 24, 2, "APIC id");
    assert_eq!(answer(5, 0, &GUEST, &all), NOTHING, "MONITOR");
    assert_eq!(
        answer(0xa, 0, &GUEST, &all),
        NOTHING,
        "performance monitoring"
    );
    assert_eq!(answer(0x8000_0001, 0, &GUEST, &all).ecx & 1 << 2, 0, "SVM");
    assert_eq!(answer(0x8000_000a, 0, &GUEST, &all), NOTHING);
    assert_eq!(answer(0x8000_0000, 0, &GUEST, &all).eax, 0x8000_0008);
    assert_eq!(answer(0xd, 1, &GUEST, &all).eax & 1 << 3, 0, "XSAVES");
    assert_eq!(answer(7, 0, &GUEST, &all).ecx & 1 << 16, 0, "LA57");
}

#[test]
fn bits_that_follow_cr4() {
    assert_eq!(answer(1, 0, &GUEST, &all).ecx & OSXSAVE, 0);
    assert_eq!(answer(7, 0, &GUEST, &all).ecx & OSPKE, 0);
    let guest = Guest {
        cr4: CR4_OSXSAVE | CR4_PKE,
        ..GUEST
    };
    assert_eq!(answer(1, 0, &guest, &all).ecx & OSXSAVE, OSXSAVE);
    assert_eq!(answer(7, 0, &guest, &all).ecx & OSPKE, OSPKE);
    let without = Guest {
        xcr0_supported: 0,
        ..guest
    };
    assert_eq!(answer(1, 0, &without, &all).ecx & (XSAVE | OSXSAVE), 0);
    assert_eq!(answer(0xd, 0, &without, &all), NOTHING);
}

#[test]
fn xen_is_there() {
    let base = answer(0x4000_0000, 0, &GUEST, &all);
    let mut name = Vec::new();
    for part in [base.ebx, base.ecx, base.edx] {
        name.extend(part.to_le_bytes());
    }
    assert_eq!(
        (name.as_slice(), base.eax),
        (&b"XenVMMXenVMM"[..], 0x4000_0004)
    );
    assert_eq!(answer(0x4000_0001, 0, &GUEST, &all).eax, 0x4_0011);
    assert_eq!(answer(0x4000_0002, 0, &GUEST, &all).ebx, 0x4000_0000);
    assert_eq!(answer(0x4000_0003, 2, &GUEST, &all).eax, 2_400_000);
    let hvm = answer(0x4000_0004, 0, &GUEST, &all);
    assert_eq!((hvm.eax, hvm.ebx, hvm.ecx), (0x1b, 1, 5));
    assert_eq!(answer(0x4000_0005, 0, &GUEST, &all), NOTHING);
}

#[test]
fn topology_matches_apic_ids() {
    let thread = answer(0xb, 0, &GUEST, &all);
    assert_eq!(
        (thread.eax, thread.ebx, thread.ecx, thread.edx),
        (1, 1, 0x100, 2)
    );
    let core = answer(0xb, 1, &GUEST, &all);
    assert_eq!((core.eax, core.ebx, core.ecx, core.edx), (2, 2, 0x201, 2));
    assert_eq!(answer(0xb, 2, &GUEST, &all).ebx, 0);
    let many = Guest {
        vcpu_count: 5,
        ..GUEST
    };
    assert_eq!(
        answer(0xb, 1, &many, &all).eax,
        4,
        "ids up to 8 need four bits"
    );
}

#[test]
fn extended_state_is_what_is_switched() {
    let host = |leaf, subleaf| match (leaf, subleaf) {
        (0xd, 2) => CpuidResult {
            eax: 256,
            ebx: 576,
            ecx: 0,
            edx: 0,
        },
        (0xd, 17) => CpuidResult {
            eax: 8192,
            ebx: 2816,
            ecx: 0,
            edx: 0,
        },
        _ => all(leaf, subleaf),
    };
    let zero = answer(0xd, 0, &GUEST, &host);
    assert_eq!((zero.eax, zero.ecx, zero.edx), (7, 832, 0));
    assert_eq!(answer(0xd, 2, &GUEST, &host).ebx, 576);
    assert_eq!(answer(0xd, 17, &GUEST, &host), NOTHING, "AMX");
}

proptest! {
    #[test]
    fn any_leaf_has_an_answer(leaf: u32, subleaf: u32, vcpu_id: u32, vcpu_count: u32) {
        let _ = answer(leaf, subleaf, &Guest { vcpu_id, vcpu_count, ..GUEST }, &all);
    }
}
