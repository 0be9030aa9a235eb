//! HVM parameters (`hvm/params.h`).

abi_numbers! { u32;
    /// How event-channel upcalls arrive: see [`HVM_PARAM_CALLBACK_TYPE_SHIFT`].
    HVM_PARAM_CALLBACK_IRQ = 0;
    HVM_PARAM_STORE_PFN = 1;
    HVM_PARAM_STORE_EVTCHN = 2;
    HVM_PARAM_PAE_ENABLED = 4;
    HVM_PARAM_IOREQ_PFN = 5;
    HVM_PARAM_BUFIOREQ_PFN = 6;
    HVM_PARAM_VIRIDIAN = 9;
    HVM_PARAM_TIMER_MODE = 10;
    HVM_PARAM_HPET_ENABLED = 11;
    HVM_PARAM_IDENT_PT = 12;
    HVM_PARAM_ACPI_S_STATE = 14;
    HVM_PARAM_VM86_TSS = 15;
    HVM_PARAM_VPT_ALIGN = 16;
    HVM_PARAM_CONSOLE_PFN = 17;
    HVM_PARAM_CONSOLE_EVTCHN = 18;
    HVM_PARAM_ACPI_IOPORTS_LOCATION = 19;
    HVM_PARAM_TRIPLE_FAULT_REASON = 31;
    HVM_PARAM_VM_GENERATION_ID_ADDR = 34;
    HVM_PARAM_ALTP2M = 35;
    HVM_PARAM_X87_FIP_WIDTH = 36;
    HVM_PARAM_VM86_TSS_SIZED = 37;
    HVM_PARAM_MCA_CAP = 38;
    HVM_NR_PARAMS = 39;
}

/// The type is in bits 56 to 63 of `HVM_PARAM_CALLBACK_IRQ`.
pub const HVM_PARAM_CALLBACK_TYPE_SHIFT: u32 = 56;
/// Type: a global system interrupt in the low bits.
pub const HVM_PARAM_CALLBACK_TYPE_GSI: u64 = 0;
/// Type: a PCI INTx line.
pub const HVM_PARAM_CALLBACK_TYPE_PCI_INTX: u64 = 1;
/// Type: a vector in bits 0 to 7, delivered to every vCPU without the local APIC (no EOI).
pub const HVM_PARAM_CALLBACK_TYPE_VECTOR: u64 = 2;
