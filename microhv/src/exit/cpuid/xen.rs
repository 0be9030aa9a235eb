//! Xen's leaves (xen/include/public/arch-x86/cpuid.h).

use super::{CpuidResult, Guest, NOTHING, words};
use crate::exit::msr;
use xen_abi::cpuid::{self, HvmFeatures};

/// The first leaf.
pub const XEN_FIRST: u32 = cpuid::XEN_CPUID_FIRST_LEAF;
/// The last leaf we answer.
pub const XEN_LAST: u32 = cpuid::XEN_CPUID_LEAF_HVM;

/// The version whose interface this is: 4.17.
pub const XEN_VERSION: u32 = 4 << 16 | 17;

/// `XEN_CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD`.
const FEAT1_MMU_PT_UPDATE_PRESERVE_AD: u32 = 1 << 0;
/// Not always `UPCALL_VECTOR`, which makes Linux take events through the local APIC: each would end with an exit, where
/// the global vector needs no end of interrupt.
const HVM_FEATURES: HvmFeatures = HvmFeatures::APIC_ACCESS_VIRT
    .union(HvmFeatures::X2APIC_VIRT)
    .union(HvmFeatures::VCPU_ID_PRESENT)
    .union(HvmFeatures::DOMID_PRESENT);

pub fn answer(leaf: u32, subleaf: u32, guest: &Guest) -> CpuidResult {
    match leaf {
        0 => words(
            XEN_LAST,
            cpuid::XEN_CPUID_SIGNATURE_EBX,
            cpuid::XEN_CPUID_SIGNATURE_ECX,
            cpuid::XEN_CPUID_SIGNATURE_EDX,
        ),
        1 => words(XEN_VERSION, 0, 0, 0),
        2 => words(1, msr::HYPERCALL_PAGE, FEAT1_MMU_PT_UPDATE_PRESERVE_AD, 0),
        3 => time(subleaf, guest),
        4 if subleaf == 0 => {
            let upcall = if guest.delivers_interrupts {
                HvmFeatures::UPCALL_VECTOR
            } else {
                HvmFeatures::empty()
            };
            let features = (HVM_FEATURES | upcall).bits();
            words(features, guest.vcpu_id, guest.domain.into(), 0)
        }
        _ => NOTHING,
    }
}

/// Leaf 3: the guest's TSC runs at the host's rate; subleaf 1 converts it to nanoseconds.
fn time(subleaf: u32, guest: &Guest) -> CpuidResult {
    let khz = u32::try_from(guest.tsc_khz).unwrap_or(u32::MAX);
    match subleaf {
        0 => words(0, cpuid::XEN_CPUID_TSC_MODE_NEVER_EMULATE, khz, 0),
        2 => words(khz, 0, 0, 0),
        _ => NOTHING,
    }
}
