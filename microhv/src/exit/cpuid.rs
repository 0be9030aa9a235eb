//! CPUID as a domain sees it: the host's answers through lists of what is allowed, plus Xen's own leaves.
//! Lists and not exceptions, so that a CPU newer than this file shows nothing that microhv does not switch.

use crate::arch::{cpu, timer};
use crate::domain::Vcpu;
use crate::fpu;
use crate::vcpu::VcpuRun;
use core::sync::atomic::{AtomicU64, Ordering};
use cpu::CpuidResult;
pub use xen::XEN_VERSION;
use xen::{XEN_FIRST, XEN_LAST};

mod xen;

/// The highest basic and extended leaves shown.
const LAST_BASIC: u32 = 0xd;
const LAST_EXTENDED: u32 = 0x8000_0008;

/// Leaf 1 ECX: SSE3 PCLMULQDQ SSSE3 FMA CX16 PCID SSE4.1 SSE4.2 MOVBE POPCNT AES XSAVE AVX F16C RDRAND.
const LEAF1_ECX: u32 = bits(&[0, 1, 9, 12, 13, 17, 19, 20, 22, 23, 25, 26, 28, 29, 30]);
/// Leaf 1 EDX: FPU VME DE PSE TSC MSR PAE CX8 APIC SEP MTRR PGE CMOV PAT PSE36 CLFSH MMX FXSR SSE SSE2.
const LEAF1_EDX: u32 = bits(&[
    0, 1, 2, 3, 4, 5, 6, 8, 9, 11, 12, 13, 15, 16, 17, 19, 23, 24, 25, 26,
]);
const X2APIC: u32 = 1 << 21;
const XSAVE: u32 = 1 << 26;
const OSXSAVE: u32 = 1 << 27;
const HYPERVISOR: u32 = 1 << 31;
/// Leaf 7 EBX: FSGSBASE BMI1 AVX2 SMEP BMI2 ERMS INVPCID AVX512F AVX512DQ RDSEED ADX SMAP AVX512IFMA CLFLUSHOPT CLWB
/// AVX512CD SHA AVX512BW AVX512VL.
const LEAF7_EBX: u32 = bits(&[
    0, 3, 5, 7, 8, 9, 10, 16, 17, 18, 19, 20, 21, 23, 24, 28, 29, 30, 31,
]);
/// Leaf 7 ECX: AVX512VBMI UMIP PKU VBMI2 GFNI VAES VPCLMULQDQ VNNI BITALG VPOPCNTDQ RDPID.
const LEAF7_ECX: u32 = bits(&[1, 2, 3, 6, 8, 9, 10, 11, 12, 14, 22]);
const OSPKE: u32 = 1 << 4;
/// Leaf 7 EDX: FSRM.
const LEAF7_EDX: u32 = bits(&[4]);
/// Leaf 0xD subleaf 1 EAX: XSAVEOPT XSAVEC XGETBV1, and not XSAVES, whose MSR is not switched.
const LEAFD1_EAX: u32 = bits(&[0, 1, 2]);
/// Leaf 0x80000001 ECX: LAHF CR8 ABM SSE4A MISALIGNSSE 3DNOWPREFETCH XOP FMA4 TBM.
const EXT1_ECX: u32 = bits(&[0, 4, 5, 6, 7, 8, 11, 16, 21]);
/// Leaf 0x80000001 EDX: the copies of leaf 1, SYSCALL NX MMXEXT FFXSR 1GB RDTSCP LM 3DNOWEXT 3DNOW.
const EXT1_EDX: u32 = bits(&[
    0, 1, 2, 3, 4, 5, 6, 8, 9, 11, 12, 13, 15, 16, 17, 20, 22, 23, 24, 25, 26, 27, 29, 30, 31,
]);
const FFXSR: u32 = 1 << 25;
const RDTSCP: u32 = 1 << 27;
/// Leaf 0x80000007 EDX: invariant TSC.
const INVARIANT_TSC: u32 = 1 << 8;
/// Leaf 0x80000008 EBX: CLZERO XSAVEERPTR. Not WBNOINVD, which exits as WBINVD but is a byte longer.
const EXT8_EBX: u32 = bits(&[0, 2]);
/// Address bits that a four-level second-level table translates.
const PHYSICAL_BITS: u32 = 48;

