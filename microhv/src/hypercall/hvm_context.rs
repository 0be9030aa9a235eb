//! The registers in which a vCPU starts: set by its creator (`XEN_DOMCTL_sethvmcontext`) or by a sibling
//! (`VCPUOP_initialise`).

use xen_abi::Errno;
use xen_abi::domctl::XenDomctlHvmcontext;
use xen_abi::hvm::save::{
    HVM_FILE_MAGIC, HVM_SAVE_CODE_CPU, HVM_SAVE_CODE_END, HVM_SAVE_CODE_HEADER, HvmHwCpu,
    HvmSaveDescriptor, HvmSaveHeader,
};
use xen_abi::vcpu::{VCPU_HVM_MODE_32B, VCPU_HVM_MODE_64B, VcpuHvmX86_32, VcpuHvmX86_64};
use xen_abi::zerocopy::{FromBytes, IntoBytes};

use super::{Caller, DONE, Result};
use crate::arch::cpu;
use crate::domain::{Domain, Vcpu};
use crate::guest_args::GuestArgs;
use crate::vcpu::guest_memory::GuestPhysical;
use crate::vcpu::state::{CR0_PE, CR0_PG, CR4_PAE, EFER_LMA, EFER_LME};
use crate::vcpu::{CpuState, Registers, Segment, Segments};

/// Records that one context may have.
const MAX_RECORDS: usize = 64;

/// Offset of the union in `struct vcpu_hvm_context`: behind `mode` and its padding.
const CONTEXT_UNION: usize = 8;

/// Loads the CPU records of a context into `domain`'s vCPUs, which are paused. Other records are refused.
pub fn set(caller: &Caller<'_>, domain: &Domain, arm: &XenDomctlHvmcontext) -> Result<()> {
    let mut memory = caller.memory(arm.buffer);
    let size = arm.size as usize;
    let mut offset = 0;
    for _ in 0..MAX_RECORDS {
        let descriptor: HvmSaveDescriptor = read_at(&mut memory, offset, size)?;
        offset += size_of::<HvmSaveDescriptor>();
        let length = descriptor.length as usize;
        match descriptor.typecode {
            HVM_SAVE_CODE_HEADER => {
                let header: HvmSaveHeader = read_at(&mut memory, offset, size)?;
                if header.magic != HVM_FILE_MAGIC {
                    return Err(Errno::EINVAL);
                }
            }
            HVM_SAVE_CODE_CPU if length == size_of::<HvmHwCpu>() => {
                let record: HvmHwCpu = read_at(&mut memory, offset, size)?;
                let id = u32::from(descriptor.instance);
                let vcpu = domain.vcpu(id).ok_or(Errno::EINVAL)?;
                let mut state = from_record(&record);
                complete(domain, &mut state)?;
                if !vcpu.initialise(&state) {
                    return Err(Errno::EBUSY);
                }
                vcpu.bring_up();
            }
            HVM_SAVE_CODE_END => return Ok(()),
            _ => return Err(Errno::EINVAL),
        }
        offset = offset.checked_add(length).ok_or(Errno::EINVAL)?;
    }
    Err(Errno::EINVAL)
}

fn read_at<T: FromBytes + IntoBytes>(
    memory: &mut super::caller::Memory<'_>,
    offset: usize,
    size: usize,
) -> Result<T> {
    let end = offset.checked_add(size_of::<T>()).ok_or(Errno::EINVAL)?;
    if end > size {
        return Err(Errno::EINVAL);
    }
    let mut value = T::new_zeroed();
    memory.read(offset, value.as_mut_bytes())?;
    Ok(value)
}

/// The state that a CPU record describes.
fn from_record(r: &HvmHwCpu) -> CpuState {
    let segment = |selector: u32, attributes: u32, limit: u32, base: u64| {
        Segment::new(selector as u16, attributes as u16, limit, base)
    };
    CpuState {
        registers: Registers {
            rax: r.rax,
            rbx: r.rbx,
            rcx: r.rcx,
            rdx: r.rdx,
            rbp: r.rbp,
            rsi: r.rsi,
            rdi: r.rdi,
            rsp: r.rsp,
            r8: r.r8,
            r9: r.r9,
            r10: r.r10,
            r11: r.r11,
            r12: r.r12,
            r13: r.r13,
            r14: r.r14,
            r15: r.r15,
            rip: r.rip,
            rflags: r.rflags,
        },
        cr0: r.cr0,
        cr2: r.cr2,
        cr3: r.cr3,
        cr4: r.cr4,
        pdptes: [0; 4],
        efer: r.msr_efer,
        segments: Segments {
            cs: segment(r.cs_sel, r.cs_arbytes, r.cs_limit, r.cs_base),
            ds: segment(r.ds_sel, r.ds_arbytes, r.ds_limit, r.ds_base),
            es: segment(r.es_sel, r.es_arbytes, r.es_limit, r.es_base),
            ss: segment(r.ss_sel, r.ss_arbytes, r.ss_limit, r.ss_base),
            fs: segment(r.fs_sel, r.fs_arbytes, r.fs_limit, r.fs_base),
            gs: segment(r.gs_sel, r.gs_arbytes, r.gs_limit, r.gs_base),
            ldtr: segment(r.ldtr_sel, r.ldtr_arbytes, r.ldtr_limit, r.ldtr_base),
            tr: segment(r.tr_sel, r.tr_arbytes, r.tr_limit, r.tr_base),
            gdtr: segment(0, 0, r.gdtr_limit & 0xffff, r.gdtr_base),
            idtr: segment(0, 0, r.idtr_limit & 0xffff, r.idtr_base),
        },
    }
}

