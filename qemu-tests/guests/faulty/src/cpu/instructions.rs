//! Instructions that exit: what they answer, and what they refuse.

use super::ensure;
use super::traps::{NONE, STEPS, fault_of};
use core::arch::x86_64::__cpuid_count;
use core::sync::atomic::Ordering;

const UNDEFINED: u64 = 6;
const PROTECTION: u64 = 13;

const EFER: u32 = 0xc000_0080;
const PAT: u32 = 0x277;

pub fn rdmsr(msr: u32) -> Result<u64, u64> {
    let (low, high): (u32, u32);
    let fault = fault_of!("rdmsr", in("ecx") msr, lateout("eax") low, lateout("edx") high);
    if fault == NONE {
        Ok(u64::from(high) << 32 | u64::from(low))
    } else {
        Err(fault)
    }
}

pub fn wrmsr(msr: u32, value: u64) -> Result<(), u64> {
    let fault =
        fault_of!("wrmsr", in("ecx") msr, in("eax") value as u32, in("edx") (value >> 32) as u32);
    if fault == NONE { Ok(()) } else { Err(fault) }
}

pub fn cpuid() -> Result<(), &'static str> {
    let one = __cpuid_count(1, 0);
    ensure(one.ecx & 1 << 31 != 0, "no hypervisor")?;
    ensure(one.ecx & 1 << 21 != 0, "no x2APIC")?;
    ensure(
        one.ecx & (1 << 3 | 1 << 5 | 1 << 24) == 0,
        "MONITOR, VMX or TSC deadline",
    )?;
    ensure(__cpuid_count(0x8000_0001, 0).ecx & 1 << 2 == 0, "SVM")?;
    ensure(__cpuid_count(0xa, 0).eax == 0, "performance counters")?;
    let xen = __cpuid_count(0x4000_0000, 0);
    ensure(xen.ebx == u32::from_le_bytes(*b"XenV"), "no Xen leaves")?;
    ensure(
        __cpuid_count(0x4000_00ff, 0).eax == 0,
        "a leaf beyond Xen's answers",
    )
}

pub fn virtualisation() -> Result<(), &'static str> {
    for (name, fault) in [
        ("VMRUN", fault_of!("vmrun rax", in("rax") 0)),
        ("VMLOAD", fault_of!("vmload rax", in("rax") 0)),
        ("VMSAVE", fault_of!("vmsave rax", in("rax") 0)),
        ("STGI", fault_of!("stgi")),
        ("CLGI", fault_of!("clgi")),
        (
            "INVLPGA",
            fault_of!("invlpga rax, ecx", in("rax") 0, in("ecx") 0),
        ),
        (
            "MONITOR",
            fault_of!("monitor", in("rax") 0, in("ecx") 0, in("edx") 0),
        ),
        ("MWAIT", fault_of!("mwait", in("eax") 0, in("ecx") 0)),
    ] {
        ensure(fault == UNDEFINED, name)?;
    }
    Ok(())
}

pub fn unknown_msrs() -> Result<(), &'static str> {
    for msr in [0x1234, 0x480, 0x8ff, 0xc001_0114, 0xc001_0117, 0xdead_beef] {
        ensure(rdmsr(msr) == Err(PROTECTION), "a read was answered")?;
        ensure(wrmsr(msr, 0) == Err(PROTECTION), "a write was taken")?;
    }
    ensure(
        fault_of!("rdpmc", in("ecx") 0, lateout("eax") _, lateout("edx") _) == PROTECTION,
        "RDPMC",
    )
}

pub fn illegal_values() -> Result<(), &'static str> {
    let efer = rdmsr(EFER).map_err(|_| "EFER cannot be read")?;
    ensure(efer & 1 << 12 == 0, "EFER shows SVME")?;
    ensure(
        wrmsr(EFER, efer | 1 << 12) == Err(PROTECTION),
        "EFER.SVME could be set",
    )?;
    ensure(
        wrmsr(EFER, efer & !(1 << 8)) == Err(PROTECTION),
        "EFER.LME could be cleared while paging",
    )?;
    ensure(
        wrmsr(PAT, 0x0202) == Err(PROTECTION),
        "PAT took a reserved type",
    )?;
    ensure(
        wrmsr(0x1b, 0xfee0_0900) == Err(PROTECTION),
        "x2APIC mode could be left",
    )?;
    ensure(
        wrmsr(0x4000_0000, 0x0fff_ffff_f000) == Err(PROTECTION),
        "a hypercall page where no memory is",
    )?;
    ensure(
        wrmsr(0x802, 0) == Err(PROTECTION),
        "the APIC id could be written",
    )
}