const CR4_OSXSAVE: u64 = 1 << 18;
const CR4_PKE: u64 = 1 << 22;

const fn bits(list: &[u32]) -> u32 {
    let mut mask = 0;
    let mut index = 0;
    while index < list.len() {
        mask |= 1 << list[index];
        index += 1;
    }
    mask
}

/// What the answers depend on, besides the host.
#[derive(Clone, Copy)]
struct Guest {
    domain: u16,
    vcpu_id: u32,
    vcpu_count: u32,
    cr4: u64,
    /// State components that microhv switches.
    xcr0_supported: u64,
    tsc_khz: u64,
    /// The hardware delivers the local APIC's interrupts, so that the end of one costs nothing.
    delivers_interrupts: bool,
}

/// What the CPU itself answers to a leaf and subleaf.
type Host<'a> = &'a dyn Fn(u32, u32) -> CpuidResult;

/// The CPUID instruction.
pub fn handle(vcpu: &Vcpu, run: &mut VcpuRun) {
    let guest = Guest {
        domain: vcpu.domain.id.0,
        vcpu_id: vcpu.id,
        vcpu_count: vcpu.domain.vcpu_count(),
        cr4: run.hw.cr4(),
        xcr0_supported: fpu::supported(),
        tsc_khz: timer::tsc_khz(),
        delivers_interrupts: run.hw.delivers_interrupts(),
    };
    let registers = run.hw.registers_mut();
    let answer = answer(
        registers.rax as u32,
        registers.rcx as u32,
        &guest,
        &cpu::cpuid,
    );
    registers.rax = answer.eax.into();
    registers.rbx = answer.ebx.into();
    registers.rcx = answer.ecx.into();
    registers.rdx = answer.edx.into();
    run.hw.skip_instruction();
}

/// EDX of the host's leaf 0x80000001, asked once: under another hypervisor CPUID is slow.
fn extended_features() -> u32 {
    static CACHE: AtomicU64 = AtomicU64::new(0);
    const KNOWN: u64 = 1 << 32;
    let mut value = CACHE.load(Ordering::Relaxed);
    if value == 0 {
        value = KNOWN | u64::from(cpu::cpuid(0x8000_0001, 0).edx);
        CACHE.store(value, Ordering::Relaxed);
    }
    value as u32
}

/// The guest has RDTSCP or RDPID, so TSC_AUX exists.
pub fn has_rdtscp() -> bool {
    extended_features() & RDTSCP != 0
}

/// The guest may set EFER.FFXSR.
pub fn has_ffxsr() -> bool {
    extended_features() & FFXSR != 0
}

/// An answer, register by register.
const fn words(eax: u32, ebx: u32, ecx: u32, edx: u32) -> CpuidResult {
    CpuidResult { eax, ebx, ecx, edx }
}

const NOTHING: CpuidResult = words(0, 0, 0, 0);

/// The whole policy. `host` asks the CPU, while the guest's XCR0 is in it.
fn answer(leaf: u32, subleaf: u32, guest: &Guest, host: Host<'_>) -> CpuidResult {
    match leaf {
        0 | 0x8000_0000 => {
            let real = host(leaf, 0);
            let last = if leaf == 0 { LAST_BASIC } else { LAST_EXTENDED };
            CpuidResult {
                eax: real.eax.min(last),
                ..real
            }
        }
        XEN_FIRST..=XEN_LAST => xen::answer(leaf - XEN_FIRST, subleaf, guest),
        1..=LAST_BASIC if leaf <= host(0, 0).eax => basic(leaf, subleaf, guest, host),
        0x8000_0001..=LAST_EXTENDED if leaf <= host(0x8000_0000, 0).eax => extended(leaf, host),
        _ => NOTHING,
    }
}

