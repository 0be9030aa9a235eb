//! Who we are, from the hypervisor's CPUID leaves: no store needed.

use xen_abi::DomId;
#[cfg(target_os = "none")]
use xen_abi::cpuid::*;

/// First of Xen's CPUID leaves (another hypervisor's interface may stand before).
#[cfg(target_os = "none")]
pub(crate) fn leaf_base() -> Option<u32> {
    use core::arch::x86_64::__cpuid;
    (0..0x100)
        .map(|block| XEN_CPUID_FIRST_LEAF + block * 0x100)
        .find(|&leaf| {
            let signature = __cpuid(leaf);
            (signature.ebx, signature.ecx, signature.edx)
                == (
                    XEN_CPUID_SIGNATURE_EBX,
                    XEN_CPUID_SIGNATURE_ECX,
                    XEN_CPUID_SIGNATURE_EDX,
                )
        })
}

/// This domain's number; `None` if the hypervisor does not tell.
#[cfg(target_os = "none")]
pub fn domid() -> Option<DomId> {
    let leaf = leaf_base()? + (XEN_CPUID_LEAF_HVM - XEN_CPUID_FIRST_LEAF);
    let answer = core::arch::x86_64::__cpuid(leaf);
    let features = HvmFeatures::from_bits_retain(answer.eax);
    if features.contains(HvmFeatures::DOMID_PRESENT) {
        DomId::try_from(answer.ecx).ok()
    } else {
        None
    }
}

/// The host's processes are no domains.
#[cfg(not(target_os = "none"))]
pub fn domid() -> Option<DomId> {
    None
}
