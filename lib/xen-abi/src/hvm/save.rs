//! Records of an HVM context (`hvm/save.h`, `arch-x86/hvm/save.h`), as `XEN_DOMCTL_{get,set}hvmcontext` carry them:
//! a descriptor before each record, `HEADER` first, `END` last.

/// Type of [`HvmSaveHeader`].
pub const HVM_SAVE_CODE_HEADER: u16 = 1;
/// Type of [`HvmHwCpu`]; the instance is the vCPU.
pub const HVM_SAVE_CODE_CPU: u16 = 2;
/// Type of the empty last record.
pub const HVM_SAVE_CODE_END: u16 = 0;

/// `hvm_save_header.magic`.
pub const HVM_FILE_MAGIC: u32 = 0x5438_1286;
/// `hvm_save_header.version`.
pub const HVM_FILE_VERSION: u32 = 1;

abi_flags! {
    /// `hvm_hw_cpu.flags`.
    pub struct HvmCpuFlags: u32 {
        /// `fpu_regs` holds state.
        const FPU_INITIALISED = 1 << 0;
    }
}

abi_struct! {
    /// `struct hvm_save_descriptor`: `length` bytes follow.
    pub struct HvmSaveDescriptor {
        typecode: u16,
        instance: u16,
        length: u32,
    }

    /// `struct hvm_save_header`.
    pub struct HvmSaveHeader {
        magic: u32,
        version: u32,
        changeset: u64,
        cpuid: u32,
        gtsc_khz: u32,
    }

    /// `struct hvm_hw_cpu`: one vCPU's registers. `*_arbytes` are in VMX's access-rights format without bits 8 to 11
    /// squeezed out: type and S in bits 0 to 4, DPL 5 and 6, P 7, AVL 8, L 9, D/B 10, G 11 (SVM's attribute format).
    pub struct HvmHwCpu {
        fpu_regs: [u8; 512],
        rax: u64,
        rbx: u64,
        rcx: u64,
        rdx: u64,
        rbp: u64,
        rsi: u64,
        rdi: u64,
        rsp: u64,
        r8: u64,
        r9: u64,
        r10: u64,
        r11: u64,
        r12: u64,
        r13: u64,
        r14: u64,
        r15: u64,
        rip: u64,
        rflags: u64,
        cr0: u64,
        cr2: u64,
        cr3: u64,
        cr4: u64,
        dr0: u64,
        dr1: u64,
        dr2: u64,
        dr3: u64,
        dr6: u64,
        dr7: u64,
        cs_sel: u32,
        ds_sel: u32,
        es_sel: u32,
        fs_sel: u32,
        gs_sel: u32,
        ss_sel: u32,
        tr_sel: u32,
        ldtr_sel: u32,
        cs_limit: u32,
        ds_limit: u32,
        es_limit: u32,
        fs_limit: u32,
        gs_limit: u32,
        ss_limit: u32,
        tr_limit: u32,
        ldtr_limit: u32,
        idtr_limit: u32,
        gdtr_limit: u32,
        cs_base: u64,
        ds_base: u64,
        es_base: u64,
        fs_base: u64,
        gs_base: u64,
        ss_base: u64,
        tr_base: u64,
        ldtr_base: u64,
        idtr_base: u64,
        gdtr_base: u64,
        cs_arbytes: u32,
        ds_arbytes: u32,
        es_arbytes: u32,
        fs_arbytes: u32,
        gs_arbytes: u32,
        ss_arbytes: u32,
        tr_arbytes: u32,
        ldtr_arbytes: u32,
        sysenter_cs: u64,
        sysenter_esp: u64,
        sysenter_eip: u64,
        shadow_gs: u64,
        msr_flags: u64,
        msr_lstar: u64,
        msr_star: u64,
        msr_cstar: u64,
        msr_syscall_mask: u64,
        msr_efer: u64,
        msr_tsc_aux: u64,
        tsc: u64,
        /// Vector in bits 0 to 7, type 8 to 10, error-code-valid 11, valid 31.
        pending_event: u32,
        error_code: u32,
        flags: HvmCpuFlags,
        pad0: u32,
    }
}