pub fn kept_values() -> Result<(), &'static str> {
    let pat = rdmsr(PAT).map_err(|_| "PAT cannot be read")?;
    ensure(
        wrmsr(PAT, 0x0007_0106_0007_0106).is_ok(),
        "PAT refused a legal value",
    )?;
    ensure(
        rdmsr(PAT) == Ok(0x0007_0106_0007_0106),
        "PAT lost its value",
    )?;
    let _ = wrmsr(PAT, pat);
    // KernelGSbase is switched by the hardware, TSC_AUX by microhv.
    ensure(wrmsr(0xc000_0102, 0x1234_5678_9abc).is_ok(), "KernelGSbase")?;
    domain::time::sleep_until(domain::Instant::now() + core::time::Duration::from_millis(5));
    ensure(
        rdmsr(0xc000_0102) == Ok(0x1234_5678_9abc),
        "KernelGSbase lost its value",
    )?;
    ensure(wrmsr(0xc000_0103, 0x77).is_ok(), "TSC_AUX")?;
    let aux: u32;
    ensure(
        fault_of!("rdtscp", out("ecx") aux, lateout("eax") _, lateout("edx") _) == NONE,
        "RDTSCP",
    )?;
    ensure(aux == 0x77, "RDTSCP shows another TSC_AUX")
}

pub fn ports() -> Result<(), &'static str> {
    let mut value: u64 = 0x1122_3344_5566_7788;
    let _ = fault_of!("in al, dx", in("dx") 0x61_u16, inout("rax") value);
    ensure(value == 0x1122_3344_5566_77ff, "8 bits")?;
    let _ = fault_of!("in ax, dx", in("dx") 0x3f8_u16, inout("rax") value);
    ensure(value == 0x1122_3344_5566_ffff, "16 bits")?;
    let _ = fault_of!("in eax, dx", in("dx") 0x3f8_u16, inout("rax") value);
    ensure(value == 0xffff_ffff, "32 bits")
}

pub fn string_io() -> Result<(), &'static str> {
    let bytes = [0_u8; 64];
    let (mut count, mut from) = (5_u64, bytes.as_ptr() as u64);
    let start = from;
    let fault = fault_of!("rep outsw", in("dx") 0x80_u16, inout("rcx") count, inout("rsi") from);
    ensure(
        fault == NONE && count == 0 && from == start + 10,
        "OUTS did not advance",
    )?;
    let mut to = [0_u8; 4];
    let fault = fault_of!("insb", in("dx") 0x80_u16, inout("rdi") to.as_mut_ptr() => _);
    ensure(fault == PROTECTION, "INS did something")
}

pub fn xsetbv() -> Result<(), &'static str> {
    if __cpuid_count(1, 0).ecx & 1 << 26 == 0 {
        return Ok(());
    }
    let set = |register: u32, low: u32| fault_of!("xsetbv", in("ecx") register, in("eax") low, in("edx") 0);
    let _ = fault_of!("mov {x}, cr4\nor {x}, 0x40600\nmov cr4, {x}", x = out(reg) _,);
    ensure(
        __cpuid_count(1, 0).ecx & 1 << 27 != 0,
        "OSXSAVE does not follow CR4",
    )?;
    let supported = __cpuid_count(0xd, 0).eax;
    ensure(
        set(0, 1) == NONE && set(0, 3) == NONE,
        "a legal value was refused",
    )?;
    ensure(
        __cpuid_count(0xd, 0).ebx == 576,
        "leaf 0xD does not follow XCR0",
    )?;
    ensure(set(0, 2) == PROTECTION, "XCR0 without x87")?;
    ensure(
        set(0, !supported | 3) == PROTECTION,
        "components that are not there",
    )?;
    ensure(set(1, 1) == PROTECTION, "a register that is not there")
}

pub fn single_step() -> Result<(), &'static str> {
    STEPS.store(0, Ordering::SeqCst);
    // The trap comes after the first NOP and each that follows, the last after the instruction that clears TF.
    let _ = fault_of!(
        "pushfq\npop {x}\nor {x}, 0x100\npush {x}\npopfq\nnop\nnop\nnop\nand {x}, -257\npush {x}\npopfq",
        x = out(reg) _,
    );
    let steps = STEPS.load(Ordering::SeqCst);
    ensure((5..=7).contains(&steps), "not one trap an instruction")
}