fn basic(leaf: u32, subleaf: u32, guest: &Guest, host: Host<'_>) -> CpuidResult {
    let real = host(leaf, subleaf);
    match leaf {
        1 => {
            let mut ecx = real.ecx & LEAF1_ECX | X2APIC | HYPERVISOR;
            if guest.xcr0_supported == 0 {
                ecx &= !XSAVE;
            } else if guest.cr4 & CR4_OSXSAVE != 0 {
                ecx |= OSXSAVE;
            }
            let apic_id = guest.vcpu_id.saturating_mul(2).min(255);
            // Brand index and CLFLUSH size are the host's; no hyper-threads are claimed.
            words(
                real.eax,
                real.ebx & 0xffff | apic_id << 24,
                ecx,
                real.edx & LEAF1_EDX,
            )
        }
        // Cache descriptors and sizes, with each vCPU in a package of its own.
        2 => real,
        4 => CpuidResult {
            eax: real.eax & 0x3fff,
            ..real
        },
        7 if subleaf == 0 => {
            let mut ecx = real.ecx & LEAF7_ECX;
            if guest.cr4 & CR4_PKE != 0 {
                ecx |= OSPKE;
            }
            words(0, real.ebx & LEAF7_EBX, ecx, real.edx & LEAF7_EDX)
        }
        0xb => topology(subleaf, guest),
        0xd if guest.xcr0_supported != 0 => extended_state(subleaf, guest, real, host),
        // MONITOR, power, direct cache access, performance monitoring and whatever is not named above.
        _ => NOTHING,
    }
}

/// Leaf 0xB: the lowest bit of the APIC id would be the thread, of which there is one a core.
fn topology(subleaf: u32, guest: &Guest) -> CpuidResult {
    let id = guest.vcpu_id.saturating_mul(2);
    let ids = guest.vcpu_count.max(1).saturating_mul(2);
    let (shift, count, kind) = match subleaf {
        0 => (1, 1, 1),
        1 => (
            ids.checked_next_power_of_two()
                .unwrap_or(1)
                .trailing_zeros(),
            guest.vcpu_count,
            2,
        ),
        _ => (0, 0, 0),
    };
    words(shift, count & 0xffff, subleaf & 0xff | kind << 8, id)
}

/// Leaf 0xD. The host's EBX already follows the guest's XCR0.
fn extended_state(subleaf: u32, guest: &Guest, real: CpuidResult, host: Host<'_>) -> CpuidResult {
    let supported = guest.xcr0_supported;
    match subleaf {
        0 => {
            // The end of the last component, after the legacy area and the header.
            let mut size = 512 + 64;
            for component in 2..63 {
                if supported & 1 << component != 0 {
                    let place = host(0xd, component);
                    size = size.max(place.ebx.saturating_add(place.eax));
                }
            }
            words(supported as u32, real.ebx, size, (supported >> 32) as u32)
        }
        1 => words(real.eax & LEAFD1_EAX, real.ebx, 0, 0),
        2..63 if supported & 1 << subleaf != 0 => real,
        _ => NOTHING,
    }
}

fn extended(leaf: u32, host: Host<'_>) -> CpuidResult {
    let real = host(leaf, 0);
    match leaf {
        0x8000_0001 => words(real.eax, real.ebx, real.ecx & EXT1_ECX, real.edx & EXT1_EDX),
        // The brand string and cache sizes.
        0x8000_0002..=0x8000_0006 => real,
        0x8000_0007 => words(0, 0, 0, real.edx & INVARIANT_TSC),
        0x8000_0008 => {
            let physical = (real.eax & 0xff).min(PHYSICAL_BITS);
            words(real.eax & 0xff00 | physical, real.ebx & EXT8_EBX, 0, 0)
        }
        _ => NOTHING,
    }
}

#[cfg(test)]
mod tests;
