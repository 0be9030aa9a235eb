//! Model-specific registers that exit.

use super::{cpuid, events, hypercall_page};
use crate::arch::{cpu, timer};
use crate::domain::Vcpu;
use crate::timers;
use crate::vcpu::state::{CR0_PG, EFER_LMA, EFER_LME, is_pat};
use crate::vcpu::{Event, VcpuRun};
// The fault: #GP, as the register does not exist, or not with this value.
use crate::vlapic::{Effect, IllegalAccess as Fault};
use core::sync::atomic::{AtomicU32, Ordering};
use x86::msr::{
    IA32_APIC_BASE, IA32_BIOS_SIGN_ID, IA32_BIOS_UPDT_TRIG, IA32_DEBUGCTL, IA32_EFER,
    IA32_FEATURE_CONTROL, IA32_MCG_CAP, IA32_MCG_STATUS, IA32_MISC_ENABLE, IA32_MTRR_DEF_TYPE,
    IA32_MTRRCAP, IA32_PAT, IA32_PLATFORM_ID, IA32_TIME_STAMP_COUNTER, IA32_TSC_AUX,
};

const X2APIC_FIRST: u32 = 0x800;
const X2APIC_LAST: u32 = 0x8ff;
/// Where CPUID leaf 0x40000002 says the hypercall page is asked for.
pub const HYPERCALL_PAGE: u32 = 0x4000_0000;
const SYSCFG: u32 = 0xc001_0010;
const HWCR: u32 = 0xc001_0015;
/// Read on every CPU of family 0xf to see whether its C1E state stops the local APIC's timer.
const INT_PENDING: u32 = 0xc001_0055;
const DE_CFG: u32 = 0xc001_1029;

/// The local APIC is on, in x2APIC mode (bits 11 and 10), at its usual place.
const APIC_BASE_VALUE: u64 = 0xfee0_0c00;
/// This is the boot CPU.
const APIC_BASE_BSP: u64 = 1 << 8;
/// MTRRs on, write-back unless a range says otherwise; there are no ranges.
const MTRR_DEF_TYPE_VALUE: u64 = 1 << 11 | 6;
const MTRR_DEF_TYPE_WRITABLE: u64 = 0xcff;
/// Fast strings on; no branch trace store, no precise event sampling.
const MISC_ENABLE_VALUE: u64 = 1 << 0 | 1 << 11 | 1 << 12;
/// LFENCE waits for all earlier instructions.
const DE_CFG_VALUE: u64 = 1 << 1;
/// Locked with nothing enabled.
const FEATURE_CONTROL_VALUE: u64 = 1;

const EFER_SCE: u64 = 1 << 0;
const EFER_NXE: u64 = 1 << 11;
const EFER_FFXSR: u64 = 1 << 14;

/// Registers that are only remembered.
#[derive(Clone, Copy, Debug)]
pub struct MsrState {
    mtrr_def_type: u64,
    /// What RDTSCP and RDPID give the guest in ecx. [`VcpuRun::load`] puts it into the CPU.
    pub tsc_aux: u64,
}

impl Default for MsrState {
    /// As after reset, with the MTRRs as firmware leaves them.
    fn default() -> Self {
        Self {
            mtrr_def_type: MTRR_DEF_TYPE_VALUE,
            tsc_aux: 0,
        }
    }
}

/// RDMSR.
pub fn handle_read(vcpu: &Vcpu, run: &mut VcpuRun, index: u32) {
    match read(vcpu, run, index) {
        Ok(value) => {
            run.hw.registers_mut().set_edx_eax(value);
            run.hw.skip_instruction();
        }
        Err(Fault) => refuse(vcpu, run, index, format_args!("RDMSR {index:#x}")),
    }
}

/// WRMSR.
pub fn handle_write(vcpu: &Vcpu, run: &mut VcpuRun, index: u32, value: u64) {
    match write(vcpu, run, index, value) {
        Ok(()) => run.hw.skip_instruction(),
        Err(Fault) => refuse(
            vcpu,
            run,
            index,
            format_args!("WRMSR {index:#x} {value:#x}"),
        ),
    }
}

/// #GP, with a log line for the first of each register.
fn refuse(vcpu: &Vcpu, run: &mut VcpuRun, index: u32, access: core::fmt::Arguments<'_>) {
    if seen_first_time(index) {
        log::debug!("{}v{}: {access}: #GP", vcpu.domain.id, vcpu.id);
    }
    run.hw.inject(Event::GENERAL_PROTECTION);
}

