//! CPUID leaves 0x40000000 and up (`arch-x86/cpuid.h`).

abi_numbers! { u32;
    XEN_CPUID_FIRST_LEAF = 0x4000_0000;
    /// `XenVMMXenVMM` in EBX, ECX, EDX of the first leaf; EAX is the last leaf.
    XEN_CPUID_SIGNATURE_EBX = 0x566e_6558;
    XEN_CPUID_SIGNATURE_ECX = 0x6558_4d4d;
    XEN_CPUID_SIGNATURE_EDX = 0x4d4d_566e;
    /// EAX: `major << 16 | minor`.
    XEN_CPUID_LEAF_VERSION = XEN_CPUID_FIRST_LEAF + 1;
    /// EAX: hypercall pages; EBX: MSR to write the page's address to.
    XEN_CPUID_LEAF_HYPERCALL = XEN_CPUID_FIRST_LEAF + 2;
    /// Time: see the header for sub-leaves 0 to 2.
    XEN_CPUID_LEAF_TIME = XEN_CPUID_FIRST_LEAF + 3;
    /// EAX: [`HvmFeatures`]; EBX: vCPU id; ECX: domain id.
    XEN_CPUID_LEAF_HVM = XEN_CPUID_FIRST_LEAF + 4;
    /// EBX bits 0 to 7: machine address width.
    XEN_CPUID_LEAF_PV = XEN_CPUID_FIRST_LEAF + 5;
    /// The last leaf that Xen defines.
    XEN_CPUID_MAX_NUM_LEAVES = 5;
    /// EBX of the hypercall leaf, as Xen has always answered.
    XEN_HYPERCALL_MSR = 0x4000_0000;
    XEN_CPUID_TSC_EMULATED = 1 << 0;
    XEN_CPUID_HOST_TSC_RELIABLE = 1 << 1;
    XEN_CPUID_RDTSCP_INSTR_AVAIL = 1 << 2;
    XEN_CPUID_TSC_MODE_DEFAULT = 0;
    XEN_CPUID_TSC_MODE_ALWAYS_EMULATE = 1;
    XEN_CPUID_TSC_MODE_NEVER_EMULATE = 2;
}

abi_flags! {
    /// EAX of leaf 0x40000004.
    pub struct HvmFeatures: u32 {
        const APIC_ACCESS_VIRT = 1 << 0;
        const X2APIC_VIRT = 1 << 1;
        const IOMMU_MAPPINGS = 1 << 2;
        const VCPU_ID_PRESENT = 1 << 3;
        const DOMID_PRESENT = 1 << 4;
        const EXT_DEST_ID = 1 << 5;
        /// Per-vCPU upcall vectors work (not advertised by microhv: Linux then takes the global vector without EOI).
        const UPCALL_VECTOR = 1 << 6;
    }
}