/// Paging needs protection, long mode needs paging, and PAE paging the four entries that its tables begin with: not all
/// CPUs read them by themselves when a guest starts in that mode.
pub(super) fn complete(memory: &dyn GuestPhysical, state: &mut CpuState) -> Result<()> {
    let paging = state.cr0 & CR0_PG != 0;
    let possible = if paging {
        state.cr0 & CR0_PE != 0
    } else {
        state.efer & EFER_LMA == 0
    };
    possible.then_some(()).ok_or(Errno::EINVAL)?;
    if paging && state.cr4 & CR4_PAE != 0 && state.efer & EFER_LME == 0 {
        let mut entries = [0; 32];
        let read = memory.read(state.cr3 & 0xffff_ffe0, &mut entries);
        read.ok_or(Errno::EINVAL)?;
        for (to, from) in state.pdptes.iter_mut().zip(entries.as_chunks().0) {
            *to = u64::from_le_bytes(*from);
        }
        let reserved = u64::MAX << (cpu::cpuid(0x8000_0008, 0).eax & 0x3f) | 0x1e6;
        let bad = |entry: &u64| entry & 1 != 0 && entry & reserved != 0;
        let good = !state.pdptes.iter().any(bad);
        good.then_some(()).ok_or(Errno::EINVAL)?;
    }
    Ok(())
}

/// `VCPUOP_initialise`: a vCPU of the caller's own domain that has never run, in 32- or 64-bit mode.
pub fn initialise(caller: &Caller<'_>, vcpu: &Vcpu, argument: u64) -> Result {
    // One that a start-up IPI has started was never given a state.
    if vcpu.is_initialised() || vcpu.sched.is_online() {
        return Err(Errno::EEXIST);
    }
    let mode: u32 = caller.read(argument)?;
    let mut memory = caller.memory(argument);
    let mut state = match mode {
        VCPU_HVM_MODE_32B => {
            let mut context = VcpuHvmX86_32::default();
            memory.read(CONTEXT_UNION, context.as_mut_bytes())?;
            from_32(&context)
        }
        VCPU_HVM_MODE_64B => {
            let mut context = VcpuHvmX86_64::default();
            memory.read(CONTEXT_UNION, context.as_mut_bytes())?;
            from_64(&context)
        }
        _ => return Err(Errno::EINVAL),
    };
    complete(&*vcpu.domain, &mut state)?;
    if !vcpu.initialise(&state) {
        return Err(Errno::EEXIST);
    }
    Ok(DONE)
}

fn from_32(c: &VcpuHvmX86_32) -> CpuState {
    let segment = |attributes, limit, base: u32| Segment::new(0, attributes, limit, base.into());
    let start = CpuState::pvh(c.eip, c.ebx);
    CpuState {
        registers: Registers {
            rax: c.eax.into(),
            rcx: c.ecx.into(),
            rdx: c.edx.into(),
            rsp: c.esp.into(),
            rbp: c.ebp.into(),
            rsi: c.esi.into(),
            rdi: c.edi.into(),
            rflags: c.eflags.into(),
            ..start.registers
        },
        cr0: c.cr0.into(),
        cr3: c.cr3.into(),
        cr4: c.cr4.into(),
        efer: c.efer,
        segments: Segments {
            cs: segment(c.cs_ar, c.cs_limit, c.cs_base),
            ds: segment(c.ds_ar, c.ds_limit, c.ds_base),
            es: segment(c.es_ar, c.es_limit, c.es_base),
            ss: segment(c.ss_ar, c.ss_limit, c.ss_base),
            tr: segment(c.tr_ar, c.tr_limit, c.tr_base),
            ..start.segments
        },
        ..start
    }
}

fn from_64(c: &VcpuHvmX86_64) -> CpuState {
    /// A flat 64-bit code segment: present, type 0xb, L.
    const CODE64: u16 = 0xa9b;
    let mut start = CpuState::pvh(0, 0);
    start.segments.cs.attributes = CODE64;
    CpuState {
        registers: Registers {
            rax: c.rax,
            rcx: c.rcx,
            rdx: c.rdx,
            rbx: c.rbx,
            rsp: c.rsp,
            rbp: c.rbp,
            rsi: c.rsi,
            rdi: c.rdi,
            rip: c.rip,
            rflags: c.rflags,
            ..Registers::default()
        },
        cr0: c.cr0,
        cr3: c.cr3,
        cr4: c.cr4,
        efer: c.efer | EFER_LME | EFER_LMA,
        ..start
    }
}