fn read(vcpu: &Vcpu, run: &VcpuRun, index: u32) -> Result<u64, Fault> {
    Ok(match index {
        IA32_TIME_STAMP_COUNTER => cpu::rdtsc(),
        IA32_APIC_BASE => apic_base(vcpu),
        X2APIC_FIRST..=X2APIC_LAST => vcpu.vlapic.read(index, timer::now_ns())?,
        IA32_EFER => run.hw.efer(),
        IA32_PAT => run.hw.pat(),
        IA32_TSC_AUX if cpuid::has_rdtscp() => run.msrs.tsc_aux,
        IA32_MTRR_DEF_TYPE => run.msrs.mtrr_def_type,
        IA32_MISC_ENABLE => MISC_ENABLE_VALUE,
        IA32_FEATURE_CONTROL => FEATURE_CONTROL_VALUE,
        DE_CFG => DE_CFG_VALUE,
        // No variable and no fixed ranges, no machine-check banks, no microcode revision.
        IA32_MTRRCAP | IA32_MCG_CAP | IA32_MCG_STATUS | IA32_PLATFORM_ID | IA32_BIOS_SIGN_ID
        | IA32_DEBUGCTL | SYSCFG | HWCR | INT_PENDING => 0,
        _ => return Err(Fault),
    })
}

fn write(vcpu: &Vcpu, run: &mut VcpuRun, index: u32, value: u64) -> Result<(), Fault> {
    match index {
        X2APIC_FIRST..=X2APIC_LAST => write_apic(vcpu, index, value),
        IA32_EFER => write_efer(run, value),
        IA32_PAT if is_pat(value) => {
            run.hw.set_pat(value);
            Ok(())
        }
        IA32_TSC_AUX if cpuid::has_rdtscp() && value <= u32::MAX.into() => {
            run.msrs.tsc_aux = value;
            run.load_tsc_aux();
            Ok(())
        }
        // The page number's low bits select one of several pages; there is one.
        HYPERCALL_PAGE if value & 0xfff == 0 && hypercall_page::fill(vcpu, value).is_some() => {
            Ok(())
        }
        // Leaving x2APIC mode would need an emulated APIC page.
        IA32_APIC_BASE if value == apic_base(vcpu) => Ok(()),
        IA32_MTRR_DEF_TYPE if value & !MTRR_DEF_TYPE_WRITABLE == 0 => {
            run.msrs.mtrr_def_type = value;
            Ok(())
        }
        IA32_TIME_STAMP_COUNTER
        | IA32_BIOS_UPDT_TRIG
        | IA32_BIOS_SIGN_ID
        | IA32_MCG_STATUS
        | IA32_MISC_ENABLE
        | IA32_DEBUGCTL
        | SYSCFG
        | HWCR
        | DE_CFG => Ok(()),
        _ => Err(Fault),
    }
}

fn apic_base(vcpu: &Vcpu) -> u64 {
    let boot = if vcpu.id == 0 { APIC_BASE_BSP } else { 0 };
    APIC_BASE_VALUE | boot
}

fn write_apic(vcpu: &Vcpu, index: u32, value: u64) -> Result<(), Fault> {
    match vcpu.vlapic.write(index, value, timer::now_ns())? {
        Effect::None => {}
        Effect::Timer => timers::arm(vcpu),
        Effect::Send(command) => events::send(vcpu, &command),
    }
    Ok(())
}

fn write_efer(run: &mut VcpuRun, value: u64) -> Result<(), Fault> {
    let mut allowed = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
    if cpuid::has_ffxsr() {
        allowed |= EFER_FFXSR;
    }
    let changes_mode = (value ^ run.hw.efer()) & EFER_LME != 0;
    if value & !allowed != 0 || (changes_mode && run.hw.cr0() & CR0_PG != 0) {
        return Err(Fault);
    }
    run.hw.set_efer(value);
    Ok(())
}

/// True the first time a register is named, for as many different ones as the table holds.
fn seen_first_time(index: u32) -> bool {
    static SEEN: [AtomicU32; 64] = [const { AtomicU32::new(0) }; 64];
    // 0 marks a free place; register 0 (P5_MC_ADDR) is then simply not logged.
    for place in &SEEN {
        match place.compare_exchange(0, index, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return index != 0,
            Err(other) if other == index => return false,
            Err(_) => {}
        }
    }
    false
}
