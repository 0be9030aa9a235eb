//! Whether the host's KVM gives its guests what microhv needs.

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, Msrs, kvm_msr_entry};
use kvm_ioctls::Kvm;
use rustix::io::Errno;

/// CPUID leaf 0x80000001, ECX bit 2: SVM (AMD64 APM volume 3, appendix E.4.2).
const SVM: u32 = 1 << 2;
/// CPUID leaf 0x8000000a, EDX bit 0: nested paging (the same, E.4.9).
const NPT: u32 = 1;
/// CPUID leaf 1, ECX bit 5: VMX (Intel SDM volume 2, CPUID).
const VMX: u32 = 1 << 5;
/// IA32_VMX_PROCBASED_CTLS2: the high half has the controls that may be 1 (Intel SDM volume 3D, appendix A.3.3).
const PROCBASED_CTLS2: u32 = 0x48b;
/// Its bits 1, second-level page tables, and 7, guests in real mode.
const EPT: u64 = 1 << (32 + 1);
const UNRESTRICTED_GUEST: u64 = 1 << (32 + 7);

/// The virtualisation that a machine in KVM has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// AMD's, with NPT.
    Svm,
    /// Intel's, with EPT.
    Vmx,
}

/// Asks KVM. That `/dev/kvm` opens says nothing: many machines offer neither VMX nor SVM to guests.
///
/// # Errors
/// Why KVM is of no use here, in a few words.
pub fn offer() -> Result<Offer, &'static str> {
    let kvm = Kvm::new().map_err(|error| match error.errno() {
        errno if errno == Errno::NOENT.raw_os_error() => "there is no KVM",
        _ => "no access to /dev/kvm",
    })?;
    let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES);
    let cpuid = cpuid.map_err(|_| "KVM does not say what it offers")?;
    // What KVM would let a guest's hypervisor do, not what the host's own may.
    judge(&cpuid, |index| {
        let wanted = kvm_msr_entry {
            index,
            ..kvm_msr_entry::default()
        };
        let mut msrs = Msrs::from_entries(&[wanted]).ok()?;
        let count = kvm.get_msrs(&mut msrs).ok()?;
        msrs.as_slice().get(..count)?.first().map(|msr| msr.data)
    })
}

fn judge(cpuid: &CpuId, msr: impl Fn(u32) -> Option<u64>) -> Result<Offer, &'static str> {
    let leaf = |leaf| {
        let mut entries = cpuid.as_slice().iter();
        entries.find(|entry| entry.function == leaf)
    };
    if leaf(0x8000_0001).is_some_and(|leaf| leaf.ecx & SVM != 0) {
        let npt = leaf(0x8000_000a).is_some_and(|leaf| leaf.edx & NPT != 0);
        return npt
            .then_some(Offer::Svm)
            .ok_or("KVM offers SVM without nested paging (kvm_amd has npt=0)");
    }
    if leaf(1).is_none_or(|leaf| leaf.ecx & VMX == 0) {
        return Err("KVM offers no nested virtualisation");
    }
    let controls = msr(PROCBASED_CTLS2).unwrap_or(0);
    if controls & EPT == 0 {
        return Err("KVM offers VMX without EPT (kvm_intel has ept=0)");
    }
    if controls & UNRESTRICTED_GUEST == 0 {
        return Err(
            "KVM offers VMX without guests in real mode (kvm_intel has unrestricted_guest=0)",
        );
    }
    Ok(Offer::Vmx)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvm_bindings::kvm_cpuid_entry2;

    fn cpuid(leaves: &[(u32, u32, u32)]) -> CpuId {
        let entries: Vec<_> = leaves
            .iter()
            .map(|&(function, ecx, edx)| kvm_cpuid_entry2 {
                function,
                ecx,
                edx,
                ..kvm_cpuid_entry2::default()
            })
            .collect();
        CpuId::from_entries(&entries).unwrap()
    }

    #[test]
    fn nested_paging_is_asked_for_too() {
        let no_msr = |index| panic!("MSR {index:#x} of an AMD CPU");
        let amd = |edx| cpuid(&[(1, 0, 0), (0x8000_0001, 4, 0), (0x8000_000a, 0, edx)]);
        assert_eq!(judge(&amd(0x0009), no_msr), Ok(Offer::Svm));
        assert!(judge(&amd(0x0008), no_msr).unwrap_err().contains("npt=0"));
        let neither = cpuid(&[(1, !VMX, 0), (0x8000_0001, !SVM, 0), (0x8000_000a, 0, 1)]);
        let said = judge(&neither, no_msr).unwrap_err();
        assert_eq!(said, "KVM offers no nested virtualisation");
        assert_eq!(judge(&cpuid(&[]), no_msr), Err(said));
        let intel = |controls: Option<u64>| {
            judge(&cpuid(&[(1, VMX, 0)]), |index| {
                assert_eq!(index, 0x48b);
                controls
            })
        };
        assert_eq!(intel(Some(0x0000_0082_0000_0000)), Ok(Offer::Vmx));
        assert!(
            intel(Some(0x0000_0080_0000_0082))
                .unwrap_err()
                .contains("ept=0")
        );
        assert!(intel(None).unwrap_err().contains("ept=0"));
        let real = intel(Some(0x0000_0002_0000_0082)).unwrap_err();
        assert!(real.contains("unrestricted_guest=0"), "{real}");
    }
}
