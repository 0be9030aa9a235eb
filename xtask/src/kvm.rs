//! Whether the host's KVM gives its guests what microhv needs.

use kvm_bindings::KVM_MAX_CPUID_ENTRIES;
use kvm_ioctls::Kvm;

/// CPUID leaf 0x80000001, ECX bit 2: SVM (AMD64 APM volume 3, appendix E.4.2).
const SVM: (u32, u32) = (0x8000_0001, 1 << 2);
/// CPUID leaf 1, ECX bit 5: VMX (Intel SDM volume 2, CPUID).
const VMX: (u32, u32) = (1, 1 << 5);

/// What KVM offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// AMD's virtualisation, nested.
    Svm,
    /// Intel's virtualisation, nested.
    Vmx,
    /// KVM, but no virtualisation inside it: of no use here.
    Plain,
    /// No usable `/dev/kvm`.
    Nothing,
}

/// Asks KVM. That `/dev/kvm` opens says nothing: many machines offer neither VMX nor SVM to guests.
pub fn offer() -> Offer {
    let Ok(kvm) = Kvm::new() else {
        return Offer::Nothing;
    };
    let Ok(cpuid) = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES) else {
        return Offer::Nothing;
    };
    let has = |(leaf, bit): (u32, u32)| {
        cpuid
            .as_slice()
            .iter()
            .any(|entry| entry.function == leaf && entry.ecx & bit != 0)
    };
    match (has(SVM), has(VMX)) {
        (true, _) => Offer::Svm,
        (_, true) => Offer::Vmx,
        _ => Offer::Plain,
    }
}
