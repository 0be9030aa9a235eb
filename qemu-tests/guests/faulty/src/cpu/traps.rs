//! An interrupt table of our own: exceptions are noted and jumped over, interrupts counted.

use core::arch::naked_asm;
use core::sync::atomic::{AtomicU64, Ordering};

/// Vectors of the interrupts that the checks send to themselves.
pub const VECTORS: [u8; 3] = [0x40, 0x50, 0x60];
/// No exception came.
pub const NONE: u64 = u64::MAX;

/// The exception that came last.
pub static FAULT: AtomicU64 = AtomicU64::new(NONE);
/// Where an exception continues.
pub static RECOVER: AtomicU64 = AtomicU64::new(0);
/// #DB and NMI taken.
pub static STEPS: AtomicU64 = AtomicU64::new(0);
pub static NMIS: AtomicU64 = AtomicU64::new(0);
/// The interrupts in the order they came, a byte each, the last lowest.
pub static ORDER: AtomicU64 = AtomicU64::new(0);

#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct Gate([u64; 2]);

static mut TABLE: [Gate; 256] = [Gate([0; 2]); 256];

#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

/// Loads the table; interrupts stay off.
pub fn install() {
    let cs: u64;
    // SAFETY: reads a selector.
    unsafe { core::arch::asm!("mov {}, cs", out(reg) cs) };
    let set = |vector: u8, handler: unsafe extern "C" fn()| {
        let at = handler as usize as u64;
        let low = at & 0xffff | cs << 16 | 0x8e00 << 32 | (at >> 16 & 0xffff) << 48;
        // SAFETY: the table is ours, and not loaded before this function's end.
        unsafe { TABLE[usize::from(vector)] = Gate([low, at >> 32]) };
    };
    set(1, on_step);
    set(2, on_nmi);
    set(6, on_undefined);
    set(13, on_protection);
    set(VECTORS[0], on_interrupt::<0x40>);
    set(VECTORS[1], on_interrupt::<0x50>);
    set(VECTORS[2], on_interrupt::<0x60>);
    set(0xff, on_spurious);
    let pointer = Pointer {
        limit: size_of::<[Gate; 256]>() as u16 - 1,
        base: &raw const TABLE as u64,
    };
    // SAFETY: the table lives for ever and every gate in it leads to a handler below.
    unsafe { core::arch::asm!("lidt [{}]", in(reg) &raw const pointer) };
}

/// The exception that `instruction` causes; [`NONE`] if none.
macro_rules! fault_of {
    ($instruction:literal $(, $($operand:tt)*)?) => {{
        use $crate::cpu::traps::{FAULT, NONE, RECOVER};
        FAULT.store(NONE, core::sync::atomic::Ordering::SeqCst);
        // SAFETY: the exceptions that the checks provoke continue at label 2; the instructions themselves are legal
        // in a domain or harm only this one.
        unsafe {
            core::arch::asm!(
                "lea {place}, [rip + 2f]",
                "mov [rip + {recover}], {place}",
                $instruction,
                "2:",
                place = out(reg) _,
                recover = sym RECOVER,
                $($($operand)*)?
            );
        }
        FAULT.load(core::sync::atomic::Ordering::SeqCst)
    }};
}
pub(super) use fault_of;

/// An exception without error code: notes it and continues at [`RECOVER`].
#[unsafe(naked)]
unsafe extern "C" fn on_undefined() {
    naked_asm!(
        "mov qword ptr [rip + {fault}], 6",
        "push rax",
        "mov rax, [rip + {recover}]",
        "mov [rsp + 8], rax",
        "pop rax",
        "iretq",
        fault = sym FAULT,
        recover = sym RECOVER,
    );
}

/// The same with an error code.
#[unsafe(naked)]
unsafe extern "C" fn on_protection() {
    naked_asm!(
        "mov qword ptr [rip + {fault}], 13",
        "add rsp, 8",
        "push rax",
        "mov rax, [rip + {recover}]",
        "mov [rsp + 8], rax",
        "pop rax",
        "iretq",
        fault = sym FAULT,
        recover = sym RECOVER,
    );
}

#[unsafe(naked)]
unsafe extern "C" fn on_step() {
    naked_asm!("lock inc qword ptr [rip + {steps}]", "iretq", steps = sym STEPS);
}

#[unsafe(naked)]
unsafe extern "C" fn on_nmi() {
    naked_asm!("lock inc qword ptr [rip + {nmis}]", "iretq", nmis = sym NMIS);
}

/// A handler that does `note` and ends the interrupt (x2APIC register 0x80b).
macro_rules! end_interrupt {
    ($($note:literal,)* ; $($operand:tt)*) => {
        naked_asm!(
            "push rax",
            "push rcx",
            "push rdx",
            $($note,)*
            "mov ecx, 0x80b",
            "xor eax, eax",
            "xor edx, edx",
            "wrmsr",
            "pop rdx",
            "pop rcx",
            "pop rax",
            "iretq",
            $($operand)*
        )
    };
}

/// Notes the vector.
#[unsafe(naked)]
unsafe extern "C" fn on_interrupt<const VECTOR: u8>() {
    end_interrupt!(
        "shl qword ptr [rip + {order}], 8",
        "or qword ptr [rip + {order}], {vector}",
        ; order = sym ORDER, vector = const VECTOR,
    );
}

/// An interrupt that nobody sent: Bochs 3.0 makes one of a notification with nothing posted (docs/bochs.md).
#[unsafe(naked)]
unsafe extern "C" fn on_spurious() {
    end_interrupt!(;);
}

/// The interrupts since the last call, in order, the last in the low byte.
pub fn take_order() -> u64 {
    ORDER.swap(0, Ordering::SeqCst)
}
