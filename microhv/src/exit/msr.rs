//! Model-specific registers that exit.

use super::{Machine, cpuid, events, hypercall_page};
use crate::arch::{cpu, timer};
use crate::vcpu::{Event, VcpuRun};
use crate::vlapic::Effect;
use core::sync::atomic::{AtomicU32, Ordering};

const TSC: u32 = 0x10;
const PLATFORM_ID: u32 = 0x17;
const APIC_BASE: u32 = 0x1b;
const FEATURE_CONTROL: u32 = 0x3a;
const BIOS_UPDATE_TRIGGER: u32 = 0x79;
const BIOS_SIGNATURE: u32 = 0x8b;
const MTRR_CAP: u32 = 0xfe;
const MCG_CAP: u32 = 0x179;
const MCG_STATUS: u32 = 0x17a;
const MISC_ENABLE: u32 = 0x1a0;
const DEBUG_CONTROL: u32 = 0x1d9;
const PAT: u32 = 0x277;
const MTRR_DEF_TYPE: u32 = 0x2ff;
const X2APIC_FIRST: u32 = 0x800;
const X2APIC_LAST: u32 = 0x8ff;
/// Where CPUID leaf 0x40000002 says the hypercall page is asked for.
pub const HYPERCALL_PAGE: u32 = 0x4000_0000;
const EFER: u32 = 0xc000_0080;
const TSC_AUX: u32 = 0xc000_0103;
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
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
const EFER_NXE: u64 = 1 << 11;
const EFER_FFXSR: u64 = 1 << 14;
const CR0_PG: u64 = 1 << 31;

/// Registers that are only remembered.
#[derive(Clone, Copy, Debug)]
pub struct MsrState {
    mtrr_def_type: u64,
}

impl Default for MsrState {
    /// As after reset, with the MTRRs as firmware leaves them.
    fn default() -> Self {
        Self {
            mtrr_def_type: MTRR_DEF_TYPE_VALUE,
        }
    }
}

/// #GP: the register does not exist, or not with this value.
struct Fault;

/// RDMSR.
pub fn handle_read(machine: &dyn Machine, run: &mut VcpuRun, index: u32) {
    match read(machine, run, index) {
        Ok(value) => {
            run.hw.registers_mut().set_edx_eax(value);
            run.hw.skip_instruction();
        }
        Err(Fault) => {
            if seen_first_time(index) {
                log::debug!(
                    "{}v{}: RDMSR {index:#x}: #GP",
                    machine.domain_id(),
                    machine.vcpu_id()
                );
            }
            run.hw.inject(Event::GENERAL_PROTECTION);
        }
    }
}

/// WRMSR.
pub fn handle_write(machine: &dyn Machine, run: &mut VcpuRun, index: u32, value: u64) {
    match write(machine, run, index, value) {
        Ok(()) => run.hw.skip_instruction(),
        Err(Fault) => {
            if seen_first_time(index) {
                log::debug!(
                    "{}v{}: WRMSR {index:#x} {value:#x}: #GP",
                    machine.domain_id(),
                    machine.vcpu_id()
                );
            }
            run.hw.inject(Event::GENERAL_PROTECTION);
        }
    }
}

fn read(machine: &dyn Machine, run: &VcpuRun, index: u32) -> Result<u64, Fault> {
    Ok(match index {
        TSC => cpu::rdtsc().wrapping_add(run.hw.tsc_offset()),
        APIC_BASE => apic_base(machine),
        X2APIC_FIRST..=X2APIC_LAST => machine
            .vlapic()
            .read(index, timer::now_ns())
            .map_err(|_| Fault)?,
        EFER => run.hw.efer(),
        PAT => run.hw.pat(),
        TSC_AUX if cpuid::has_rdtscp() => run.hw.tsc_aux(),
        MTRR_DEF_TYPE => run.msrs.mtrr_def_type,
        MISC_ENABLE => MISC_ENABLE_VALUE,
        FEATURE_CONTROL => FEATURE_CONTROL_VALUE,
        DE_CFG => DE_CFG_VALUE,
        // No variable and no fixed ranges, no machine-check banks, no microcode revision.
        MTRR_CAP | MCG_CAP | MCG_STATUS | PLATFORM_ID | BIOS_SIGNATURE | DEBUG_CONTROL | SYSCFG
        | HWCR | INT_PENDING => 0,
        _ => return Err(Fault),
    })
}

fn write(machine: &dyn Machine, run: &mut VcpuRun, index: u32, value: u64) -> Result<(), Fault> {
    match index {
        X2APIC_FIRST..=X2APIC_LAST => write_apic(machine, index, value),
        EFER => write_efer(run, value),
        PAT => {
            if !value
                .to_le_bytes()
                .into_iter()
                .all(|entry| matches!(entry, 0 | 1 | 4..=7))
            {
                return Err(Fault);
            }
            run.hw.set_pat(value);
            Ok(())
        }
        TSC_AUX if cpuid::has_rdtscp() && value <= u32::MAX.into() => {
            run.hw.set_tsc_aux(value);
            run.load_tsc_aux();
            Ok(())
        }
        // The page number's low bits select one of several pages; there is one.
        HYPERCALL_PAGE if value & 0xfff == 0 && hypercall_page::fill(machine, value) => Ok(()),
        // Leaving x2APIC mode would need an emulated APIC page.
        APIC_BASE if value == apic_base(machine) => Ok(()),
        MTRR_DEF_TYPE if value & !MTRR_DEF_TYPE_WRITABLE == 0 => {
            run.msrs.mtrr_def_type = value;
            Ok(())
        }
        TSC | BIOS_UPDATE_TRIGGER | BIOS_SIGNATURE | MCG_STATUS | MISC_ENABLE | DEBUG_CONTROL
        | SYSCFG | HWCR | DE_CFG => Ok(()),
        _ => Err(Fault),
    }
}

fn apic_base(machine: &dyn Machine) -> u64 {
    APIC_BASE_VALUE
        | if machine.vcpu_id() == 0 {
            APIC_BASE_BSP
        } else {
            0
        }
}

fn write_apic(machine: &dyn Machine, index: u32, value: u64) -> Result<(), Fault> {
    match machine
        .vlapic()
        .write(index, value, timer::now_ns())
        .map_err(|_| Fault)?
    {
        Effect::None => {}
        Effect::Timer => machine.timer_changed(),
        Effect::Send(command) => events::send(machine, &command),
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
