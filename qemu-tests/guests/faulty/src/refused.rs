//! `do=refused field=NAME`: starts the second vCPU in a state that no CPU can be in, which `VCPUOP_initialise` takes.
//! With `field=none` everything is as it should be, and the domain says so again and again; with `field=pae` too, and the
//! vCPU starts with PAE paging. `field=pdpte` is the same with a bit in its tables that must be zero: that is refused at once.

use super::hypercalls::call;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use domain::Instant;
use xen_abi::hypercall::HYPERVISOR_VCPU_OP;
use xen_abi::vcpu::{
    VCPU_HVM_MODE_32B, VCPU_HVM_MODE_64B, VCPUOP_INITIALISE, VCPUOP_UP, VcpuHvmX86_32,
    VcpuHvmX86_64,
};

/// Pages below 1 MiB, which the runtime leaves alone.
const CODE: usize = 0x8000;
const DATA: usize = 0x9000;
const POINTERS: usize = 0xa000;
const DIRECTORY: usize = 0xb000;
/// `lock inc dword ptr [0x9000]; cli; hlt`, in 32-bit mode.
const INSTRUCTIONS: [u8; 10] = [0xf0, 0xff, 0x05, 0x00, 0x90, 0x00, 0x00, 0xfa, 0xf4, 0xf4];

/// `struct vcpu_hvm_context`.
#[repr(C)]
struct Context<T> {
    mode: u32,
    _padding: u32,
    state: T,
}

/// Starts the second vCPU, or fails to.
pub fn start(field: &str) {
    for (offset, byte) in INSTRUCTIONS.into_iter().enumerate() {
        // SAFETY: the page is RAM below 1 MiB, mapped and unused.
        unsafe { ((CODE + offset) as *mut u8).write_volatile(byte) };
    }
    // SAFETY: aligned, and as above.
    let word = unsafe { AtomicU32::from_ptr(DATA as *mut u32) };
    word.store(0, Ordering::SeqCst);
    let mut state = VcpuHvmX86_32 {
        eip: CODE as u32,
        eflags: 2,
        cr0: 0x11,
        cs_limit: u32::MAX,
        ds_limit: u32::MAX,
        ss_limit: u32::MAX,
        es_limit: u32::MAX,
        tr_limit: 0x67,
        cs_ar: 0xc9b,
        ds_ar: 0xc93,
        ss_ar: 0xc93,
        es_ar: 0xc93,
        tr_ar: 0x8b,
        ..VcpuHvmX86_32::default()
    };
    match field {
        "none" => {}
        "pae" | "pdpte" => {
            let reserved = if field == "pdpte" { 1 << 1 } else { 0 };
            let entries = [
                (POINTERS, DIRECTORY as u64 | 1 | reserved),
                // The first 2 MiB, where they are.
                (DIRECTORY, 0x83),
            ];
            for (place, entry) in entries {
                // SAFETY: the pages are RAM below 1 MiB, mapped and unused.
                unsafe { (place as *mut u64).write_volatile(entry) };
            }
            (state.cr0, state.cr3, state.cr4) = (0x8000_0011, POINTERS as u32, 1 << 5);
        }
        // Bit 0 of 64-bit mode's page table address is of no interest: nothing is executed.
        "cr0" | "cr3" => {
            return initialise(
                VCPU_HVM_MODE_64B,
                VcpuHvmX86_64 {
                    rip: CODE as u64,
                    rflags: 2,
                    cr0: 0x8000_0011 | if field == "cr0" { 1 << 40 } else { 0 },
                    cr3: if field == "cr3" { 1 << 50 } else { 0 },
                    cr4: 1 << 5,
                    ..VcpuHvmX86_64::default()
                },
            );
        }
        "cr4" => state.cr4 = 1 << 17,
        "efer" => state.efer = 1 << 1,
        "rflags" => state.eflags = 0,
        "cs" => state.cs_ar |= 3 << 5,
        "ss" => state.ss_ar &= !(1 << 11),
        "tr" => state.tr_ar = 0x89,
        _ => return log::error!("faulty: field={field}?"),
    }
    initialise(VCPU_HVM_MODE_32B, state);
    while word.load(Ordering::SeqCst) != 1 {
        domain::time::sleep_until(Instant::now() + Duration::from_millis(10));
    }
    loop {
        log::info!("faulty: field={field}: the second vCPU has run, and the first does");
        domain::time::sleep_until(Instant::now() + Duration::from_secs(1));
    }
}

fn initialise<T>(mode: u32, state: T) {
    let context = Context {
        mode,
        _padding: 0,
        state,
    };
    let operation =
        |operation: u32, argument: u64| call(HYPERVISOR_VCPU_OP, operation.into(), 1, argument);
    let given = operation(VCPUOP_INITIALISE, (&raw const context) as u64);
    let up = operation(VCPUOP_UP, 0);
    log::info!("faulty: the second vCPU: {given}, {up}");
}
